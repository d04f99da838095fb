"""Stores under fire: killed writers, several writers and readers at once, flipped bytes."""

import collections
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import magnifier_jax as mj
from input_pipeline.errors import DataError, MagnifierError, UserError
from magnifier_jax.retrieval import Blocks

pytest.importorskip("lance")

BATCH = 20
# Appends whole batches until it is killed, and replaces every third one.
WRITER = """
import sys
import numpy as np
from magnifier_jax.gallery.store import GalleryStore

place, prefix, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = GalleryStore.open(place, create=True)
batch = sum(name.startswith(prefix) for name in store.names()) // size
while True:
    names = [f"{prefix}-{batch}-{row}" for row in range(size)]
    vectors = np.random.default_rng(batch).standard_normal((size, 8)).astype(np.float32)
    store.append(vectors, names=names, cameras=[1] * size)
    if batch % 3 == 0:
        store.replace(vectors + 1, names=names, cameras=[2] * size)
    batch += 1
"""


def start_writer(place, prefix):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place), prefix, str(BATCH)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[4],
        stderr=subprocess.PIPE,
    )


def whole_batches(place):
    """Checks that a reader sees nothing but whole batches, and counts them."""
    store = mj.Gallery.open(place)
    found = store.search(np.zeros((1, 8), np.float32), top=10**6)
    rows, cameras = collections.Counter(), collections.defaultdict(set)
    for name, camera in zip(found.names[0].tolist(), found.cameras[0].tolist(), strict=True):
        batch = name.rpartition("-")[0]
        rows[batch] += 1
        cameras[batch].add(camera)
    assert set(rows.values()) == {BATCH}
    assert all(len(seen) == 1 for seen in cameras.values())
    assert len(set(found.names[0].tolist())) == found.counts[0]
    return len(rows)


@pytest.mark.slow
def test_two_writers_are_killed_and_lose_no_whole_append(tmp_path):
    place, generator, seen = tmp_path / "people.lance", random.Random(0), [0]
    for _ in range(2):
        writers = [start_writer(place, prefix) for prefix in "ab"]
        end = time.monotonic() + 300
        while seen[-1] < seen[0] + 6:
            assert time.monotonic() < end
            for writer in writers:
                assert writer.poll() is None, writer.stderr.read()
            if list(place.glob("*.lance/_versions/*.manifest")):
                seen.append(whole_batches(place))
        time.sleep(generator.uniform(0, 0.2))
        for writer in writers:
            writer.kill()
            writer.communicate()
        assert whole_batches(place) >= seen[-1]
        seen = [whole_batches(place)]
    store = mj.Gallery.open(place)
    before = len(store)
    store.append(np.ones((1, 8), np.float32), names=["after"])
    assert len(store) == before + 1


def ask(place):
    """All that searches say, with and without a filter."""
    store = mj.Gallery.open(place, blocks=Blocks(gallery_rows=64))
    query, said = np.eye(8, dtype=np.float32)[:2], []
    for where in (None, "camera = 2"):
        found = store.search(query, top=20, where=where)
        said.append([found.names, found.distances, found.cameras, found.columns["time"]])
    return said


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("sound") / "people.lance"
    store = mj.Gallery.open(place, create=True)
    generator = np.random.default_rng(0)
    for batch in range(2):
        store.append(
            generator.standard_normal((60, 8)).astype(np.float32),
            names=[f"{batch}-{row}" for row in range(60)],
            cameras=np.arange(60) % 4,
            times=[f"2026-11-29T09:{row:02d}" for row in range(60)],
        )
    store.delete(names=[f"0-{row}" for row in range(0, 60, 4)])
    return place


def test_a_flipped_byte_is_an_error_or_changes_nothing(sound, tmp_path):
    expected = ask(sound)
    generator = random.Random(1)
    data = sorted(sound.rglob("data/*.lance"))
    others = [path for path in sound.rglob("*") if path.is_file() and path not in data]
    refused = []
    for number in range(16):
        path = generator.choice(others if number % 4 == 3 else data)
        copy = tmp_path / str(number)
        shutil.copytree(sound, copy)
        content = bytearray(path.read_bytes())
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        (copy / path.relative_to(sound)).write_bytes(content)
        try:
            found = ask(copy)
        except MagnifierError as error:
            refused.append(str(error))
            continue
        for mine, whole in zip(found, expected, strict=True):
            for one, other in zip(mine, whole, strict=True):
                np.testing.assert_array_equal(one, other)
    assert not any("\n" in message for message in refused)
    assert len(refused) >= 4  # Most bytes of these files are vectors.


@pytest.mark.parametrize("column", ["descriptor", "camera", "name"])
def test_rows_that_another_program_changed_are_refused(sound, tmp_path, column):
    import lance

    shutil.copytree(sound, tmp_path / "people.lance")
    (table,) = (tmp_path / "people.lance").glob("*.lance")
    changed = {
        "descriptor": "arrow_cast([9,9,9,9,9,9,9,9], 'FixedSizeList(8, Float32)')",
        "camera": "camera + 1",
        "name": "concat(name, 'x')",
    }
    lance.dataset(str(table)).update({column: changed[column]})
    with pytest.raises(DataError, match="not as they were written"):
        ask(tmp_path / "people.lance")


def test_a_reader_keeps_its_version_while_another_writes(tmp_path):
    place = tmp_path / "people.lance"
    writer = mj.Gallery.open(place, create=True)
    writer.append(np.eye(4, dtype=np.float32), names=list("abcd"))
    reader = mj.Gallery.open(place)
    assert len(reader) == 4
    writer.delete(names=["a"])
    writer.append(np.ones((1, 4), np.float32), names=["e"])
    assert len(reader) == 4  # Again four, of the new version.
    assert sorted(reader.search(np.eye(4)[0], top=9).names[0]) == list("bcde")


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch):
    import lance

    place = tmp_path / "people.lance"
    store = mj.Gallery.open(place, create=True)
    store.append(np.eye(4, dtype=np.float32), names=list("abcd"))

    def full(*_, **__):
        raise OSError("LanceError(IO): Generic LocalFileSystem error: No space left on device")

    monkeypatch.setattr(lance.LanceDataset, "merge_insert", full)
    with pytest.raises(UserError, match=r"Cannot write .*: the disk is full$"):
        store.append(np.ones((1, 4), np.float32), names=["e"])
    monkeypatch.undo()
    assert len(mj.Gallery.open(place)) == 4
