import dataclasses
import json
import shutil

import numpy as np
import pytest

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.store.folders import folder_name
from input_pipeline.store.splits import prepare
from tests.input_pipeline.store.prepared_files import files_under


def test_preparing_again_writes_nothing(make_dataset, tmp_path):
    dataset = make_dataset()
    prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    before = files_under(tmp_path / "prepared")
    assert before
    prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    assert files_under(tmp_path / "prepared") == before


def test_only_a_changed_split_is_written_again(make_dataset, tmp_path):
    dataset = make_dataset()
    prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    before = files_under(tmp_path / "prepared")
    changed = dataset.query[1].path
    shutil.copy(dataset.query[0].path, changed)
    relabelled = dataclasses.replace(dataset.gallery[0], camera=7)
    shutil.copy(dataset.query[0].part_map, dataset.query[1].part_map)
    dataset = dataclasses.replace(dataset, gallery=(relabelled, *dataset.gallery[1:]))

    prepared = prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    assert prepared.query.read([1])[0].image == changed.read_bytes()
    assert prepared.gallery.cameras[0] == 7
    new = files_under(tmp_path / "prepared").keys() - before.keys()
    assert {path.relative_to(tmp_path / "prepared").parts[1].split("-")[0] for path in new} == {
        "query",
        "gallery",
    }


def test_moving_a_dataset_keeps_it_prepared(make_dataset, tmp_path):
    first = make_dataset()
    prepare(first, data_dir=tmp_path / "prepared", progress=False)
    before = files_under(tmp_path / "prepared")
    moved = tmp_path / "elsewhere" / "small"
    moved.parent.mkdir()
    shutil.move(first.root, moved)
    shutil.move(f"{first.root}_ps_label", f"{moved}_ps_label")

    def at_new_place(samples):
        return tuple(
            dataclasses.replace(
                s,
                path=moved / s.path.relative_to(first.root),
                part_map=moved.with_name("small_ps_label")
                / s.part_map.relative_to(f"{first.root}_ps_label"),
            )
            for s in samples
        )

    second = ReidDataset(
        "small",
        moved,
        at_new_place(first.train),
        at_new_place(first.query),
        at_new_place(first.gallery),
    )
    prepare(second, data_dir=tmp_path / "prepared", progress=False)
    assert files_under(tmp_path / "prepared") == before


def test_other_versions_are_kept_and_named(make_dataset, tmp_path, capsys):
    dataset, data_dir = make_dataset(), tmp_path / "prepared"
    prepare(dataset, data_dir=data_dir, progress=False)
    (first,) = (data_dir / "small").glob("train-*")
    mine = data_dir / "small" / "train-notes"
    mine.mkdir()
    assert capsys.readouterr().err == ""
    bare = tuple(dataclasses.replace(sample, part_map=None) for sample in dataset.train)
    changed = dataclasses.replace(dataset, train=bare)
    prepare(changed, data_dir=data_dir, progress=False)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: train was prepared from other files or part labels before")
    assert note.endswith(f"delete what no run uses: {first}")
    prepare(changed, data_dir=data_dir, progress=False)
    assert capsys.readouterr().err == ""
    assert len(prepare(dataset, data_dir=data_dir, progress=False).train) == 14


@pytest.mark.parametrize("name", ["records", "dataset_info.json", "metadata.json"])
@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_damaged_prepared_split_is_named(make_dataset, tmp_path, name, damage):
    dataset = dataclasses.replace(make_dataset(), query=(), gallery=())
    prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    (folder,) = (tmp_path / "prepared" / "small").glob("train-*/reid_split/1.0.0")
    pattern = "*.array_record-*" if name == "records" else name
    (path,) = folder.glob(pattern)
    whole = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DataError, match="delete this folder so that they are made again") as caught:
        prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    assert str(folder.parents[1]) in str(caught.value)
    assert "\n" not in str(caught.value)
    shutil.rmtree(folder)
    assert len(prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train) == 14


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@pytest.mark.parametrize(
    "name",
    ["metadata.json", "dataset_info.json", "features.json", "checksums.json", "*.array_record-*"],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(make_dataset, tmp_path, name):
    dataset, data_dir = make_dataset(), tmp_path / "prepared"
    train = prepare(dataset, data_dir=data_dir, progress=False).train
    everything = train.read(range(14))
    (path,) = (tmp_path / "prepared" / "small").glob(f"train-*/**/{name}")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place, bit in zip(rng.integers(0, len(whole), 25), rng.integers(0, 8, 25), strict=True):
        path.write_bytes(flipped(whole, int(place), int(bit)))
        try:
            again = prepare(dataset, data_dir=data_dir, progress=False).train
            assert again.read(range(14)) == everything
        except DataError as error:
            refused += "delete this folder so that they are made again" in str(error)
            continue
        for field in ("identities", "cameras", "num_parts"):
            np.testing.assert_array_equal(getattr(again, field), getattr(train, field))
        assert again.names == train.names
    path.write_bytes(whole)
    # Some bytes of a record file are padding, and a checksum's own file has blanks.
    assert refused == 25 if path.name in ("metadata.json", "features.json") else refused > 0
    assert len(prepare(dataset, data_dir=data_dir, progress=False).train) == 14


def test_a_set_that_was_prepared_before_there_were_checksums_is_read(make_dataset, tmp_path):
    dataset, data_dir = make_dataset(), tmp_path / "prepared"
    prepare(dataset, data_dir=data_dir, progress=False)
    for seal in data_dir.glob("*/*/checksums.json"):
        seal.unlink()
    before = files_under(data_dir)
    train = prepare(dataset, data_dir=data_dir, progress=False).train
    assert files_under(data_dir) == before
    assert train.read([3])[0].image == dataset.train[3].path.read_bytes()
    # Even so, people are who they are.
    (path,) = data_dir.glob("small/train-*/*/*/metadata.json")
    metadata = json.loads(path.read_text())
    metadata["identities"][2] += 1
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="other identities were written"):
        prepare(dataset, data_dir=data_dir, progress=False)


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        *(("market1501", "market1501"), ("my shop/2", "my-shop-2")),
        *(("東京", "東京"), ("कि", "कि"), ("की", "की"), ("a_b.c+d", "a_b.c+d")),
    ],
)
def test_prepared_folders_of_all_scripts_are_different(dataset, folder):
    assert folder_name(dataset) == folder
