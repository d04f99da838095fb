"""What a dataset is prepared as, and what is looked at before."""

import pytest

from input_pipeline import examine as module
from input_pipeline.examine import examine
from input_pipeline.prepared import prepare
from input_pipeline.readers import Reading
from tests import layouts


@pytest.fixture
def reading(tmp_path) -> Reading:
    return Reading("market1501", layouts.read("market1501", tmp_path))


def test_only_training_pictures_keep_part_maps(reading, tmp_path):
    found = examine(reading, data_dir=tmp_path / "out", progress=False)
    assert found.errors == ()
    assert found.usable.train == reading.dataset.train
    assert {s.part_map for s in (*found.usable.query, *found.usable.gallery)} == {None}
    assert found.scan.splits["train"].labelled == 16


def test_splits_that_are_not_used_are_left_out(reading, tmp_path):
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = examine(reading, splits=("query", "gallery"), part_labels="nonsense", **options)
    assert (len(found.usable.train), len(found.usable.query)) == (0, 4)
    assert examine(reading, splits=("train",), **options).usable.query == ()


def test_what_is_wrong_with_labels_does_not_hide_pictures(reading, tmp_path):
    reading.dataset.query[0].path.write_bytes(b"")
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = examine(reading, part_labels="/nowhere", **options)
    assert ["is not a folder of part labels" in str(error) for error in found.errors] == [
        True,
        False,
    ]
    assert "the file is empty" in str(found.errors[1])
    with pytest.raises(ValueError, match="with errors"):
        _ = found.usable


def test_what_is_prepared_is_not_looked_at_again(reading, tmp_path, monkeypatch):
    options = {"data_dir": tmp_path / "out", "progress": False}
    found = examine(reading, **options)
    prepare(found.usable, **options)
    monkeypatch.setattr(module, "scan_once", None)
    for splits in (("train",), ("query", "gallery"), module.SPLITS):
        again = examine(reading, splits=splits, skip_prepared=True, **options)
        assert again.scan is None
        assert again.errors == ()
    monkeypatch.undo()
    reading.dataset.gallery[0].path.write_bytes(b"")
    again = examine(reading, skip_prepared=True, **options)
    assert "the file is empty" in str(again.errors[0])
