import dataclasses
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.store.splits import prepare
from tests.input_pipeline.store.prepared_files import files_under


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

    from input_pipeline.store.builder import encode_image

    monkeypatch.setattr("input_pipeline.store.builder.encode_image", interrupted)
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
    monkeypatch.setattr("input_pipeline.store.splits.PIECE", 5)
    dataset = make_dataset()
    data_dir = tmp_path / "prepared"
    seen = []

    def interrupted(path, **options):
        seen.append(path)
        if path == dataset.train[11].path:
            raise KeyboardInterrupt
        return encode_image(path, **options)

    from input_pipeline.store.builder import encode_image

    with monkeypatch.context() as patch:
        patch.setattr("input_pipeline.store.builder.encode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(dataset, data_dir=data_dir, progress=False)
    assert {sample.path for sample in dataset.train[:10]} <= set(seen)
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            "input_pipeline.store.builder.encode_image",
            lambda path, **options: seen.append(path) or encode_image(path, **options),
        )
        train = prepare(dataset, data_dir=data_dir, progress=False).train
    assert not {sample.path for sample in dataset.train[:10]} & set(seen)
    assert len(list((data_dir / "small").glob("train-*"))) == 3
    assert [dataset.root / name for name in train.names] == [s.path for s in dataset.train]
    np.testing.assert_array_equal(train.identities, [s.identity for s in dataset.train])
    for sample, stored in zip(dataset.train, train.read(range(14)), strict=True):
        assert stored.image == sample.path.read_bytes()


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

        from input_pipeline.store.splits import prepare
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


@pytest.mark.skipif(os.name == "nt", reason="a limit on the size of files is needed")
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(make_dataset, tmp_path):
    dataset = make_dataset(identities=8)
    program = """
        import pathlib, pickle, resource, signal, sys
        from input_pipeline.errors import DataError
        from input_pipeline.store.splits import prepare
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
