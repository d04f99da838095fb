"""Trees of part maps that a labeler makes: resumable, in several processes, with a record beside.

A tree mirrors its dataset: `a/b.jpg` has its map in `a/b.png`. `labels.json` in it says what made
the maps, how sure it was of each, and in which images it found nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import tqdm

from input_pipeline.dataset import Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import only_one, read_json, reading, write_json
from input_pipeline.images.codec import relative_name
from input_pipeline.part_labels.label_worker import Done, Task, run_here, run_in_processes
from input_pipeline.part_labels.labelers import NamedLabeler, PartLabeler

RECORD = "labels.json"
_LOCK = ".labels.lock"
_FORMAT = 1
_SAVED_EVERY = 500  # images, of which a killed process repeats the last ones at most
_LONG = 40  # characters; what is longer is a digest
_WORTH_A_PROCESS = 64
"""Images; below this a second process takes longer to start than it saves."""


@dataclasses.dataclass(frozen=True)
class LabelEntry:
    """What is known of one image.

    Attributes:
        size: Bytes of the image file.
        changed: Its time of change, in nanoseconds.
        score: As in `LabeledImage`.
        agreement: As in `LabeledImage`.
        shares: Share of each part in the part map, background first; None without a map.
    """

    size: int
    changed: int
    score: float
    agreement: float
    shares: tuple[float, ...] | None

    @property
    def has_map(self) -> bool:
        """Whether somebody was found."""
        return self.shares is not None


@dataclasses.dataclass(frozen=True)
class LabelTree:
    """A tree of part maps with its record.

    Attributes:
        folder: Where it is.
        made_by: What made the maps, see `PartLabeler`.
        versions: Versions of libraries that were used.
        entries: By the image's name relative to its dataset.
        problems: Images that could not be read; they have no entry.
    """

    folder: pathlib.Path
    made_by: Mapping[str, str | int]
    versions: Mapping[str, str]
    entries: Mapping[str, LabelEntry]
    problems: tuple[Problem, ...] = ()

    @property
    def without_map(self) -> frozenset[str]:
        """Names of the images in which nobody was found."""
        return frozenset(name for name, entry in self.entries.items() if not entry.has_map)

    def part_map(self, name: str) -> pathlib.Path | None:
        """The part map of the image of this name, or None where it has none."""
        entry = self.entries.get(name)
        return map_of(self.folder, name) if entry is not None and entry.has_map else None


def map_of(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where the part map of an image is in a tree, whether it is there or not."""
    return (folder / name).with_suffix(".png")


def read_label_tree(folder: pathlib.Path) -> LabelTree | None:
    """The record of a tree that a labeler made; None where there is no record.

    Raises:
        DataError: The record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    advice = "delete it with its folder, and make the labels again"
    fields = read_json(path, what="record of part labels", checksum=True, advice=advice)
    with reading(path, what="record of part labels", advice=advice):
        if fields["format"] != _FORMAT:
            raise ValueError(f"it is of format {fields['format']}, not {_FORMAT}")
        entries = {
            name: LabelEntry(size, changed, score, agreement, shares and tuple(shares))
            for name, (size, changed, score, agreement, shares) in fields["images"].items()
        }
        return LabelTree(folder, dict(fields["made_by"]), dict(fields["versions"]), entries)


def write_labels(
    samples: Sequence[Sample],
    labeler: PartLabeler,
    *,
    root: pathlib.Path,
    output: pathlib.Path,
    processes: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> LabelTree:
    """Makes the part map of every image, or those that are missing.

    An image is passed over when its entry in the record is of the same file, so that an interrupted
    call continues. An image in which nobody is found gets no map, and is recorded as such. Of
    several processes one works, the others wait for it.

    Args:
        samples: The images.
        labeler: What makes the maps.
        root: Folder that the images lie under; the tree mirrors it.
        output: Folder of the tree, such as `<root>_ps_label`.
        processes: Processes that label; None is one per core, or one for few images.
        force: Whether maps in `output` that something else made may be replaced.
        progress: Whether to show a progress bar.

    Returns:
        The tree; its `problems` are images that cannot be read.

    Raises:
        DataError: `output` holds other part maps and `force` is off, it cannot be written, two
            images would have the same map, or the labeler fails.
    """
    tasks = _tasks(samples, root=root, output=output)
    if isinstance(labeler, NamedLabeler):
        labeler.check([task.name for task in tasks])
    try:
        output.mkdir(parents=True, exist_ok=True)
        with only_one(output / _LOCK, doing=f"makes part labels in {output}"):
            known = _known(output, labeler, force=force)
            return _Work(labeler, output, known, tasks).finish(processes, progress=progress)
    except OSError as error:
        raise DataError(
            f"part maps cannot be written into {output}: {error.strerror or error}; choose another "
            "folder or free some space"
        ) from error


def _tasks(samples: Sequence[Sample], *, root: pathlib.Path, output: pathlib.Path) -> list[Task]:
    tasks: dict[pathlib.Path, Task] = {}
    for sample in samples:
        name = relative_name(sample.path, root=root)
        target = map_of(output, name)
        other = tasks.setdefault(target, Task(name, sample.path, target))
        if other.source != sample.path:
            raise DataError(
                f"{other.source} and {sample.path} would have the same part map, {target}: rename "
                "one of them"
            )
    return list(tasks.values())


def _known(output: pathlib.Path, labeler: PartLabeler, *, force: bool) -> dict[str, LabelEntry]:
    """What is in `output` already and can stay.

    Raises:
        DataError: Something else made it, and `force` is off.
    """
    advice = "choose another --output, or --force to replace them"
    try:
        tree = read_label_tree(output)
    except DataError:
        if not force:
            raise
        return {}
    if tree is None:
        others = (path for path in output.rglob("*") if path.suffix.lower() in (".png", ".npy"))
        found = next(others, None)
        if found is not None and not force:
            raise DataError(
                f"{output} holds part maps that no labeler of ours recorded, such as "
                f"{found.relative_to(output)}: {advice}"
            )
        return {}
    made_by = dict(labeler.made_by)
    if dict(tree.made_by) != made_by:
        if not force:
            raise DataError(
                f"the part maps in {output} were made by {_text(tree.made_by)}, not by "
                f"{_text(made_by)}: {advice}"
            )
        for name in tree.entries:  # also those of images that are not labeled now
            map_of(output, name).unlink(missing_ok=True)
        return {}
    return dict(tree.entries)


def _text(made_by: Mapping[str, str | int]) -> str:
    """Who made something, as messages say it: long digests are cut."""
    texts = {key: str(value) for key, value in made_by.items()}
    return ", ".join(
        f"{key} {text if len(text) < _LONG else text[:12]}" for key, text in texts.items()
    )


class _Work:
    """Labels what is not labeled, and keeps the record."""

    def __init__(
        self,
        labeler: PartLabeler,
        output: pathlib.Path,
        known: dict[str, LabelEntry],
        tasks: Sequence[Task],
    ) -> None:
        self._labeler = labeler
        self._output = output
        self._entries = known
        self._tasks = tasks

    def finish(self, processes: int | None, *, progress: bool) -> LabelTree:
        waiting = [task for task in self._tasks if not self._is_done(task)]
        for task in waiting:  # or a killed call would leave new part maps with old entries
            self._entries.pop(task.name, None)
        if waiting or not (self._output / RECORD).exists():
            self._save()
        if processes is None:
            processes = min(os.cpu_count() or 1, max(1, len(waiting) // _WORTH_A_PROCESS))
        bar = tqdm.tqdm(
            total=len(self._tasks),
            initial=len(self._tasks) - len(waiting),
            desc=f"Labeling by {self._labeler.made_by['labeler']}",
            unit="image",
            disable=not progress,
        )
        problems = []
        try:
            with bar, contextlib.closing(self._run(waiting, processes)) as results:
                for count, done in enumerate(results, start=1):
                    bar.update()
                    if done.problem is not None:
                        problems.append(Problem(done.task.source, done.problem))
                    else:
                        self._entries[done.task.name] = _entry_of(done)
                    if count % _SAVED_EVERY == 0:
                        self._save()
        finally:
            if waiting:
                self._save()
        labeler = self._labeler
        return LabelTree(
            self._output,
            dict(labeler.made_by),
            dict(labeler.versions),
            dict(self._entries),
            tuple(sorted(problems)),
        )

    def _run(self, waiting: Sequence[Task], processes: int) -> Generator[Done, None, None]:
        if len(waiting) and processes > 1:
            yield from run_in_processes(self._labeler, waiting, processes=processes)
        else:
            yield from run_here(self._labeler, waiting)

    def _is_done(self, task: Task) -> bool:
        entry = self._entries.get(task.name)
        if entry is None:
            return False
        try:
            status = task.source.stat()
        except OSError:  # Reading it will say what is wrong.
            return False
        same = (entry.size, entry.changed) == (status.st_size, status.st_mtime_ns)
        return same and entry.has_map == task.target.is_file()

    def _save(self) -> None:
        fields: dict[str, Any] = {
            "format": _FORMAT,
            "made_by": dict(self._labeler.made_by),
            "versions": dict(self._labeler.versions),
            "images": {
                name: list(dataclasses.astuple(entry)) for name, entry in self._entries.items()
            },
        }
        write_json(self._output / RECORD, fields, checksum=True)


def _entry_of(done: Done) -> LabelEntry:
    return LabelEntry(done.size, done.changed, done.score, done.agreement, done.shares)
