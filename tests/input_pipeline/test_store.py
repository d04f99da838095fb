import concurrent.futures
import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.identities import UNKNOWN_CAMERA
from input_pipeline.store import Records, concatenate, folder_name, prepare


def files_under(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_prepared_split_repeats_the_samples(make_dataset, tmp_path):
    dataset = make_dataset()
    prepared = prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    assert prepared.name == "small"
    for split, samples in (
        (prepared.train, dataset.train),
        (prepared.query, dataset.query),
        (prepared.gallery, dataset.gallery),
    ):
        assert len(split) == len(samples)
        np.testing.assert_array_equal(split.identities, [s.identity for s in samples])
        np.testing.assert_array_equal(split.cameras, [s.camera for s in samples])
        assert split.identities.dtype == split.cameras.dtype == np.int32
        assert split.labeled.all()
        for sample, name, stored in zip(
            samples, split.names, split.read(range(len(split))), strict=True
        ):
            assert dataset.root / name == sample.path
            assert stored.image == sample.path.read_bytes()
            assert stored.part_map == sample.part_map.read_bytes()


def test_reading_is_in_the_order_of_the_ids(small):
    everything = small.train.read(np.arange(len(small.train)))
    assert small.train.read([5, 0, 5, 13]) == [everything[i] for i in (5, 0, 5, 13)]
    assert small.train.read([]) == []
    for wrong in (-1, len(small.train)):
        with pytest.raises(IndexError, match="ids must be 0 to 13"):
            small.train.read([0, wrong])


def test_some_images_are_a_split_of_their_own(small):
    chosen = small.train.take([5, 0, 13])
    assert chosen.names == tuple(small.train.names[i] for i in (5, 0, 13))
    assert chosen.read([2, 0]) == small.train.read([13, 5])
    assert chosen.take([1]).read([0]) == small.train.read([0])
    np.testing.assert_array_equal(chosen.identities, small.train.identities[[5, 0, 13]])
    np.testing.assert_array_equal(chosen.checksums, small.train.checksums[[5, 0, 13]])
    with pytest.raises(IndexError):
        chosen.read([3])


def with_tracklets(dataset):
    """Every two queries are a tracklet; of the last one it is not known."""
    names = [f"walk {i // 2}" for i in range(len(dataset.query) - 1)] + [None]
    query = tuple(
        dataclasses.replace(sample, tracklet=name)
        for sample, name in zip(dataset.query, names, strict=True)
    )
    return dataclasses.replace(dataset, query=query, by_tracklet=True)


def test_tracklets_are_stored_and_everything_else_stays_as_it_was(make_dataset, tmp_path):
    dataset, folder = make_dataset(), tmp_path / "prepared"
    before = prepare(dataset, data_dir=folder, progress=False)
    files = files_under(folder)
    assert before.query.tracklets is None
    assert not before.by_tracklet
    prepared = prepare(with_tracklets(dataset), data_dir=folder, progress=False)
    wanted = [sample.tracklet or "" for sample in with_tracklets(dataset).query]
    assert prepared.query.tracklets.tolist() == wanted
    assert prepared.by_tracklet
    assert prepared.train.tracklets is None
    # Splits without tracklets are in the folders in which they always were.
    new = [path.relative_to(folder).parts[1] for path in files_under(folder) if path not in files]
    assert new
    assert all(place.startswith("query-") for place in new)
    again = prepare(with_tracklets(dataset), data_dir=folder, progress=False)
    assert again.query.tracklets.tolist() == wanted
    assert again.query.read([0]) == before.query.read([0])


def test_tracklets_of_joined_sets_stay_apart(make_dataset, tmp_path):
    prepared = prepare(with_tracklets(make_dataset()), data_dir=tmp_path, progress=False)
    query = prepared.query
    joined = concatenate([query, prepared.train, query], ["a", "b", "c"])
    names = query.tracklets.tolist()
    assert joined.tracklets.tolist() == [
        *(name and f"a/{name}" for name in names),
        *([""] * len(prepared.train)),
        *(name and f"c/{name}" for name in names),
    ]
    assert concatenate([prepared.train], ["b"]).tracklets is None


def test_many_threads_read_the_same(small):
    everything = small.train.read(range(14))
    rng = np.random.default_rng(0)
    wanted = [rng.integers(0, 14, 20) for _ in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for ids, found in zip(wanted, pool.map(small.train.read, wanted), strict=True):
            assert found == [everything[i] for i in ids]


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


def test_no_absolute_path_is_stored(small, tmp_path):
    for path in files_under(tmp_path / "prepared"):
        assert os.fsencode(tmp_path / "small") not in path.read_bytes()


def test_an_interrupted_preparation_continues(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset()
    data_dir = tmp_path / "prepared"
    query_name = dataset.query[1].path.name

    def interrupted(path, **options):
        if path.name == query_name and path.parent.name == "query":
            raise KeyboardInterrupt
        return encode_image(path, **options)

    from input_pipeline.builder import encode_image

    monkeypatch.setattr("input_pipeline.builder.encode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(dataset, data_dir=data_dir, progress=False)
    finished = {p: t for p, t in files_under(data_dir).items() if "train-" in str(p)}
    assert finished
    # A process that is killed outright leaves its unfinished folder behind.
    (query,) = (data_dir / "small").glob("query-*")
    leftover = query / "reid_split" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"half")

    monkeypatch.undo()
    prepared = prepare(dataset, data_dir=data_dir, progress=False)
    assert len(prepared.query) == 2
    assert finished.items() <= files_under(data_dir).items()
    assert not list(data_dir.rglob("incomplete*"))


def test_a_large_split_is_kept_piece_by_piece(make_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("input_pipeline.store.PIECE", 5)
    dataset = make_dataset()
    data_dir = tmp_path / "prepared"
    seen = []

    def interrupted(path, **options):
        seen.append(path)
        if path == dataset.train[11].path:
            raise KeyboardInterrupt
        return encode_image(path, **options)

    from input_pipeline.builder import encode_image

    with monkeypatch.context() as patch:
        patch.setattr("input_pipeline.builder.encode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(dataset, data_dir=data_dir, progress=False)
    assert {sample.path for sample in dataset.train[:10]} <= set(seen)
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            "input_pipeline.builder.encode_image",
            lambda path, **options: seen.append(path) or encode_image(path, **options),
        )
        train = prepare(dataset, data_dir=data_dir, progress=False).train
    assert not {sample.path for sample in dataset.train[:10]} & set(seen)
    assert len(list((data_dir / "small").glob("train-*"))) == 3
    assert [dataset.root / name for name in train.names] == [s.path for s in dataset.train]
    np.testing.assert_array_equal(train.identities, [s.identity for s in dataset.train])
    for sample, stored in zip(dataset.train, train.read(range(14)), strict=True):
        assert stored.image == sample.path.read_bytes()


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


def test_records_that_are_damaged_later_are_named(small, tmp_path):
    class Damaged:
        def __len__(self) -> int:
            return 14

        def __getitems__(self, positions):
            raise RuntimeError("chunk header hash mismatch\nat byte 7")

    train = dataclasses.replace(small.train, sources=(Records(tmp_path, Damaged()),))
    with pytest.raises(DataError) as caught:
        train.read([3])
    assert str(caught.value) == (
        f"the prepared images in {tmp_path} are damaged or incomplete: delete this folder so "
        "that they are made again (chunk header hash mismatch)"
    )


def test_part_classes_are_compared_with_the_networks(make_dataset, tmp_path):
    dataset, data_dir = make_dataset(), tmp_path / "prepared"
    largest = dataset.train[6]
    with Image.open(largest.part_map) as image:
        classes = np.asarray(image)
    for sample in dataset.train:
        with Image.open(sample.part_map) as image:
            Image.fromarray(np.asarray(image) % 5).save(sample.part_map)
    Image.fromarray(classes + 3).save(largest.part_map)
    with pytest.raises(DataError, match="classes must be 0 to 7, found 3 to 10"):
        prepare(dataset, data_dir=data_dir, progress=False)
    train = prepare(dataset, data_dir=data_dir, num_parts=11, progress=False).train
    assert train.num_parts.tolist() == [5] * 6 + [11] + [5] * 7
    train.require_parts()
    train.require_parts(num_parts=11)
    both = concatenate([train, train], ["one", "two"])
    for split, name in ((train, ""), (both, "one/")):
        with pytest.raises(
            DataError, match=r"classes up to 10 .* 8 parts, .*num_parts=11"
        ) as caught:
            split.require_parts(num_parts=8)
        assert f"that of {name}{train.names[6]}" in str(caught.value)


def test_all_unusable_files_are_named_at_once(make_dataset, tmp_path):
    dataset = make_dataset()
    whole = dataset.train[0].path.read_bytes()
    dataset.train[0].path.write_bytes(whole[: len(whole) // 2])
    dataset.train[5].path.write_bytes(b"")
    dataset.train[9].part_map.write_bytes(b"not a picture")
    with pytest.raises(DataError) as caught:
        prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    message = str(caught.value)
    assert message.startswith("3 unusable files in small train")
    for culprit in (dataset.train[0].path, dataset.train[5].path, dataset.train[9].part_map):
        assert str(culprit) in message
    assert "\n" not in message
    dataset.train[0].path.write_bytes(whole)
    dataset = dataclasses.replace(dataset, train=dataset.train[:5])
    assert len(prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train) == 5


def test_what_cannot_be_prepared_is_refused(make_dataset, tmp_path):
    dataset = make_dataset()
    junk = dataclasses.replace(dataset.train[0], identity=-1)
    with pytest.raises(DataError, match="identity -1"):
        prepare(
            dataclasses.replace(dataset, train=(junk,)),
            data_dir=tmp_path / "prepared",
            progress=False,
        )

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write the prepared dataset"):
        prepare(dataset, data_dir=tmp_path / "file", progress=False)

    dataset.train[3].path.unlink()
    with pytest.raises(DataError, match=r"0001 ü_c1_1\.png cannot be read"):
        prepare(dataset, data_dir=tmp_path / "prepared", progress=False)


def test_part_maps_may_be_missing(make_dataset, tmp_path):
    dataset = make_dataset()
    bare = dataclasses.replace(dataset.train[2], part_map=None)
    dataset = dataclasses.replace(dataset, train=(*dataset.train[:2], bare, *dataset.train[3:]))
    train = prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train
    assert train.read([2])[0].part_map is None
    assert np.flatnonzero(~train.labeled).tolist() == [2]
    with pytest.raises(DataError, match="1 of 14 images have no part map"):
        train.require_parts()


def test_an_empty_split_has_no_pictures(make_dataset, tmp_path):
    dataset = dataclasses.replace(make_dataset(), train=())
    train = prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train
    assert len(train) == 0
    assert train.read([]) == []
    assert train.identities.shape == (0,)


def test_joined_splits_keep_people_and_cameras_apart(make_dataset, tmp_path):
    one = prepare(make_dataset("one"), data_dir=tmp_path / "prepared", progress=False).train
    two = prepare(
        make_dataset("two", parts=False), data_dir=tmp_path / "prepared", progress=False
    ).train
    both = concatenate([one, two], ["one", "two"])
    assert len(both) == 28
    np.testing.assert_array_equal(both.identities[:14], one.identities)
    np.testing.assert_array_equal(both.identities[14:], two.identities + 4)
    np.testing.assert_array_equal(both.cameras[14:], two.cameras + 2)
    assert both.identities.dtype == both.cameras.dtype == np.int32
    assert both.names[0] == f"one/{one.names[0]}"
    assert both.names[14] == f"two/{two.names[0]}"
    assert both.labeled.tolist() == [True] * 14 + [False] * 14
    assert both.read([20, 3, 13, 14]) == two.read([6]) + one.read([3, 13]) + two.read([0])
    with pytest.raises(ValueError, match="2 splits and 1 names"):
        concatenate([one, two], ["one"])


def test_neither_preparing_nor_decoding_needs_tensorflow(make_dataset, tmp_path):
    dataset = make_dataset()
    program = textwrap.dedent(
        f"""
        import importlib.util, pathlib, sys

        class WithoutTensorFlow:
            def __init__(self, finder):
                self.finder = finder

            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("tensorflow", "keras"):
                    return None
                return self.finder.find_spec(name, path, target)

        sys.meta_path = [WithoutTensorFlow(finder) for finder in sys.meta_path]
        assert importlib.util.find_spec("tensorflow") is None

        from input_pipeline.store import prepare
        from input_pipeline.loader import decode_split
        from input_pipeline.dataset import ReidDataset, Sample

        PosixPath = pathlib.PosixPath
        dataset = {dataset!r}
        for _ in range(2):
            prepared = prepare(dataset, data_dir={os.fspath(tmp_path / "prepared")!r})
        decoded = decode_split(prepared.train, image_size=(32, 16))
        assert decoded.images.shape == (14, 32, 16, 3) and decoded.parts.any()
        assert "tensorflow" not in sys.modules
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Preparing small train" in done.stderr  # progress is shown
    assert done.stdout == ""


def test_an_unknown_camera_stays_unknown(make_dataset, tmp_path):
    dataset = make_dataset()
    train = tuple(
        dataclasses.replace(s, camera=UNKNOWN_CAMERA if i % 2 else s.camera)
        for i, s in enumerate(dataset.train)
    )
    query = tuple(dataclasses.replace(s, camera=UNKNOWN_CAMERA) for s in dataset.query)
    unknown = dataclasses.replace(dataset, train=train, query=query)
    options = {"data_dir": tmp_path / "prepared", "progress": False}
    prepared, known = prepare(unknown, **options), prepare(dataset, **options)
    assert prepared.train.cameras.tolist() == [sample.camera for sample in train]
    assert prepared.query.cameras.tolist() == [-1, -1]
    both = concatenate([prepared.query, prepared.train, known.train], ["a", "b", "c"])
    shifted = [-1 if s.camera == -1 else s.camera for s in (*query, *train)]
    past = max(s.camera for s in train) + 1
    assert both.cameras.tolist() == [*shifted, *(s.camera + past for s in dataset.train)]
    with pytest.raises(DataError, match="camera -2"):
        prepare(
            dataclasses.replace(dataset, query=(dataclasses.replace(query[0], camera=-2),)),
            **options,
        )


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


@pytest.mark.skipif(os.name == "nt", reason="a limit on the size of files is needed")
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(make_dataset, tmp_path):
    dataset = make_dataset(identities=8)
    program = """
        import pathlib, pickle, resource, signal, sys
        from input_pipeline.errors import DataError
        from input_pipeline.store import prepare
        dataset = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))
        try:
            prepare(dataset, data_dir=sys.argv[2], progress=False)
        except DataError as error:
            print(error)
    """
    (tmp_path / "dataset").write_bytes(pickle.dumps(dataset))
    data_dir = tmp_path / "prepared"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "dataset", data_dir],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"cannot write the prepared dataset to {data_dir}")
    assert "File too large; choose another data_dir or free some space" in line
    assert {path.name for path in files_under(data_dir)} <= {"lock"}
    assert len(prepare(dataset, data_dir=data_dir, progress=False).train) == len(dataset.train)


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        *(("market1501", "market1501"), ("my shop/2", "my-shop-2")),
        *(("東京", "東京"), ("कि", "कि"), ("की", "की"), ("a_b.c+d", "a_b.c+d")),
    ],
)
def test_prepared_folders_of_all_scripts_are_different(dataset, folder):
    assert folder_name(dataset) == folder
