"""Labels a share of the images; `write_labels` starts several of these as processes of their own.

Processes of their own, not forks: the caller may have JAX loaded, and may be a script whose main
module must not be imported again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from input_pipeline.dataset import BACKGROUND, NUM_PARTS
from input_pipeline.errors import DataError
from input_pipeline.images.codec import check_size, open_rgb
from input_pipeline.part_labels.label_maps import write_parts
from input_pipeline.part_labels.labelers import LabeledImage, NamedLabeler, PartLabeler

_BATCH = 16  # images that a labeler gets at a time
_WORK = f"from {__package__}.label_worker import main; main()"


@dataclasses.dataclass(frozen=True)
class Task:
    """One image to label.

    Attributes:
        name: Relative to its dataset, as records have it.
        source: The image file.
        target: The part map to write.
    """

    name: str
    source: pathlib.Path
    target: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        task: The task.
        problem: Why the image cannot be used, or None.
        size: Bytes of the image file.
        changed: Its time of change, in nanoseconds.
        score: As in `LabeledImage`.
        agreement: As in `LabeledImage`.
        shares: Share of each part in the map; None where there is no map.
    """

    task: Task
    problem: str | None = None
    size: int = 0
    changed: int = 0
    score: float = 0.0
    agreement: float = 0.0
    shares: tuple[float, ...] | None = None


def run_here(labeler: PartLabeler, tasks: Sequence[Task]) -> Iterator[Done]:
    """Labels images in this process, yielding what came of each once it is on disk.

    Raises:
        OSError: A part map cannot be written.
    """
    for start in range(0, len(tasks), _BATCH):
        read: list[tuple[Task, os.stat_result, np.ndarray]] = []
        for task in tasks[start : start + _BATCH]:
            try:
                status = task.source.stat()
                with open_rgb(task.source) as image:
                    check_size((image.height, image.width))
                    read.append((task, status, np.array(image)))
            except OSError as error:
                yield Done(task, problem=error.strerror or str(error))
            except ValueError as error:
                yield Done(task, problem=str(error))
        images = [pixels for _, _, pixels in read]
        if not read:
            continue
        if isinstance(labeler, NamedLabeler):
            found = labeler.label_named(images, [task.name for task, _, _ in read])
        else:
            found = labeler.label(images)
        for (task, status, pixels), labeled in zip(read, found, strict=True):
            shares = _keep(labeled, task, size=pixels.shape[:2])
            yield Done(
                task,
                size=status.st_size,
                changed=status.st_mtime_ns,
                score=round(float(labeled.score), 4),
                agreement=round(float(labeled.agreement), 4),
                shares=shares,
            )


def _keep(labeled: LabeledImage, task: Task, *, size: Sequence[int]) -> tuple[float, ...] | None:
    """Writes a part map that shows somebody, and returns the share of each part in it."""
    parts = labeled.part_map
    if parts is None or not (parts != BACKGROUND).any():
        task.target.unlink(missing_ok=True)  # of an image that has changed
        return None
    if parts.shape != tuple(size) or parts.dtype != np.uint8 or parts.max() >= NUM_PARTS:
        raise ValueError(f"the labeler returned {parts.dtype} {parts.shape} for an image of {size}")
    write_parts(parts, task.target)
    counts = np.bincount(parts.reshape(-1), minlength=NUM_PARTS)
    return tuple((counts / parts.size).round(4).tolist())


# --- In several processes -------------------------------------------------------------------------


def run_in_processes(
    labeler: PartLabeler, tasks: Sequence[Task], *, processes: int
) -> Iterator[Done]:
    """Labels images in processes of their own, yielding what came of each in any order.

    Raises:
        DataError: A process failed; the message is the last that it said.
    """
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        workers = []
        for index in range(processes):
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _WORK],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=_environment(),
                )
            )
            workers.append((process, errors))
            job = pickle.dumps((labeler, tasks[index::processes]))
            threading.Thread(target=_feed, args=(process.stdin, job), daemon=True).start()
            threading.Thread(target=_listen, args=(process.stdout, lines), daemon=True).start()
        try:
            yield from _collect(lines, {task.name: task for task in tasks}, running=processes)
        except BaseException:
            for process, _ in workers:
                process.terminate()
            raise
        for process, errors in workers:
            if process.wait():
                raise DataError(f"a process that makes part labels failed: {_last_line(errors)}")


def _collect(
    lines: queue.SimpleQueue[bytes | None], tasks: dict[str, Task], *, running: int
) -> Iterator[Done]:
    while running:
        line = lines.get()
        if line is None:
            running -= 1
            continue
        fields: dict[str, Any] = json.loads(line)
        shares = fields.pop("shares")
        task = tasks[fields.pop("name")]
        yield Done(task, shares=None if shares is None else tuple(shares), **fields)


def _environment() -> dict[str, str]:
    """That of a worker: it finds this package, and leaves the other cores to the others."""
    top_level = pathlib.Path(__file__).parents[__name__.count(".")]
    path = os.pathsep.join(filter(None, (str(top_level), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _feed(stream: IO[bytes] | None, job: bytes) -> None:
    assert stream is not None
    with contextlib.suppress(OSError), stream:  # One that has ended says why.
        stream.write(job)


def _listen(stream: IO[bytes] | None, lines: queue.SimpleQueue[bytes | None]) -> None:
    assert stream is not None
    with stream:
        for line in stream:
            if line.startswith(b"{"):  # Libraries may print, too.
                lines.put(line)
    lines.put(None)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    return said[-1][:300] if said else "it was killed"


def main() -> None:
    """Labels the images of the job on standard input; prints a line of JSON for each."""
    labeler, tasks = pickle.loads(sys.stdin.buffer.read())
    for done in run_here(labeler, tasks):
        fields = {
            "name": done.task.name,
            **{
                field.name: getattr(done, field.name)
                for field in dataclasses.fields(done)
                if field.name != "task"
            },
        }
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()
