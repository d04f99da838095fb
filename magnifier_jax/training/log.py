"""The record of a run: `metrics.jsonl`, and the same for TensorBoard."""

import contextlib
import dataclasses
import io
import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
from PIL import Image

from input_pipeline.errors import UserError
from input_pipeline.files import reading, write_bytes
from magnifier_jax import workdir

_FLUSH_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class RunLog:
    """Writes the scalars and images of a run; to be used in a `with` block.

    Every line is handed to the operating system as it is logged, so a process that is killed loses
    nothing that it has logged. A full disk does not stop the run: it is reported once, and logging
    continues when there is room again.

    In a run of several processes only the first one writes.

    Resuming gives the log of an undisturbed run if everything up to step n has been logged before
    the checkpoint of step n is saved.
    """

    def __init__(self, directory: workdir.WorkDirectory, *, resume_step: int = 0) -> None:
        """Opens the log, dropping what was logged after the step that the run resumes from.

        Args:
            directory: The work directory; it has to exist.
            resume_step: The step of the restored checkpoint, 0 for a new run.

        Raises:
            UserError: `metrics.jsonl` cannot be written.
        """
        self._enabled = jax.process_index() == 0
        self._reported = False
        if self._enabled:
            _drop_after(directory.metrics, step=resume_step)
            try:
                self._file = directory.metrics.open("ab", buffering=0)
            except OSError as error:
                raise UserError(f"Cannot write {directory.metrics}: {error.strerror}.") from error
            self._events = _EventFile(directory.tensorboard, resume_step=resume_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._enabled:
            self._file.close()
            self._events.close()

    def log(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Records the scalars of a step, as one line and as TensorBoard series.

        Args:
            step: The number of updates done.
            scalars: Numbers by name; whole numbers stay whole. Undefined and infinite ones are
                written as null.
        """
        if not self._enabled:
            return
        from tensorboardX import summary

        values = {name: _number(value) for name, value in scalars.items()}
        try:
            self._append(json.dumps({"step": int(step), **values}, allow_nan=False) + "\n")
            self._events.write(
                step, *(summary.scalar(k, v) for k, v in values.items() if v is not None)
            )
        except OSError as error:
            self._report(error)

    def image(self, step: int, name: str, array: np.ndarray) -> None:
        """Records an image for TensorBoard, as JPEG.

        Args:
            step: The number of updates done.
            name: Its title.
            array: uint8 `[H, W, 3]`, RGB.
        """
        if not self._enabled:
            return
        from tensorboardX import summary

        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"image {name}: uint8 [H, W, 3], not {array.dtype} {array.shape}")
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "JPEG", quality=90)
        # The library writes PNG only, which is three times as large and slow to compress.
        found = summary.image(name, array[:1, :1], dataformats="HWC")
        image = found.value[0].image
        image.height, image.width, _ = array.shape
        image.encoded_image_string = buffer.getvalue()
        try:
            self._events.write(step, found)
        except OSError as error:
            self._report(error)

    def _append(self, line: str) -> None:
        size = os.fstat(self._file.fileno()).st_size
        data = line.encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError("No space left on device")
        except OSError:
            os.ftruncate(self._file.fileno(), size)  # No half a line before the next one.
            raise

    def _report(self, error: OSError) -> None:
        if not self._reported:
            _logger.warning(
                "The log of the run cannot be written (%s): make room on the disk. Steps until "
                "then will be missing in it.",
                error,
            )
        self._reported = True


class _EventFile:
    """A TensorBoard event file, written without TensorFlow and without a thread.

    It is opened by the first event, and again in another file after a failure, since what follows
    a torn record is never read. Events are handed on every few seconds.
    """

    def __init__(self, folder: pathlib.Path, *, resume_step: int) -> None:
        self._folder = folder
        self._resume_step = resume_step
        self._writer: Any = None
        self._flushed = 0.0
        self._opened = 0

    def write(self, step: int, *values: Any) -> None:
        """Appends summaries of a step.

        Raises:
            OSError: They cannot be written.
        """
        from tensorboardX.proto import event_pb2

        now = time.time()
        try:
            if self._writer is None:
                self._open()
            for value in values:
                self._writer.write_event(event_pb2.Event(wall_time=now, step=step, summary=value))
            if now - self._flushed > _FLUSH_SECONDS:
                self._writer.flush()
                self._flushed = now
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Hands on what is left."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError:
            # What could not be written is given up: else Python would try again when it ends, and
            # print the failure.
            with contextlib.suppress(OSError):
                writer._py_recordio_writer.close()

    def _open(self) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._folder.mkdir(exist_ok=True)
        self._opened += 1
        self._writer = EventsWriter(
            str(self._folder / "events"), filename_suffix=f".{os.getpid()}.{self._opened}"
        )
        if self._resume_step:
            # Tells TensorBoard to forget what an earlier run drew after this step.
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.write_event(
                event_pb2.Event(
                    wall_time=time.time(), step=self._resume_step + 1, session_log=start
                )
            )


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of `metrics.jsonl`.

    Attributes:
        data: As it is in the file, with its end.
        record: Numbers by name, `step` among them; None where they cannot be read. What was
            undefined is None.
    """

    data: bytes
    record: dict[str, float | None] | None


def read_lines(path: pathlib.Path) -> list[Line]:
    """The lines of a `metrics.jsonl`; none if there is no such file.

    Raises:
        DataError: The file cannot be read.
    """
    with reading(path, what="log of a run"):
        data = path.read_bytes() if path.exists() else b""
    lines = io.BytesIO(data).readlines()
    return [Line(line, _parse(line)) for line in lines if line.strip()]


def read_records(path: pathlib.Path) -> list[dict[str, float | None]]:
    """The numbers of all lines that can be read; how many cannot is said.

    Raises:
        DataError: The file cannot be read.
    """
    lines = read_lines(path)
    records = [line.record for line in lines if line.record is not None]
    if len(records) < len(lines):
        _say_left_out(path, len(lines) - len(records))
    return records


def _say_left_out(path: pathlib.Path, count: int) -> None:
    what = "1 line that cannot be read is" if count == 1 else f"{count} unreadable lines are"
    _logger.warning("%s: %s left out.", path, what)


def _parse(line: bytes) -> dict[str, float | None] | None:
    try:
        values = json.loads(line)
        if not line.endswith(b"\n") or not 0 <= values["step"] < math.inf:
            return None
        return {name: _as_number(value) for name, value in values.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _as_number(value: Any) -> float | None:
    if value is not None and type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return value if value is not None and math.isfinite(value) else None


def _drop_after(path: pathlib.Path, *, step: int) -> None:
    """Removes the lines after a step, and those that cannot be read."""
    lines = read_lines(path)
    sound = [line for line in lines if line.record is not None]
    kept = [line for line in sound if line.record is not None and _step_of(line.record) <= step]
    cut = bool(lines) and not lines[-1].data.endswith(b"\n")  # By a crash, after the last save.
    dropped = len(sound) - len(kept) + cut
    if len(lines) - len(kept) > dropped:
        _say_left_out(path, len(lines) - len(kept) - dropped)
    if dropped:
        _logger.warning(
            "%d lines logged after step %d are dropped from %s: the run resumes from there.",
            dropped,
            step,
            path,
        )
    if len(kept) < len(lines):
        write_bytes(path, b"".join(line.data for line in kept))


def _step_of(record: Mapping[str, float | None]) -> float:
    step = record["step"]
    return math.inf if step is None else step


def _number(value: Any) -> int | float | None:
    array = np.asarray(value)
    if np.issubdtype(array.dtype, np.integer):
        return int(array)
    number = float(array)
    return number if math.isfinite(number) else None
