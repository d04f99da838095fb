import io
import json
import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from magnifier_jax.training.log import RunLog, read_records
from magnifier_jax.workdir import WorkDirectory


@pytest.fixture
def directory(tmp_path):
    return WorkDirectory(tmp_path)


def lines(directory: WorkDirectory) -> list[dict]:
    return [json.loads(line) for line in directory.metrics.read_text().splitlines()]


def events(directory: WorkDirectory) -> list[event_pb2.Event]:
    found = []
    for path in sorted(directory.tensorboard.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return found


def test_scalars_are_lines_and_series(directory):
    with RunLog(directory) as log:
        log.log(1, {"epoch": np.int32(0), "loss/triplet": jnp.float32(0.1), "images/s": 12.5})
        assert lines(directory)[0]["images/s"] == 12.5  # On disk before the block is left.
        log.log(2, {"epoch": 1, "loss/triplet": float("nan")})
    assert lines(directory) == [
        {"step": 1, "epoch": 0, "loss/triplet": float(np.float32(0.1)), "images/s": 12.5},
        {"step": 2, "epoch": 1, "loss/triplet": None},
    ]
    assert '"epoch": 0,' in directory.metrics.read_text()
    series = [
        (event.step, value.tag, value.simple_value)
        for event in events(directory)
        for value in event.summary.value
    ]
    assert series == [
        (1, "epoch", 0.0),
        (1, "loss/triplet", np.float32(0.1)),
        (1, "images/s", 12.5),
        (2, "epoch", 1.0),
    ]


def test_images_come_back(directory):
    down, right = np.mgrid[0:100:40j, 0:120:56j]
    pixels = np.stack([down, right, 220 - down], axis=-1).astype(np.uint8)
    with RunLog(directory) as log:
        log.image(3, "parts", pixels)
        with pytest.raises(ValueError, match=r"image parts: uint8 \[H, W, 3\], not float64"):
            log.image(3, "parts", pixels / 255)
    (event,) = [event for event in events(directory) if event.summary.value]
    assert event.step == 3
    assert event.summary.value[0].tag == "parts"
    image = event.summary.value[0].image
    assert (image.height, image.width, image.colorspace) == (40, 56, 3)
    stored = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    np.testing.assert_allclose(stored.astype(int), pixels, atol=6)  # JPEG is not exact.


def test_resuming_gives_the_log_of_an_undisturbed_run(tmp_path, caplog):
    whole, stopped = WorkDirectory(tmp_path / "whole"), WorkDirectory(tmp_path / "stopped")
    for directory in (whole, stopped):
        directory.path.mkdir()
    with RunLog(whole) as log:
        for step in range(1, 9):
            log.log(step, {"loss": 1 / step})
    with RunLog(stopped) as log:
        for step in range(1, 7):
            log.log(step, {"loss": 1 / step})
    with stopped.metrics.open("a") as file:
        file.write('{"step": 7, "lo')  # Cut off by a crash.
    with RunLog(stopped, resume_step=4) as log:
        assert "3 lines logged after step 4 are dropped" in caplog.text
        for step in range(5, 9):
            log.log(step, {"loss": 1 / step})
    assert stopped.metrics.read_bytes() == whole.metrics.read_bytes()
    restarts = [event for event in events(stopped) if event.HasField("session_log")]
    assert [event.step for event in restarts] == [5]  # TensorBoard drops what it had from there.
    assert restarts[0].session_log.status == event_pb2.SessionLog.START


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b'{"step": 2, "total": "\xc3"}',
        b'{"step": 2, "total": "high"}',
        b'{"step": 2, "total": [1]}',
        b'{"step": true}',
        b'{"step": 1e999}',
        b'{"step": -1}',
        b'{"total": 1}',
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"step": 2, "total": 1' + b"0" * 400 + b"}",
    ],
    ids=range(12),
)
def test_a_line_that_cannot_be_read_is_left_out_aloud(tmp_path, caplog, line):
    directory = WorkDirectory(tmp_path)
    good = [b'{"step": 1, "total": 2.5, "odd": null}\n', b'{"step": 3, "total": 1}\n']
    directory.metrics.write_bytes(good[0] + line + b"\n" + good[1])
    records = read_records(directory.metrics)
    assert [record["step"] for record in records] == [1, 3]
    assert records[0] == {"step": 1, "total": 2.5, "odd": None}
    said = f"{directory.metrics}: 1 line that cannot be read is left out."
    assert caplog.text.count(said) == 1
    with RunLog(directory, resume_step=3):
        pass
    assert directory.metrics.read_bytes() == b"".join(good)
    assert caplog.text.count(said) == 2
    caplog.clear()
    assert len(read_records(directory.metrics)) == 2
    assert not caplog.records


def test_a_full_disk_is_reported_once_and_leaves_whole_lines(directory, file_size_limit, caplog):
    with RunLog(directory) as log:
        log.log(1, {"loss": 1.0})
        file_size_limit(directory.metrics.stat().st_size + 5)
        log.log(2, {"loss": 2.0})
        log.log(3, {"loss": 3.0})
        file_size_limit(None)
        log.log(4, {"loss": 4.0})
    assert [line["step"] for line in lines(directory)] == [1, 4]
    assert caplog.text.count("log of the run cannot be written") == 1


def test_a_full_disk_does_not_lose_later_events(directory, file_size_limit, caplog):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with RunLog(directory) as log:
        file_size_limit(2000)
        log.image(1, "a", pixels)
        assert "cannot be written" in caplog.text
        file_size_limit(None)
        log.image(2, "b", pixels)
    torn, _ = sorted(directory.tensorboard.iterdir())
    assert torn.stat().st_size <= 2000
    torn.unlink()
    assert [event.step for event in events(directory) if event.summary.value] == [2]


def test_logging_does_not_import_tensorflow(tmp_path):
    script = (
        "import sys, pathlib; sys.modules['tensorflow'] = None\n"
        "from magnifier_jax.training.log import RunLog, read_records\n"
        "from magnifier_jax.workdir import WorkDirectory\n"
        f"with RunLog(WorkDirectory(pathlib.Path({str(tmp_path)!r}))) as log:\n"
        "    log.log(1, {'loss': 1.0})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert lines(WorkDirectory(tmp_path)) == [{"step": 1, "loss": 1.0}]
