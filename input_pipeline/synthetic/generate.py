"""Renders a synthetic dataset to disk, in parallel and resumable."""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import tqdm

from input_pipeline.errors import DataError
from input_pipeline.files import only_one
from input_pipeline.synthetic.plan import SPLITS, Plan, Shot, make_plan
from input_pipeline.synthetic.settings import SETTINGS_FILE, SyntheticSettings, read_settings
from input_pipeline.synthetic.worker import TEMPORARY, draw_shots, missing_shots, part_root

LOCK = ".lock"
_PIXELS_WORTH_A_PROCESS = 20_000_000
"""Below this a second process takes longer to start than it saves."""
_WORK = f"import sys; from {__package__}.worker import main; main(sys.argv[1:])"


def generate(
    root: pathlib.Path,
    settings: SyntheticSettings,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> pathlib.Path:
    """Renders the dataset into `root`, or what is missing of it, in Market-1501's layout.

    Of several processes one draws, the others say that they wait for it, and do.

    The part maps go to the sibling folder `<root>_ps_label`. The bytes depend on `settings` alone,
    not on the number of workers nor on interruptions.

    Args:
        root: Dataset folder; created.
        settings: One of `PRESETS`, or your own.
        workers: Processes that draw; None for one per core, or one for a small dataset.
        progress: Shows a progress bar on stderr.

    Returns:
        `root`.

    Raises:
        DataError: `root` holds a dataset of other settings or other files, or cannot be written.
    """
    root = pathlib.Path(root)
    plan = make_plan(settings)
    if _is_claimed(root, settings) and not missing_shots(root, plan):
        return root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with only_one(root / LOCK, doing=f"draws {root}"):
            _claim(root, settings)
            _draw(root, settings, plan, workers=workers, progress=progress)
    except OSError as error:
        raise DataError(
            f"cannot draw images in {root}: {error.strerror or error}; choose another folder or "
            "free some space"
        ) from error
    return root


def _draw(
    root: pathlib.Path,
    settings: SyntheticSettings,
    plan: Plan,
    *,
    workers: int | None,
    progress: bool,
) -> None:
    """Draws what is missing. Nobody else draws while we hold the lock."""
    for split in SPLITS:
        (root / split).mkdir(parents=True, exist_ok=True)
        (part_root(root) / split).mkdir(parents=True, exist_ok=True)
    _tidy(root)
    missing = missing_shots(root, plan)
    if not missing:
        return
    if workers is None:
        pixels = len(missing) * settings.height * settings.width
        workers = 1 if pixels < _PIXELS_WORTH_A_PROCESS else os.cpu_count() or 1
    with tqdm.tqdm(
        total=len(plan.shots),
        initial=len(plan.shots) - len(missing),
        desc=f"render {root.name}",
        unit=" images",
        disable=not progress,
    ) as bar:
        if workers <= 1:
            _draw_here(root, settings, plan, missing, bar)
        else:
            _draw_in_processes(root, workers, bar)


def _is_claimed(root: pathlib.Path, settings: SyntheticSettings, *, locked: bool = False) -> bool:
    """Whether `root` is marked as the place of these settings.

    Unless we hold the lock, a folder with a lock may be one that another process is about to mark.

    Raises:
        DataError: It is marked as the place of others, or holds other files.
    """
    mark = root / SETTINGS_FILE
    if mark.is_file():
        if read_settings(mark) != settings:
            raise DataError(
                f"{root} holds a synthetic dataset of other settings: "
                f"choose another folder, or delete it and {part_root(root)}"
            )
        return True
    if root.exists():
        names = {path.name for path in root.iterdir()} if root.is_dir() else {root.name}
        others = {name for name in names if name != LOCK and not name.endswith(TEMPORARY)}
        if others and (locked or LOCK not in names):
            raise DataError(f"{root} holds other files: choose a new or empty folder")
    return False


def _claim(root: pathlib.Path, settings: SyntheticSettings) -> None:
    """Marks `root` as the place of these settings, or finds it marked so."""
    if not _is_claimed(root, settings, locked=True):
        mark = root / SETTINGS_FILE
        partial = mark.with_name(f"{SETTINGS_FILE}.{os.getpid()}{TEMPORARY}")
        partial.write_text(settings.to_json(), encoding="utf-8")
        partial.replace(mark)


def _draw_here(
    root: pathlib.Path,
    settings: SyntheticSettings,
    plan: Plan,
    missing: Sequence[Shot],
    bar: tqdm.tqdm,
) -> None:
    for _ in draw_shots(root, settings, plan, missing):
        bar.update()


def _draw_in_processes(root: pathlib.Path, workers: int, bar: tqdm.tqdm) -> None:
    """Starts the workers and counts the lines they print."""
    top_level = pathlib.Path(__file__).parents[__name__.count(".")]
    path = os.pathsep.join(filter(None, (str(top_level), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WORK, str(root.resolve())]
    lines: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def listen(stream: IO[bytes]) -> None:
        with stream:
            for _ in stream:
                lines.put(True)
        lines.put(False)

    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(index), str(workers)], stdout=subprocess.PIPE, env=environment
                )
            )
            for index in range(workers)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                threading.Thread(target=listen, args=(process.stdout,), daemon=True).start()
            running = workers
            while running:
                if lines.get():
                    bar.update()
                else:
                    running -= 1
        except BaseException:
            for process in processes:
                process.terminate()
            raise
        failed = [process.returncode for process in processes if process.wait()]
    if failed:
        raise RuntimeError(f"a drawing process failed with exit status {failed[0]}")


def _tidy(root: pathlib.Path) -> None:
    """Removes what an interrupted run left half written."""
    for folder in (root, part_root(root)):
        for split in SPLITS:
            for path in (folder / split).glob(f"*{TEMPORARY}"):
                path.unlink(missing_ok=True)
