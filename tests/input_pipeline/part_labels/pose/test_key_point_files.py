import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import HEAD, LOWER_LEG, TORSO
from input_pipeline.errors import DataError
from input_pipeline.part_labels.commands import main
from input_pipeline.part_labels.label_tree import read_label_tree
from input_pipeline.part_labels.pose.key_point_files import KeyPointLabeler, read_key_points
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
