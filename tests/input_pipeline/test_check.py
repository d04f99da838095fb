"""Every kind of bad file: refused with its name, or accepted and turned into what it should be."""

import concurrent.futures
import dataclasses
import io
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline import check as check_module
from input_pipeline.check import check_dataset, scan, scan_once
from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.images import codec
from input_pipeline.images.codec import encode_image
from input_pipeline.prepare import format_table
from input_pipeline.readers import Reading
from input_pipeline.store.splits import prepare
from tests import layouts


@pytest.fixture
def dataset(tmp_path) -> ReidDataset:
    return layouts.read("market1501", tmp_path)


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def write_text(path: pathlib.Path) -> None:
    path.write_text("<html>404 Not Found</html>")


def shrink(path: pathlib.Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


def loop(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangle(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.jpg")


def make_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


BAD_PICTURES = {
    truncate: "truncated",
    empty: "the file is empty",
    write_text: "not an image in a known format",
    shrink: "1 × 1 (height × width), too small",
    loop: "symbolic links",
    dangle: "No such file",
    make_folder: "Is a directory",
}


@pytest.mark.parametrize("damage", BAD_PICTURES, ids=lambda damage: damage.__name__)
def test_a_bad_picture_is_refused_by_name(dataset, damage, tmp_path):
    path = dataset.train[3].path
    damage(path)
    found = scan(dataset, progress=False)
    assert [problem.path for problem in found.problems] == [path]
    assert BAD_PICTURES[damage] in found.problems[0].what
    assert found.splits["train"].images == 15
    with pytest.raises(DataError, match=path.name):
        prepare(dataset, data_dir=tmp_path / "prepared", progress=False)


def test_all_bad_files_are_reported_at_once(dataset):
    bad = []
    for sample, damage in zip(dataset.train[::2], BAD_PICTURES, strict=False):
        damage(sample.path)
        bad.append(sample.path)
    empty(dataset.gallery[-1].path)
    dataset.query[0].part_map.write_bytes(b"")
    bad += [dataset.gallery[-1].path, dataset.query[0].part_map]
    found = scan(dataset, progress=False)
    assert {problem.path for problem in found.problems} == set(bad)
    assert len(found.problems) == 9


def wrong_size(path: pathlib.Path) -> None:
    Image.new("L", (16, 64)).save(path)


def out_of_range(path: pathlib.Path) -> None:
    Image.new("L", (32, 64), 8).save(path)


def coloured(path: pathlib.Path) -> None:
    Image.new("RGB", (32, 64)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wrong_size, "64 × 16 but its image is 64 × 32"),
        (out_of_range, "classes must be 0 to 7, found 8 to 8"),
        (coloured, "one channel"),
        (empty, "the file is empty"),
        (write_text, "not an image"),
        (loop, "symbolic links"),
    ],
)
def test_a_bad_part_map_is_refused_by_name(dataset, damage, message):
    path = dataset.query[1].part_map
    damage(path)
    found = scan(dataset, progress=False)
    assert [problem.path for problem in found.problems] == [path]
    assert message in found.problems[0].what


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK"])
def test_other_modes_are_accepted_and_become_rgb(dataset, mode):
    path = dataset.gallery[0].path
    with Image.open(path) as image:
        gray = image.convert("L")
        other = (
            Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
            if mode == "I;16"
            else image.convert(mode)
        )
        expected = np.asarray((gray if mode in ("L", "I;16") else image).convert("RGB"))
    # The content decides, not the suffix: this is a PNG or a CMYK JPEG called .jpg.
    other.save(path, format="JPEG" if mode == "CMYK" else "PNG")
    assert scan(dataset, progress=False).problems == ()
    encoded = encode_image(path)
    data, size = encoded.data, encoded.size
    assert size == (64, 32)
    path.write_bytes(data)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        error = np.abs(np.asarray(image).astype(int) - expected)
    assert error.mean() < (25 if mode == "P" else 6)


@pytest.mark.parametrize(
    ("tag", "stored"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),  # stored turned to the left, to be turned to the right
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_rotated_picture_is_accepted_with_a_part_map_as_it_is_shown(
    dataset, tmp_path, tag, stored
):
    sample = dataset.train[0]
    exif = Image.Exif()
    exif[0x0112] = tag
    with Image.open(sample.path) as image:
        shown = np.asarray(image)
        image.transpose(stored).save(sample.path, format="PNG", exif=exif)
    assert scan(dataset, progress=False).problems == ()
    encoded = encode_image(sample.path)
    data, size = encoded.data, encoded.size
    assert size == shown.shape[:2]
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), shown)


def test_a_part_map_of_the_picture_as_it_is_stored_is_refused(dataset):
    sample = dataset.train[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    for path, data in ((sample.path, {"exif": exif}), (sample.part_map, {})):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path, **data)
    (problem,) = scan(dataset, progress=False).problems
    assert problem.path == sample.part_map
    assert "32 × 64 but its image is 64 × 32" in problem.what


def test_unicode_and_spaces_are_accepted_and_other_bytes_refused(dataset, tmp_path):
    odd = tmp_path / "Market-1501-v15.09.15" / "bounding_box_train" / "日本 é .jpg"
    shutil.copy(dataset.train[0].path, odd)
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/Market-1501-v15.09.15/\xff\xfe.jpg")
    shutil.copy(dataset.train[1].path, bad)
    train = (
        dataclasses.replace(dataset.train[0], path=odd),
        dataclasses.replace(dataset.train[1], path=pathlib.Path(bad)),
    )
    found = scan(dataclasses.replace(dataset, train=train), progress=False)
    assert [problem.what for problem in found.problems] == ["its name is not UTF-8, rename it"]
    assert str(found.problems[0].path).endswith(r"\xff\xfe.jpg")
    assert found.splits["train"].images == 1


def test_a_fine_dataset_is_not_looked_at_twice(dataset, tmp_path, monkeypatch):
    data_dir = tmp_path / "prepared"
    first = scan_once(dataset, data_dir=data_dir, progress=False)
    assert first.splits["train"].labelled == 16
    monkeypatch.setattr(check_module, "encode_image", None)
    assert scan_once(dataset, data_dir=data_dir, progress=False) == first
    monkeypatch.undo()
    empty(dataset.train[0].path)
    again = scan_once(dataset, data_dir=data_dir, progress=False)
    assert len(again.problems) == 1
    assert scan_once(dataset, data_dir=data_dir, progress=False).problems == again.problems


def test_what_a_scan_decoded_is_not_decoded_again(dataset, tmp_path, monkeypatch):
    Image.new("RGB", (32, 64), "red").save(dataset.query[0].path, "BMP")  # The one to re-encode.
    decoded = []

    def counting(path, **options):
        before = len(opened)
        found = encode_image(path, **options)
        decoded.extend([path] * (len(opened) > before))
        return found

    opened = []
    real = codec.open_image
    monkeypatch.setattr(codec, "open_image", lambda source: opened.append(source) or real(source))
    monkeypatch.setattr("input_pipeline.store.builder.encode_image", counting)
    options = {"data_dir": tmp_path, "progress": False}
    scan_once(dataset, **options)
    samples = (*dataset.train, *dataset.query, *dataset.gallery)
    whole_set = len(samples) + sum(sample.part_map is not None for sample in samples)
    assert len(opened) == whole_set
    found = scan_once(dataset, **options)  # As another process that comes later remembers it.
    prepared = prepare(dataset, proven=found.proven, **options)
    assert decoded == [dataset.query[0].path]
    assert len(opened) == whole_set + 1
    monkeypatch.undo()
    plain = prepare(dataset, data_dir=tmp_path / "plain", progress=False)
    for split in check_module.SPLITS:
        one, other = getattr(prepared, split), getattr(plain, split)
        assert one.read(range(len(one))) == other.read(range(len(other)))
        np.testing.assert_array_equal(one.num_parts, other.num_parts)


def test_a_file_that_changes_after_the_scan_is_decoded(dataset, tmp_path):
    options = {"data_dir": tmp_path, "progress": False}
    found = scan_once(dataset, **options)
    whole = dataset.train[0].path.read_bytes()
    dataset.train[0].path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match="truncated"):
        prepare(dataset, proven=found.proven, **options)


def test_part_maps_of_more_classes_are_counted(dataset, tmp_path):
    classes = np.arange(64 * 32, dtype=np.uint8).reshape(64, 32) % 12
    Image.fromarray(classes).save(dataset.train[0].part_map)
    options = {"data_dir": tmp_path, "progress": False}
    (problem,) = scan_once(dataset, **options).problems
    assert "classes must be 0 to 7, found 0 to 11" in problem.what
    found = scan_once(dataset, num_parts=12, **options)
    assert found.problems == ()
    assert len(found.splits["train"].present) == 12
    assert "part 11 " in format_table({"train": found.splits["train"]})
    assert scan_once(dataset, **options).problems == (problem,)


def test_what_is_remembered_has_no_paths_of_this_computer(dataset, tmp_path):
    Image.new("L", (32, 64)).save(dataset.train[0].part_map)
    odd = dataclasses.replace(dataset, gallery=dataset.gallery[:1])
    found = scan_once(odd, data_dir=tmp_path / "prepared", progress=False)
    assert any("no body" in notice for notice in found.notices)
    assert any("no gallery image" in notice for notice in found.notices)
    (record,) = (tmp_path / "prepared" / "checked").rglob("*.json")
    assert str(tmp_path) not in record.read_text("utf-8")


def test_a_damaged_record_is_written_anew(dataset, tmp_path):
    first = scan_once(dataset, data_dir=tmp_path, progress=False)
    (record,) = (tmp_path / "checked").rglob("*.json")
    empty(record)
    assert scan_once(dataset, data_dir=tmp_path, progress=False) == first
    assert record.stat().st_size > 100


def test_of_several_at_once_one_looks_and_the_others_wait(dataset, tmp_path, monkeypatch):
    looked = []
    once = check_module.scan

    def counting(*args, **kwargs):
        looked.append(None)
        return once(*args, **kwargs)

    monkeypatch.setattr(check_module, "scan", counting)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        scans = [
            pool.submit(scan_once, dataset, data_dir=tmp_path, progress=False) for _ in range(4)
        ]
    assert all(scan.result() == scans[0].result() for scan in scans)
    assert len(looked) == 1


def test_a_data_dir_that_cannot_be_written_is_refused(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="choose another data_dir"):
        scan_once(dataset, data_dir=tmp_path / "file", progress=False)


@pytest.fixture
def reading(tmp_path) -> Reading:
    return Reading("market1501", layouts.read("market1501", tmp_path))


def test_only_training_pictures_keep_part_maps(reading, tmp_path):
    found = check_dataset(reading, data_dir=tmp_path / "out", progress=False)
    assert found.errors == ()
    assert found.usable.train == reading.dataset.train
    assert {s.part_map for s in (*found.usable.query, *found.usable.gallery)} == {None}
    assert found.scan.splits["train"].labelled == 16


def test_splits_that_are_not_used_are_left_out(reading, tmp_path):
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = check_dataset(reading, splits=("query", "gallery"), part_labels="nonsense", **options)
    assert (len(found.usable.train), len(found.usable.query)) == (0, 4)
    assert check_dataset(reading, splits=("train",), **options).usable.query == ()


def test_what_is_wrong_with_labels_does_not_hide_pictures(reading, tmp_path):
    reading.dataset.query[0].path.write_bytes(b"")
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = check_dataset(reading, part_labels="/nowhere", **options)
    assert ["is not a folder of part labels" in str(error) for error in found.errors] == [
        True,
        False,
    ]
    assert "the file is empty" in str(found.errors[1])
    with pytest.raises(ValueError, match="with errors"):
        _ = found.usable


def test_what_is_prepared_is_not_looked_at_again(reading, tmp_path, monkeypatch):
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = check_dataset(reading, **options)
    prepare(found.usable, **options)
    monkeypatch.setattr(check_module, "scan_once", None)
    for splits in (("train",), ("query", "gallery"), check_module.SPLITS):
        again = check_dataset(reading, splits=splits, skip_prepared=True, **options)
        assert again.scan is None
        assert again.errors == ()
    monkeypatch.undo()
    reading.dataset.gallery[0].path.write_bytes(b"")
    again = check_dataset(reading, skip_prepared=True, **options)
    assert "the file is empty" in str(again.errors[0])
