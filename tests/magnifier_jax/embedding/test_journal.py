import contextlib
import json
import os
import pathlib
import resource

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.embedding import journal


@contextlib.contextmanager
def few_open_files():
    """Lets this process open only a few files more; gives how many it may have in all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(path.name) for path in pathlib.Path("/dev/fd").iterdir()) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def chunk(number):
    arrays = {
        "descriptors": np.full((2, 3), number, np.float32),
        "parts": np.full((2, 2, 3), number, np.float16),
        "visible": np.full((2, 2), number % 2 == 0),
    }
    return journal.Chunk([f"{number}a", f"{number}b"], ["1", "2"], arrays)


def test_more_chunks_than_files_may_be_open(tmp_path):
    output = tmp_path / "gallery.npz"
    with few_open_files() as limit:
        total = limit // 3 + 1
        begun = journal.Journal(output, key={"model": "one"})
        for number in range(total - 1):
            begun.add(chunk(number))
        again = journal.Journal(output, key={"model": "one"})
        again.add(chunk(total - 1))
        again.finish([f"{number}{letter}" for letter in "ba" for number in range(total)], extra={})
    with np.load(output) as file:
        assert file["descriptors"][:, 0].tolist() == 2 * list(range(total))
        assert file["parts"].shape == (2 * total, 2, 3)
        assert file["visible"][:, 1].tolist() == 2 * [number % 2 == 0 for number in range(total)]


def test_the_gallery_is_on_the_disk_before_its_chunks_go(tmp_path, monkeypatch):
    output = tmp_path / "gallery.npz"
    begun = journal.Journal(output, key={"model": "one"})
    begun.add(chunk(0))
    synced = []
    sync, remove = os.fsync, journal.shutil.rmtree

    def sync_and_tell(file):
        synced.append(os.fstat(file).st_ino)
        sync(file)

    def remove_after_sync(folder):
        assert synced == [output.stat().st_ino, tmp_path.stat().st_ino]
        remove(folder)

    monkeypatch.setattr(os, "fsync", sync_and_tell)
    monkeypatch.setattr(journal.shutil, "rmtree", remove_after_sync)
    begun.finish(["0b", "0a"], extra={})
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_a_full_disk_keeps_the_chunks(tmp_path, file_size_limit):
    output = tmp_path / "gallery.npz"
    begun = journal.Journal(output, key={"model": "one"})
    for number in range(9):
        begun.add(chunk(number))
    names = [f"{number}a" for number in range(9)]
    file_size_limit(700)
    with pytest.raises(UserError, match=r"Cannot write .*gallery\.npz .*make room"):
        begun.finish(names, extra={})
    file_size_limit(None)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz.unfinished"]
    journal.Journal(output, key={"model": "one"}).finish(names, extra={})
    assert output.exists()


def test_chunks_of_another_model_are_not_used(tmp_path):
    output = tmp_path / "gallery.npz"
    arrays = {"descriptors": np.eye(2, 3, dtype=np.float32)}
    begun = journal.Journal(output, key={"model": "one"})
    begun.add(journal.Chunk(["a", "b"], ["1", "2"], arrays))
    again = journal.Journal(output, key={"model": "one"})
    assert again.has("a", state="1")
    assert not again.has("a", state="changed")
    other = journal.Journal(output, key={"model": "two"})
    assert other.restarted
    assert not other.has("a", state="1")
    other.add(journal.Chunk(["b", "a"], ["2", "1"], arrays))
    other.finish(["a", "b"], extra={"note": json.dumps({"x": 1})})
    with np.load(output) as file:
        np.testing.assert_array_equal(file["descriptors"], arrays["descriptors"][::-1])
        assert file["names"].tolist() == ["a", "b"]
        assert json.loads(str(file["note"])) == {"x": 1}


def begun_with(tmp_path, chunks):
    output = tmp_path / "gallery.npz"
    begun = journal.Journal(output, key={"model": "one"})
    for number in range(chunks):
        begun.add(chunk(number))
    return output, tmp_path / "gallery.npz.unfinished"


@pytest.mark.parametrize("array", ["descriptors.npy", "parts.npy", "visible.npy", "json"])
def test_a_damaged_chunk_does_not_count_whatever_bit_is_flipped(tmp_path, array):
    output, folder = begun_with(tmp_path, 2)
    damaged = folder / (f"0000001.{array}")
    sound = damaged.read_bytes()
    for place in range(0, 8 * len(sound), 97):
        flipped = bytearray(sound)
        flipped[place // 8] ^= 1 << place % 8
        damaged.write_bytes(flipped)
        listed = folder / "0000001.json"
        list_before = listed.read_bytes()
        again = journal.Journal(output, key={"model": "one"})
        assert again.has("0a", state="1")
        same = array == "json" and json_value(bytes(flipped)) == json_value(sound)
        assert again.damaged == (0 if same else 1)
        assert again.has("1a", state="1") == same
        damaged.write_bytes(sound)
        listed.write_bytes(sound if array == "json" else list_before)


def json_value(data):
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.mark.parametrize("how", ["cut", "gone", "empty", "foreign"])
@pytest.mark.parametrize("name", ["0000001.json", "0000001.parts.npy", "key.json"])
def test_what_is_left_of_damaged_work_is_made_anew(tmp_path, how, name):
    output, folder = begun_with(tmp_path, 2)
    path = folder / name
    if how == "gone":
        path.unlink()
    else:
        contents = {"cut": path.read_bytes()[:-9], "empty": b"", "foreign": b"[1, \xff"}
        path.write_bytes(contents[how])
    again = journal.Journal(output, key={"model": "one"})
    assert not again.has("1a", state="1")
    assert again.has("0a", state="1") == (name != "key.json")
    if name == "key.json":
        again.add(chunk(0))
    again.add(chunk(1))
    again.finish(["1b", "0a"], extra={})
    with np.load(output) as file:
        assert file["descriptors"][:, 0].tolist() == [1, 0]
