import re
import shutil

import pytest

from input_pipeline import readers
from input_pipeline.errors import DataError, FilesError
from input_pipeline.readers import msmt17
from tests import layouts


@pytest.mark.parametrize("variant", ["", "v1", "train-trainval", "v1-v2-train", "v3-train", "val"])
def test_whether_val_joins_training_has_to_be_said(tmp_path, variant):
    with pytest.raises(DataError, match=r"msmt17:trainval .* or msmt17:train"):
        msmt17.read(tmp_path, variant=variant)


def test_val_joins_training_or_is_left_out_and_the_name_says_so(tmp_path):
    layouts.msmt17_v1(tmp_path)
    with pytest.warns(UserWarning, match=r"MSMT17 V1 \(trainval\).*(32621|11659|82161)"):
        everything = msmt17.read(tmp_path, variant="trainval")
    with pytest.warns(UserWarning, match=r"MSMT17 V1 \(train\).*(30248|11659|82161)"):
        without = msmt17.read(tmp_path, variant="train")
    assert (everything.name, without.name) == ("msmt17_v1_trainval", "msmt17_v1_train")
    assert (len(everything.train), len(without.train)) == (16, 14)
    assert set(without.train) < set(everything.train)


def test_cameras_are_the_third_field_and_identities_those_of_the_lists(tmp_path):
    dataset = layouts.read("msmt17_v1", tmp_path)
    assert {sample.identity for sample in dataset.train} == {0, 1, 2, 3}
    assert {sample.identity for sample in dataset.query} == {0, 1}
    assert {sample.camera for sample in dataset.query} == {1, 2}
    assert any(sample.path.stem.endswith("_ex") for sample in dataset.train)


def test_with_both_versions_there_one_has_to_be_chosen(tmp_path):
    layouts.msmt17_v1(tmp_path)
    layouts.msmt17_v2(tmp_path)
    with pytest.raises(DataError, match="both versions of MSMT17"):
        msmt17.read(tmp_path, variant="train")
    with pytest.warns(UserWarning, match="published"):
        assert msmt17.read(tmp_path, variant="v2-train").root == tmp_path / "MSMT17_V2"


def test_a_version_that_is_not_there_is_refused(tmp_path):
    layouts.msmt17_v1(tmp_path)
    with pytest.raises(DataError, match=r"MSMT17 V2 is not in .*mask_train_v2"):
        msmt17.read(tmp_path, variant="v2-train")
    with pytest.raises(DataError, match=r"MSMT17 V1 is not in .* MSMT17 V2 is not in"):
        msmt17.read(tmp_path / "MSMT17_V1" / "train", variant="train")


def test_missing_pictures_and_bad_lines_are_reported_at_once(tmp_path):
    dataset = layouts.read("msmt17_v1", tmp_path)
    shutil.rmtree(dataset.root / "test" / "0001")
    with (dataset.root / "list_train.txt").open("a") as file:
        file.write("0000/nonsense.jpg 0\n\n")
    with pytest.raises(FilesError, match=r"7 files cannot be used: .*nonsense") as caught:
        msmt17.read(tmp_path, variant="train")
    assert caught.value.rest is not None
    assert len(caught.value.rest.gallery) == 4


@pytest.mark.parametrize(
    "line",
    [
        "/0000/0000_000_01_x.jpg 0",
        "../../0000_000_01_x.jpg 0",
        "0000/0000_000_00_x.jpg 0",
        "0000/0000_000_16_x.jpg 0",
        "0000/0000_000_01_x.jpg \u00b2",
        "0000/0000_000_01_x.jpg",
    ],
)
def test_lines_that_are_not_of_this_dataset_are_refused(tmp_path, line):
    root = layouts.read("msmt17_v1", tmp_path).root
    with (root / "list_train.txt").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(FilesError, match=r"list_train.txt: the line .* is not like") as caught:
        msmt17.read(tmp_path, variant="train")
    assert len(caught.value.problems) == 1


def test_lists_that_are_not_utf8_do_not_hide_other_problems(tmp_path):
    root = layouts.read("msmt17_v1", tmp_path).root
    (root / "list_train.txt").write_bytes("é".encode("latin-1"))
    (root / "list_gallery.txt").unlink()
    with pytest.raises(FilesError, match=r"list_train.txt: this list is not UTF-8") as caught:
        msmt17.read(tmp_path, variant="trainval")
    assert [p.path.name for p in caught.value.problems] == ["list_train.txt", "list_gallery.txt"]


def test_a_folder_called_test_beside_it_is_not_taken_for_it(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"MSMT17 V1 is not in .*holds none of its lists"):
        msmt17.read(tmp_path, variant="v1-train")
    assert layouts.read("msmt17_v1", tmp_path).root == tmp_path / "MSMT17_V1"


def test_a_missing_list_is_refused(tmp_path):
    dataset = layouts.read("msmt17_v1", tmp_path)
    (dataset.root / "list_val.txt").unlink()
    with pytest.raises(DataError, match=r"list_val.txt: this list is missing"):
        msmt17.read(tmp_path, variant="trainval")


def test_junk_is_left_out_and_counted(tmp_path):
    before = layouts.read("msmt17_v1", tmp_path)
    source = before.root / "list_gallery.txt"
    lines = source.read_text().splitlines()
    for line in (lines[0], lines[1]):
        lines.append(f"{line.split()[0]} {'-1' if line == lines[0] else '-0001'}")
    source.write_text("\n".join(lines))
    again = layouts.without_warnings(readers.read_dataset, "msmt17:trainval", tmp_path)
    assert again.gallery == before.gallery
    assert again.notices == ("2 images of identity −1 (junk) are left out",)


def test_a_test_set_or_a_training_set_alone(tmp_path):
    whole = layouts.read("msmt17_v1", tmp_path)
    for name in ("list_train.txt", "list_val.txt"):
        (whole.root / name).rename(tmp_path / name)
    test = layouts.without_warnings(readers.read_dataset, "msmt17:trainval", tmp_path)
    assert (test.train, test.query, test.gallery) == ((), whole.query, whole.gallery)
    for name in ("list_train.txt", "list_val.txt"):
        (tmp_path / name).rename(whole.root / name)
    for name in ("list_query.txt", "list_gallery.txt"):
        (whole.root / name).unlink()
    train = layouts.without_warnings(readers.read_dataset, "msmt17:trainval", tmp_path)
    assert (train.train, train.query, train.gallery) == (whole.train, (), ())


@pytest.mark.parametrize("inside", ["", "MSMT17_V1"])
@pytest.mark.parametrize("layout", ["names", "short", "folders"])
def test_three_folders_say_which_reader_reads_them(tmp_path, inside, layout):
    """The reader that is named then reads it."""

    def name(shot, folder):
        file = f"{shot.identity:04d}_c{shot.camera}_{shot.index:04d}.jpg"
        return f"{folder}/{file}" if layout != "folders" else f"{folder}/{shot.identity:04d}/{file}"

    for shot in layouts.shots():
        folder = layouts.THREE_FOLDERS[shot.split] if layout == "names" else shot.split
        layouts.save(shot, tmp_path / inside / name(shot, folder))
    with pytest.raises(DataError, match="in three folders rather than with its lists") as caught:
        readers.read_dataset("msmt17:trainval", tmp_path)
    spec = re.search(r"read it as (\S+?)(,|$)", str(caught.value))[1]
    assert spec.startswith("folders" if layout == "folders" else "market_style")
    dataset = readers.read_dataset(spec, tmp_path)
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (16, 4, 8)
    assert {s.camera for s in dataset.query} == {1, 2}
    _, separate = re.findall(r"read it as|or as (\S+)", str(caught.value))
    again = readers.read_dataset(separate, tmp_path)
    assert again == dataset
