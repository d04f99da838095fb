"""Your own data as a table: a CSV file with the columns `path,identity,camera,split`.

Paths are relative to the CSV file's folder. `camera` may be left out where cameras are unknown; a
column `part_map` may name a PNG of part classes. Identities and cameras may be words or numbers.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities import number_names, one_spelling
from input_pipeline.readers import _files
from input_pipeline.readers._splits import checked

USUAL_NAME = "dataset.csv"
_DELIMITERS = ",;\t"


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads the table `root`, or `dataset.csv` (else the only CSV file) in the folder `root`.

    The dataset is named after the folder.

    Args:
        root: The CSV file or its folder.
        variant: There is none.

    Raises:
        DataError: The table is missing or lacks a column; a `FilesError` names every line that
            cannot be used, and persons in both training and test.
    """
    if variant:
        raise DataError(f"csv has no variant {variant!r}: leave it out")
    table = _find_table(root)
    rows = _rows(table)
    identities = number_names(row["identity"] for row in rows.values())
    cameras = number_names(row.get("camera", "") for row in rows.values())
    labels = _files.label_tree(table.parent)
    some_cameras = any(row.get("camera") for row in rows.values())
    samples: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    problems: list[Problem] = []
    seen: set[pathlib.Path] = set()
    for line, row in rows.items():
        path, part_map = _files.below(table.parent, row["path"]), row.get("part_map")
        what = _complaint(row, path, seen)
        if some_cameras and not row.get("camera"):
            what = what or "no camera, other lines have one"
        if what or path is None:
            problems.append(Problem(table, f"line {line}: {what}, correct it"))
            continue
        seen.add(path)
        map_path = _files.below(table.parent, part_map) if part_map else None
        if map_path is None and labels is not None:
            map_path = _files.find_part_map(path, root=table.parent, labels=labels)
        samples[row["split"]].append(
            Sample(path, identities[row["identity"]], cameras[row.get("camera", "")], map_path)
        )
    name = _files.name_of(table.parent, fallback="csv")
    dataset = ReidDataset(name, table.parent, *(tuple(samples[split]) for split in SPLITS))
    return checked(dataset, problems, title=f"The table {table.name}", names=identities)


def _find_table(root: pathlib.Path) -> pathlib.Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise DataError(f"{root} does not exist: give a CSV file or its folder")
    tables = [root / USUAL_NAME] if (root / USUAL_NAME).is_file() else sorted(root.glob("*.csv"))
    if len(tables) != 1:
        raise DataError(
            f"{root} holds {len(tables)} CSV files: name the table {USUAL_NAME}, "
            "or write csv@path/to/table.csv"
        )
    return tables[0]


def _rows(table: pathlib.Path) -> Mapping[int, dict[str, str]]:
    """The rows by line number, without surrounding blanks."""
    try:
        lines = table.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read as UTF-8 text ({error}): save it so") from error
    header = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.DictReader(lines, delimiter=delimiter)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in ("path", "identity", "split") if name not in reader.fieldnames]
    if missing:
        raise DataError(
            f"{table} has no column {', '.join(missing)}: its first line must name the columns "
            "path,identity,camera,split"
        )
    rows: dict[int, dict[str, str]] = {}
    for row in reader:
        fields = {key: (value or "").strip() for key, value in row.items() if key}
        names = {key: one_spelling(fields[key]) for key in ("identity", "camera") if key in fields}
        rows[reader.line_num] = {**fields, **names}
    return rows


def _complaint(
    row: Mapping[str, str], path: pathlib.Path | None, seen: set[pathlib.Path]
) -> str | None:
    """What is wrong with a row, or None."""
    if path is None:
        return f"the path {row['path']!r} is not under the folder of the table"
    if not row["identity"]:
        return "no identity"
    if row["split"] not in SPLITS:
        return f"the split {row['split']!r} is not one of {', '.join(SPLITS)}"
    if wrong := _files.what_is_wrong(path):
        return f"{row['path']} {wrong}"
    if path in seen:
        return f"{row['path']} is listed before"
    return None
