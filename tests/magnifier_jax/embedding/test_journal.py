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
        begun = journal.Journal(output, key="one")
        for number in range(total - 1):
            begun.add(chunk(number))
        again = journal.Journal(output, key="one")
        again.add(chunk(total - 1))
        again.finish([f"{number}{letter}" for letter in "ba" for number in range(total)], extra={})
    with np.load(output) as file:
        assert file["descriptors"][:, 0].tolist() == 2 * list(range(total))
        assert file["parts"].shape == (2 * total, 2, 3)
        assert file["visible"][:, 1].tolist() == 2 * [number % 2 == 0 for number in range(total)]


def test_the_gallery_is_on_the_disk_before_its_chunks_go(tmp_path, monkeypatch):
    output = tmp_path / "gallery.npz"
    begun = journal.Journal(output, key="one")
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
    begun = journal.Journal(output, key="one")
    for number in range(9):
        begun.add(chunk(number))
    names = [f"{number}a" for number in range(9)]
    file_size_limit(700)
    with pytest.raises(UserError, match=r"Cannot write .*gallery\.npz .*make room"):
        begun.finish(names, extra={})
    file_size_limit(None)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz.unfinished"]
    journal.Journal(output, key="one").finish(names, extra={})
    assert output.exists()


def test_chunks_of_another_model_are_not_used(tmp_path):
    output = tmp_path / "gallery.npz"
    arrays = {"descriptors": np.eye(2, 3, dtype=np.float32)}
    begun = journal.Journal(output, key="one")
    begun.add(journal.Chunk(["a", "b"], ["1", "2"], arrays))
    again = journal.Journal(output, key="one")
    assert again.has("a", state="1")
    assert not again.has("a", state="changed")
    other = journal.Journal(output, key="two")
    assert other.restarted
    assert not other.has("a", state="1")
    other.add(journal.Chunk(["b", "a"], ["2", "1"], arrays))
    other.finish(["a", "b"], extra={"note": json.dumps({"x": 1})})
    with np.load(output) as file:
        np.testing.assert_array_equal(file["descriptors"], arrays["descriptors"][::-1])
        assert file["names"].tolist() == ["a", "b"]
        assert json.loads(str(file["note"])) == {"x": 1}
