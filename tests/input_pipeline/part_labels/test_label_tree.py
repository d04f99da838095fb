import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import Sample
from input_pipeline.errors import DataError
from input_pipeline.part_labels.label_tree import RECORD, read_label_tree, write_labels
from input_pipeline.part_labels.labelers import LabeledImage, agreement_of
from tests.input_pipeline.part_labels.labelers import BrightLabeler


@pytest.fixture
def images(tmp_path) -> list[Sample]:
    """Six images; the left columns of the n-th are bright, n of 8, so that the first shows none."""
    samples = []
    for n in range(6):
        path = tmp_path / "data" / "träin x" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((16, 8, 3), np.uint8)
        pixels[:, :n] = 200
        Image.fromarray(pixels).save(path)
        samples.append(Sample(path, n, 0))
    return samples


def written(samples, tmp_path, labeler=None, **options):
    options = {"processes": 1, "progress": False, **options}
    return write_labels(
        samples,
        labeler or BrightLabeler(),
        root=tmp_path / "data",
        output=tmp_path / "out",
        **options,
    )


def maps_in(folder: pathlib.Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            found[path.relative_to(folder).as_posix()] = np.asarray(image)
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_every_image_gets_its_map_but_one_that_shows_nobody(images, tmp_path, processes):
    tree = written(images, tmp_path, processes=processes)
    maps = maps_in(tmp_path / "out")
    assert list(maps) == [f"träin x/{n}.png" for n in range(1, 6)]
    for n in range(1, 6):
        expected = np.zeros((16, 8), np.uint8)
        expected[:, :n] = 2
        np.testing.assert_array_equal(maps[f"träin x/{n}.png"], expected)
        entry = tree.entries[f"träin x/{n}.png"]
        assert entry.shares == (1 - n / 8, 0, n / 8, 0, 0, 0, 0, 0)
        assert (entry.score, entry.agreement) == (0.95, 0.5)
    assert tree.without_map == {"träin x/0.png"}
    assert tree.part_map("träin x/0.png") is None
    read = read_label_tree(tmp_path / "out")
    assert read == tree
    assert read.made_by == {"labeler": "bright", "threshold": 128}


def test_what_is_labeled_stays_and_what_has_changed_is_labeled_again(images, tmp_path):
    written(images, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "out" / "träin x" / "3.png").unlink()
    Image.fromarray(np.zeros((16, 8, 3), np.uint8)).save(images[4].path)
    os.utime(images[4].path, (1e9, 1e9))  # as from an archive: older than its map
    tree = written(images, tmp_path)
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    assert after.keys() == {"1.png", "2.png", "3.png", "5.png"}
    assert {name for name in after if after[name] == before[name]} == {"1.png", "2.png", "5.png"}
    assert tree.without_map == {"träin x/0.png", "träin x/4.png"}


def test_maps_of_other_makers_are_never_replaced_unasked(images, tmp_path):
    stranger = tmp_path / "out" / "träin x" / "1.png"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"mine")
    with pytest.raises(DataError, match="no labeler of ours recorded"):
        written(images, tmp_path)
    assert stranger.read_bytes() == b"mine"
    written(images, tmp_path, force=True)
    with pytest.raises(DataError, match="threshold 128, not by labeler bright, threshold 100"):
        written(images, tmp_path, BrightLabeler(100))
    tree = written(images, tmp_path, BrightLabeler(250), force=True)
    assert len(tree.without_map) == 6
    assert not maps_in(tmp_path / "out")  # no map of the other labeler is left


def test_a_damaged_record_is_named(images, tmp_path):
    written(images, tmp_path)
    record = tmp_path / "out" / RECORD
    record.write_bytes(record.read_bytes().replace(b"0.95", b"0.15"))
    with pytest.raises(DataError, match=r"labels\.json is not a sound record of part labels"):
        written(images, tmp_path)
    written(images, tmp_path, force=True)
    assert read_label_tree(tmp_path / "out").entries["träin x/1.png"].score == 0.95


def test_bad_images_are_reported_after_the_others(images, tmp_path):
    images[2].path.write_bytes(b"")
    images[3].path.write_bytes(images[3].path.read_bytes()[:50])
    Image.fromarray(np.full((1, 1, 3), 255, np.uint8)).save(images[4].path)
    images[5].path.unlink()
    tree = written(images, tmp_path)
    assert [problem.path.name for problem in tree.problems] == ["2.png", "3.png", "4.png", "5.png"]
    assert list(maps_in(tmp_path / "out")) == ["träin x/1.png"]
    assert tree.entries.keys() == {"träin x/0.png", "träin x/1.png"}


def test_images_that_would_share_a_map_are_refused(images, tmp_path):
    twin = images[0].path.with_suffix(".jpg")
    Image.new("RGB", (8, 16)).save(twin)
    with pytest.raises(DataError, match=r"0\.png and .*0\.jpg would have the same part map"):
        written([*images, Sample(twin, 9, 0)], tmp_path)


def test_a_labeler_that_breaks_in_another_process_is_told_in_one_line(images, tmp_path):
    with pytest.raises(DataError, match="RuntimeError: the labeler broke"):
        written(images, tmp_path, BrightLabeler(fails=True), processes=2)


def test_a_map_of_another_size_is_refused(images, tmp_path):
    class Wrong(BrightLabeler):
        def label(self, images):
            return [LabeledImage(np.ones((3, 3), np.uint8), 1.0) for _ in images]

    with pytest.raises(ValueError, match=r"\(3, 3\) for an image of \(16, 8\)"):
        written(images, tmp_path, Wrong())


_SLOW = """
import pathlib, sys, time
from input_pipeline.dataset import Sample
from input_pipeline.part_labels import label_worker
from input_pipeline.part_labels.label_tree import write_labels
from tests.input_pipeline.part_labels.labelers import BrightLabeler
class Slow(BrightLabeler):
    def label(self, images):
        time.sleep(float(sys.argv[2]))
        return super().label(images)
label_worker._BATCH = 1
data = pathlib.Path(sys.argv[1]) / 'data'
samples = [Sample(path, 0, 0) for path in sorted(data.rglob('*.png'))]
write_labels(samples, Slow(), root=data, output=data.with_name('out'), processes=1, progress=False)
"""


def test_a_killed_call_is_continued_and_two_at_once_do_the_work_once(images, tmp_path):
    def start(seconds: float) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", _SLOW, str(tmp_path), str(seconds)], stderr=subprocess.PIPE
        )

    killed = start(0.3)
    deadline = time.monotonic() + 20
    while len(maps_in(tmp_path / "out")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert 2 <= len(maps_in(tmp_path / "out")) < 5
    both = [start(0.2), start(0.2)]
    said = b"".join(process.communicate(timeout=60)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert b"waiting for another process that makes part labels" in said
    fresh = written(images, tmp_path)
    assert len(maps_in(tmp_path / "out")) == 5
    assert fresh.without_map == {"träin x/0.png"}


def test_agreement_is_the_mean_iou_of_the_parts_shown():
    one = np.array([[0, 1, 1, 2], [0, 0, 3, 3]], np.uint8)
    other = np.array([[0, 1, 2, 2], [0, 0, 0, 0]], np.uint8)
    assert agreement_of(one, other) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert agreement_of(one, one) == 1
    assert agreement_of(np.zeros_like(one), np.zeros_like(one)) == 0
