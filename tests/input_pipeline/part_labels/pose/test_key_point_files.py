import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import HEAD, LOWER_LEG, TORSO
from input_pipeline.errors import DataError
from input_pipeline.part_labels.commands import main
from input_pipeline.part_labels.label_tree import read_label_tree
from input_pipeline.part_labels.pose.key_point_files import read_key_points
from input_pipeline.part_labels.pose.key_point_labeler import KeyPointLabeler
from input_pipeline.part_labels.pose.skeletons import CONVENTIONS
from tests.input_pipeline.part_labels.pose.test_points import FEET, POINTS

IMAGE = np.zeros((160, 80, 3), np.uint8)


def numbers(convention: str, *, certainty: float = 0.9, shift: float = 0, lost=()) -> list[float]:
    """x, y and certainty of each point, as files have them."""
    every = {**POINTS, **FEET}
    values: list[float] = []
    for name in CONVENTIONS[convention]:
        there = name in every and name not in lost
        x, y = every[name] if there else (0, 0)
        values += [x + shift, y, certainty] if there else [0, 0, 0]
    return values


def written(path: pathlib.Path, content) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def parts_of(source: pathlib.Path, name: str = "train/1.jpg", **options) -> np.ndarray | None:
    labeler = KeyPointLabeler(read_key_points(source), **options)
    return labeler.label_named([IMAGE], [name])[0].part_map


@pytest.mark.parametrize("convention", ["coco17", "openpose18", "openpose25"])
def test_files_of_every_convention_give_nearly_the_same_map(tmp_path, convention):
    points = numbers(convention)
    if convention == "coco17":
        content = [{"image_id": "train/1.jpg", "keypoints": points, "score": 0.8}]
        source = written(tmp_path / "results.json", content)
    else:
        source = tmp_path / "json"
        content = {"version": 1.1, "people": [{"pose_keypoints_2d": points}]}
        written(source / "train" / "1_keypoints.json", content)
    parts = parts_of(source)
    assert parts[20, 40] == HEAD
    assert parts[56, 40] == TORSO
    assert parts[120, 50] == LOWER_LEG
    assert set(np.unique(parts)) == set(range(8))


def test_annotations_of_coco_name_their_images_and_outline_the_person(tmp_path):
    points = numbers("coco17", certainty=2)
    outline = [[0, 0, 40, 0, 40, 160, 0, 160]]
    content = {
        "images": [{"id": 7, "file_name": "1.jpg"}, {"id": 8, "file_name": "2.jpg"}],
        "annotations": [{"image_id": 7, "keypoints": points, "segmentation": outline}],
    }
    source = written(tmp_path / "a.json", content)
    parts = parts_of(source)
    assert parts[56, 35] == TORSO
    assert not parts[:, 42:].any()
    assert parts_of(source, "train/2.jpg") is None
    hidden = numbers("coco17", certainty=2)
    for joint in (13, 14, 15, 16):
        hidden[3 * joint + 2] = 1  # labeled, but not visible
    content["annotations"][0]["keypoints"] = hidden
    parts = parts_of(written(tmp_path / "b.json", content))
    assert not (parts == LOWER_LEG).any()


def test_masks_of_a_folder_limit_the_person(tmp_path):
    source = written(tmp_path / "a.json", [{"image_id": "1", "keypoints": numbers("coco17")}])
    mask = np.zeros((160, 80), np.uint8)
    mask[:70] = 1
    (tmp_path / "masks" / "train").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "masks" / "train" / "1.png")
    parts = parts_of(source, masks=tmp_path / "masks")
    assert parts[56, 40] == TORSO
    assert not parts[71:].any()
    Image.fromarray(mask[:-1]).save(tmp_path / "masks" / "train" / "1.png")
    with pytest.raises(DataError, match=r"1\.png is not a sound mask"):
        parts_of(source, masks=tmp_path / "masks")


def annotated(annotations, **image) -> dict:
    return {"images": [{"id": 7, "file_name": "1.jpg", **image}], "annotations": annotations}


def test_masks_in_run_lengths_limit_the_person(tmp_path):
    points = numbers("coco17", certainty=2)
    # Column by column: 30 columns of background, 20 of the person, 30 of background. Packed, every
    # number is groups of five bits: 4800 = 0b00100_10110_00000, 3200 = 0b00011_00100_00000.
    plain = [30 * 160, 20 * 160, 30 * 160]
    text = "Pf4PT3Pf4"
    found = []
    for counts in (plain, text):
        one = {
            "image_id": 7,
            "keypoints": points,
            "segmentation": {"size": [160, 80], "counts": counts},
        }
        parts = parts_of(written(tmp_path / "a.json", annotated([one])))
        assert parts[56, 40] == TORSO
        assert not parts[:, :30].any()
        assert not parts[:, 50:].any()
        found.append(parts)
    np.testing.assert_array_equal(*found)
    one["segmentation"] = {"size": [80, 160], "counts": text}
    with pytest.raises(DataError, match=r"1\.jpg has 160 × 80 pixels.*a\.json.* of 80 × 160"):
        parts_of(written(tmp_path / "a.json", annotated([one])))
    one["segmentation"] = {"size": [160, 80], "counts": text[:-1]}
    one["id"] = 31
    with pytest.raises(DataError, match=r"a\.json.*annotation 31: its packed mask is cut off"):
        read_key_points(written(tmp_path / "a.json", annotated([one])))


def test_key_points_of_an_image_of_another_size_are_refused(tmp_path):
    one = {"image_id": 7, "keypoints": numbers("coco17")}
    same = written(tmp_path / "a.json", annotated([one], height=160, width=80))
    assert parts_of(same)[56, 40] == TORSO
    other = written(tmp_path / "b.json", annotated([one], height=480, width=640))
    with pytest.raises(DataError, match=r"train/1\.jpg has 160 × 80 .*b\.json.* of 480 × 640"):
        parts_of(other)


def test_certainties_are_shares_unless_the_file_has_flags(tmp_path):
    def feet(values, *others) -> bool:
        points = numbers("coco17")
        points[2::3] = values
        people = [{"image_id": "1", "keypoints": points}, *others]
        return bool((parts_of(written(tmp_path / "x.json", people)) == LOWER_LEG).any())

    flagged = {"image_id": "2", "keypoints": numbers("coco17", certainty=2)}
    assert feet([1] * 17)  # without a 2 in the file, 1 is visible
    assert not feet([2] * 13 + [1] * 4, flagged)
    assert not feet([1] * 17, flagged)  # hidden, as another person's 2 shows
    assert feet([1.04] + [0.9] * 16)  # heights of peaks, a little above 1
    assert not feet([1.04] + [0.9] * 12 + [0.1] * 4)


def test_images_without_people_have_no_map(tmp_path):
    source = tmp_path / "json"
    nobody = {"version": 1.3, "people": []}
    lost = {"version": 1.3, "people": [{"pose_keypoints_2d": [0] * 75}, {"pose_keypoints_2d": []}]}
    written(source / "train" / "1_keypoints.json", nobody)
    written(source / "train" / "2_keypoints.json", lost)
    for name in ("train/1.jpg", "train/2.jpg"):
        assert parts_of(source, name) is None
        KeyPointLabeler(read_key_points(source)).check([name])


def test_annotations_of_unlisted_images_are_counted(tmp_path):
    one = {"image_id": 7, "keypoints": numbers("coco17")}
    source = written(tmp_path / "a.json", annotated([one, {**one, "image_id": 8}]))
    with pytest.warns(UserWarning, match=r"a\.json has 1 annotated people in images"):
        found = read_key_points(source)
    assert list(found.people) == ["1.jpg"]
    assert len(found.people["1.jpg"]) == 1


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("train/Ada/1.jpg", "train/Ada/1.jpg"),
        ("1", "train/Ada/1.jpg"),
        ("images/train/Ada/1.jpg", "train/Ada/1.jpg"),
        ("/home/ada/shop/train/Ada/1.jpg", "train/Ada/1.jpg"),
        (r"C:\shop\train\Ada\1.jpg", "train/Ada/1.jpg"),
        ("Ada/1.png", "train/Ada/1.jpg"),
    ],
)
def test_images_are_found_by_the_end_of_their_path(tmp_path, key, name):
    people = [{"image_id": key, "keypoints": numbers("coco17")}]
    found = read_key_points(written(tmp_path / "a.json", people))
    if key == "Ada/1.png":
        assert found.key_of(name) is None
    else:
        assert found.key_of(name) == key


def test_of_several_paths_the_longest_common_end_counts(tmp_path):
    points = numbers("coco17")
    keys = [f"images/{split}/{who}/1.jpg" for split in ("train", "query") for who in ("Ada", "Bo")]
    people = [{"image_id": key, "keypoints": points} for key in keys]
    found = read_key_points(written(tmp_path / "a.json", people))
    assert found.key_of("train/Bo/1.jpg") == "images/train/Bo/1.jpg"
    assert found.key_of("Bo/1.jpg") is None  # of train or of query?


def test_files_that_are_of_other_images_are_refused(tmp_path):
    points = numbers("coco17")
    one = written(tmp_path / "a.json", [{"image_id": 1, "keypoints": points}])
    labeler = KeyPointLabeler(read_key_points(one))
    with pytest.raises(DataError, match=r"Ada/1\.jpg and .*Bo/1\.jpg would both get .* of 1 in"):
        labeler.check(["train/Ada/1.jpg", "train/Bo/1.jpg"])
    with pytest.raises(DataError, match=r"none of the images, such as train/2.jpg; it names.* 1$"):
        labeler.check(["train/2.jpg"])
    with pytest.warns(UserWarning, match=r"1 of 2 images are not in .*a\.json.*train/2\.jpg"):
        labeler.check(["train/1.jpg", "train/2.jpg"])
    masks = tmp_path / "masks"
    labeler = KeyPointLabeler(read_key_points(one), masks=masks)
    with pytest.raises(DataError, match=r"mask for none of the images, .*train/1\.jpg"):
        labeler.check(["train/1.jpg"])
    both = [{"image_id": number, "keypoints": points} for number in (1, 2)]
    (masks / "train").mkdir(parents=True)
    Image.new("L", (80, 160), 1).save(masks / "train" / "1.jpg.png")
    labeler = KeyPointLabeler(read_key_points(written(tmp_path / "b.json", both)), masks=masks)
    with pytest.warns(UserWarning, match=r"1 of 2 images with key points have no mask.*2\.jpg"):
        labeler.check(["train/1.jpg", "train/2.jpg"])


def test_of_several_people_the_one_in_the_middle_counts(tmp_path):
    beside = numbers("coco17", shift=45)
    small = [0.3 * value if i % 3 < 2 else value for i, value in enumerate(numbers("coco17"))]
    people = [{"image_id": "1", "keypoints": p} for p in (beside, numbers("coco17"), small)]
    alone = parts_of(written(tmp_path / "a.json", people[1:2]))
    np.testing.assert_array_equal(parts_of(written(tmp_path / "b.json", people)), alone)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": "1", "keypoints": [1, 2, 3]}], "1 key points: 17"),
        ([{"image_id": "1", "keypoints": [1, 2]}], "not a sound file of key points"),
        ([{"keypoints": [1, 2, 3] * 17}], "image_id"),
        ({"images": []}, "annotations"),
        ({"instance_info": []}, "neither `people` nor `annotations` and `images`"),
        ([{"image_id": "1", "keypoints": [0.5, 0.2, 1] * 17}], "annotation 1: .*within one pixel"),
        ([{"image_id": "1", "keypoints": None}, {"keypoints": [9, 9, 1] * 17}], "annotation 2 has"),
        ({"people": [{"pose_keypoints_2d": [9, 9, 1] * 15}]}, "person 1: 15 key points"),
        ([{"image_id": "1", "keypoints": ["x"] * 51}], "not a sound file of key points"),
        ([{"image_id": "1", "keypoints": [float("nan")] * 51}], "not a finite number"),
        ("text", "not a sound file"),
        (3, "not a sound file"),
    ],
)
def test_other_content_is_refused_by_name(tmp_path, content, message):
    source = written(tmp_path / "x.json", content)
    with pytest.raises(DataError, match=rf"x\.json.*{message}"):
        read_key_points(source)


def test_files_that_are_no_json_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b"{cut off")
    with pytest.raises(DataError, match=r"x\.json"):
        read_key_points(tmp_path)
    (tmp_path / "x.json").unlink()
    with pytest.raises(DataError, match="holds no JSON files"):
        read_key_points(tmp_path)


def test_the_command_labels_a_dataset(tmp_path, capsys):
    for number in (1, 2):
        path = tmp_path / "shop" / "train" / "Zoë" / f"c{number}_1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE).save(path)
    people = [{"image_id": "c1_1.png", "keypoints": numbers("coco17")}]
    source = written(tmp_path / "results.json", people)
    arguments = ["key-points", str(source), "--dataset=folders@shop", f"--root={tmp_path}"]
    sheet = tmp_path / "worst.png"
    assert main([*arguments, "--workers=1", f"--sheet={sheet}"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 images have a part map" in said
    assert "1 without a map: train/Zoë/c2_1.png" in said
    tree = read_label_tree(tmp_path / "shop_ps_label")
    assert tree.without_map == {"train/Zoë/c2_1.png"}
    with Image.open(tmp_path / "shop_ps_label" / "train" / "Zoë" / "c1_1.png") as parts:
        assert np.asarray(parts)[56, 40] == TORSO
    assert sheet.is_file()
    assert main([*arguments, f"--sheet={sheet}"]) == 2  # the sheet is there already
    assert main(["key-points", "/nowhere.json", "--dataset=folders@shop"]) == 2
    assert "/nowhere.json" in capsys.readouterr().err
