"""Converting trees of label maps into trees of our part maps."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from input_pipeline.errors import DataError, FilesError, Problem
from input_pipeline.files import only_one, read_json, write_json
from input_pipeline.part_labels.formats import LabelFormat
from input_pipeline.part_labels.label_maps import SUFFIXES, list_labels, read_labels, write_parts
from input_pipeline.part_labels.limbs import CONVERSION_VERSION, to_parts

JOURNAL = ".converted.json"
LOCK = ".converted.lock"
_SAVED_EVERY = 2000  # label maps, of which a killed process repeats the last ones at most


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One label map to convert: from `source` to the PNG `target`."""

    source: pathlib.Path
    target: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a part map was made of.

    Attributes:
        format: Name of the source's format.
        version: `CONVERSION_VERSION` of the program that made it.
        name: File name of the source.
        size: Its size in bytes.
        changed: Its time of change, in nanoseconds. An older one is another one too: archives
            and copies keep the times of the files in them.
    """

    format: str
    version: int
    name: str
    size: int
    changed: int


def origin_of(source: pathlib.Path, *, format_name: str) -> Origin:
    """The origin of a part map that is made of `source` now.

    Raises:
        OSError: The file cannot be looked at.
    """
    status = source.stat()
    return Origin(format_name, CONVERSION_VERSION, source.name, status.st_size, status.st_mtime_ns)


def read_journal(folder: pathlib.Path) -> dict[str, Origin]:
    """The origins of the part maps in `folder` by their path in it; none where nobody wrote any."""
    try:
        fields = read_json(folder / JOURNAL, what="journal of part maps", checksum=True)
        return {name: Origin(*values) for name, values in fields.items()}
    except (DataError, TypeError, AttributeError):
        return {}  # everything is converted again


def write_journal(folder: pathlib.Path, origins: dict[str, Origin]) -> None:
    """Writes what `read_journal` reads, in one piece.

    Raises:
        UserError: The folder cannot be written.
    """
    fields = {name: dataclasses.astuple(origin) for name, origin in origins.items()}
    write_json(folder / JOURNAL, fields, checksum=True)


def convert_tree(
    source: pathlib.Path,
    target: pathlib.Path,
    *,
    label_format: LabelFormat,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Converts every PNG and NumPy file under `source` into a PNG at the same place in `target`.

    A source is passed over when the part map was made of the same file, in the same format, so
    that an interrupted call continues; `target` remembers what each was made of.

    Args:
        source: Folder of the parser's label maps; its folders mirror the dataset's.
        target: Folder of part maps, such as `<dataset root>_ps_label`.
        label_format: The parser's classes.
        workers: Threads, by default one for every core.
        progress: Whether to show a progress bar.

    Returns:
        The number of label maps under `source`.

    Raises:
        DataError: There are none, `target` is or lies in `source`, or a folder cannot be read or
            written; a `FilesError` names every label map that cannot be converted.
    """
    real = target.resolve()
    if real.is_relative_to(source.resolve()):
        raise DataError(
            f"{target} is or lies in {source}, the folder of the label maps: they would be "
            "overwritten or mixed, choose another folder for the part maps"
        )
    files = list_labels(source)
    if not files:
        raise DataError(f"{source} holds no label maps ({', '.join(SUFFIXES)}): check the folder")
    conversions = [
        Conversion(path, target / _target_name(path.relative_to(source), mark=label_format.mark))
        for path in files
    ]
    convert(
        conversions, folder=target, label_format=label_format, workers=workers, progress=progress
    )
    return len(files)


def convert(
    conversions: Sequence[Conversion],
    *,
    folder: pathlib.Path,
    label_format: LabelFormat,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Converts what is not converted yet. Of several processes one works, the others wait for it.

    Args:
        conversions: What to convert; one may be named twice.
        folder: Where all targets lie.
        label_format: The classes of the sources.
        workers: Threads, by default one for every core.
        progress: Whether to show a progress bar.

    Raises:
        DataError: `folder` cannot be written.
        FilesError: It names label maps that cannot be converted, after all others are; or, before
            anything is, those that would become the same part map.
    """
    conversions = list(dict.fromkeys(conversions))
    _refuse_collisions(conversions)
    if not _waiting(conversions, read_journal(folder), folder, label_format):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / LOCK, doing=f"converts part labels into {folder}"):
            problems = _work(conversions, folder, label_format, workers=workers, progress=progress)
    except OSError as error:
        raise DataError(
            f"part maps cannot be written into {folder}: {error.strerror or error}; choose "
            "another folder or free some space"
        ) from error
    if problems:
        raise FilesError(
            f"Is their format really {label_format.name}? Name it, or make these maps again",
            problems,
        )


def _work(
    conversions: Sequence[Conversion],
    folder: pathlib.Path,
    label_format: LabelFormat,
    *,
    workers: int | None,
    progress: bool,
) -> list[Problem]:
    """Converts what is not, and returns what cannot be."""
    origins = read_journal(folder)
    waiting = _waiting(conversions, origins, folder, label_format)
    for conversion in waiting:  # or a killed call would leave new part maps with old origins
        origins.pop(_key(conversion, folder), None)
    write_journal(folder, origins)

    def work(conversion: Conversion) -> Origin | Problem:
        try:
            origin = origin_of(conversion.source, format_name=label_format.name)
            labels = read_labels(conversion.source, is_iuv=label_format.is_iuv)
            parts = to_parts(labels, label_format)
        except OSError as error:
            return Problem(conversion.source, error.strerror or str(error))
        except ValueError as error:
            return Problem(conversion.source, str(error))
        write_parts(parts, conversion.target)
        return origin

    problems = []
    bar = tqdm(
        total=len(waiting),
        desc=f"Converting {label_format.name} labels",
        unit="map",
        disable=not progress,
    )
    try:
        with bar, concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for done, result in enumerate(pool.map(work, waiting)):
                bar.update()
                if isinstance(result, Problem):
                    problems.append(result)
                else:
                    origins[_key(waiting[done], folder)] = result
                if done % _SAVED_EVERY == _SAVED_EVERY - 1:
                    write_journal(folder, origins)
    finally:
        write_journal(folder, origins)
    return problems


def _waiting(
    conversions: Sequence[Conversion],
    origins: Mapping[str, Origin],
    folder: pathlib.Path,
    label_format: LabelFormat,
) -> list[Conversion]:
    """The conversions whose target is missing or was made of something else."""

    def is_done(conversion: Conversion) -> bool:
        known = origins.get(_key(conversion, folder))
        try:
            return (
                known is not None
                and conversion.target.is_file()
                and known == origin_of(conversion.source, format_name=label_format.name)
            )
        except OSError:  # Reading the source will say what is wrong.
            return False

    return [conversion for conversion in conversions if not is_done(conversion)]


def _key(conversion: Conversion, folder: pathlib.Path) -> str:
    return conversion.target.relative_to(folder).as_posix()


def _refuse_collisions(conversions: Sequence[Conversion]) -> None:
    """Raises a FilesError where several label maps become one part map, or one overwrites one."""
    sources = {conversion.source.absolute() for conversion in conversions}
    made: dict[pathlib.Path, pathlib.Path] = {}
    problems = []
    for conversion in conversions:
        other = made.setdefault(conversion.target, conversion.source)
        if other != conversion.source:
            what = f"becomes {conversion.target.name}, and so does {other.name} beside it"
            problems.append(Problem(conversion.source, what))
        elif conversion.target.absolute() in sources:
            problems.append(Problem(conversion.target, "would be overwritten by a part map"))
    if problems:
        raise FilesError("Keep one label map for each image, in a folder of their own", problems)


def _target_name(relative: pathlib.Path, *, mark: str = "") -> pathlib.Path:
    """`a/b.npy`, `a/b.jpg.npy`, `a/b.png` and, with its mark, `a/b_IUV.png` become `a/b.png`."""
    if mark and relative.stem.endswith(mark):
        relative = relative.with_name(relative.stem.removesuffix(mark) + relative.suffix)
    stem = relative.with_suffix("")
    return (
        stem.with_suffix(".png")
        if stem.suffix.lower() in (".jpg", ".jpeg", ".png")
        else (relative.with_suffix(".png"))
    )
