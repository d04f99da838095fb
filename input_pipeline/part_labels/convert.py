"""Converting trees of label maps into trees of our part maps."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from input_pipeline.errors import DataError
from input_pipeline.part_labels.files import SUFFIXES, read_labels, write_parts
from input_pipeline.part_labels.limbs import to_parts
from input_pipeline.part_labels.mappings import LabelFormat
from input_pipeline.problems import FilesError, Problem


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One label map to convert: from `source` to the PNG `target`."""

    source: pathlib.Path
    target: pathlib.Path


def convert_tree(
    source: pathlib.Path,
    target: pathlib.Path,
    *,
    label_format: LabelFormat,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Converts every PNG and NumPy file under `source` into a PNG at the same place in `target`.

    Files whose result is newer than their source are passed over, so that an interrupted call
    continues.

    Args:
        source: Folder of the parser's label maps; its folders mirror the dataset's.
        target: Folder of part maps, such as `<dataset root>_ps_label`.
        label_format: The parser's classes.
        workers: Threads, by default one for every core.
        progress: Whether to show a progress bar.

    Returns:
        The number of label maps under `source`.

    Raises:
        DataError: There are none; a `FilesError` names every one that cannot be converted.
    """
    files = [
        path for path in sorted(source.rglob("*")) if _is_label_map(path.relative_to(source), path)
    ]
    if not files:
        raise DataError(f"{source} holds no label maps ({', '.join(SUFFIXES)}): check the folder")
    conversions = [
        Conversion(path, target / _target_name(path.relative_to(source))) for path in files
    ]
    convert(conversions, label_format=label_format, workers=workers, progress=progress)
    return len(files)


def convert(
    conversions: Sequence[Conversion],
    *,
    label_format: LabelFormat,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Converts what is not converted yet.

    Raises:
        FilesError: It names every label map that cannot be converted; the others are.
    """
    waiting = [conversion for conversion in conversions if not _is_done(conversion)]
    if not waiting:
        return

    def work(conversion: Conversion) -> Problem | None:
        try:
            parts = to_parts(read_labels(conversion.source), label_format)
        except ValueError as error:
            return Problem(conversion.source, str(error))
        write_parts(parts, conversion.target)
        return None

    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        results = tqdm(
            pool.map(work, waiting),
            total=len(waiting),
            desc=f"Converting {label_format.name} labels",
            unit="map",
            disable=not progress,
        )
        problems = [problem for problem in results if problem is not None]
    if problems:
        raise FilesError(
            f"Is their format really {label_format.name}? Name it, or make these maps again",
            problems,
        )


def _is_label_map(relative: pathlib.Path, path: pathlib.Path) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _target_name(relative: pathlib.Path) -> pathlib.Path:
    """`a/b.npy`, `a/b.jpg.npy` and `a/b.png` all become `a/b.png`."""
    stem = relative.with_suffix("")
    return (
        stem.with_suffix(".png")
        if stem.suffix.lower() in (".jpg", ".jpeg", ".png")
        else (relative.with_suffix(".png"))
    )


def _is_done(conversion: Conversion) -> bool:
    try:
        made = conversion.target.stat().st_mtime_ns
    except OSError:
        return False
    return made >= conversion.source.stat().st_mtime_ns
