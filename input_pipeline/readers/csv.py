"""Your own data as a table: a CSV file with the columns `path,identity,camera,split`.

Paths are relative to the CSV file's folder. `camera` may be left out, or empty where it is not
known; a column `part_map` may name a PNG of part classes. Identities and cameras may be words or
numbers.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import os
import pathlib
import unicodedata
from collections.abc import Collection, Sequence

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import reading
from input_pipeline.identities.spelling import near_spelling_notices, number_names, one_spelling
from input_pipeline.identities.unknown import (
    UNKNOWN_CAMERA,
    is_junk,
    is_unknown_camera,
    is_unknown_tracklet,
    junk_notice,
)
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import checked, is_separate

USUAL_NAME = "dataset.csv"
_NEEDED = ("path", "identity", "split")
_DELIMITERS = ",;\t"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(root: pathlib.Path, *, variant: str = "", allow_outside: bool = False) -> ReidDataset:
    """Reads the table `root`, or `dataset.csv` (else the only CSV file) in the folder `root`.

    The table may have training rows alone, or query and gallery rows alone. The dataset is named
    after the folder.

    Args:
        root: The CSV file or its folder.
        variant: `separate` if training and test give different people the same names.
        allow_outside: Whether paths may be absolute or lead out of the table's folder.

    Raises:
        DataError: The table is missing, cannot be read or lacks a column; a `FilesError` names
            every line that cannot be used, and persons in both training and test.
    """
    separate = is_separate(variant, reader="csv")
    table = _find_table(root)
    every, bad = _rows(table)
    rows = [row for row in every if not is_junk(row.identity)]
    identities = number_names(row.identity for row in rows)
    cameras = number_names(row.camera for row in rows if not is_unknown_camera(row.camera))
    labels = listing.label_tree(table.parent)
    samples: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    problems = [Problem(table, what) for what in bad]
    seen: set[pathlib.Path] = set()
    for row in rows:
        path = _place(table, row.path, allow_outside=allow_outside)
        part_map = _place(table, row.part_map, allow_outside=allow_outside)
        what = _complaint(row, path, part_map, seen)
        if what or path is None:
            problems.append(Problem(table, f"line {row.line}: {what}, correct it"))
            continue
        seen.add(path)
        if part_map is None and labels is not None and path.is_relative_to(table.parent):
            part_map = listing.find_part_map(path, root=table.parent, labels=labels)
        camera = UNKNOWN_CAMERA if is_unknown_camera(row.camera) else cameras[row.camera]
        tracklet = None if is_unknown_tracklet(row.tracklet) else row.tracklet
        samples[row.split].append(
            Sample(path, identities[row.identity], camera, part_map, tracklet)
        )
    root = _common_root(table, seen)
    dataset = ReidDataset(
        listing.name_of(table.parent, fallback="csv"),
        root,
        *(tuple(samples[split]) for split in SPLITS),
    )
    return checked(
        dataset,
        problems,
        title=f"The table {table.name}",
        splits={row.split for row in rows},
        disjoint=not separate,
        names=identities,
        source="the column identity",
        notices=(
            *near_spelling_notices(identities),
            *near_spelling_notices(cameras, kind="cameras"),
            *([junk_notice(len(every) - len(rows))] if len(every) > len(rows) else ()),
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table, without surrounding blanks; a column that is not there is empty."""

    line: int
    path: str
    identity: str
    camera: str
    split: str
    part_map: str
    tracklet: str


def _find_table(root: pathlib.Path) -> pathlib.Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise DataError(f"{root} does not exist: give a CSV file or its folder")
    tables = [root / USUAL_NAME] if (root / USUAL_NAME).is_file() else sorted(root.glob("*.csv"))
    tables = [table for table in tables if table.is_file()]
    if len(tables) != 1:
        raise DataError(
            f"{root} holds {len(tables)} CSV files: name the table {USUAL_NAME}, "
            "or write csv@path/to/table.csv"
        )
    return tables[0]


def _rows(table: pathlib.Path) -> tuple[list[_Row], list[str]]:
    """The rows, and what is wrong with lines that are none."""
    text = _text(table)
    header = next(iter(text.splitlines()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    # Blanks after a delimiter would keep a quote from being one.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[_Row] = []
    bad: list[str] = []
    with reading(table, what="CSV file", advice="look for a quote that is never closed"):
        columns = [name.strip().lower() for name in next(lines, [])]
        _check_columns(table, columns)
        for fields in lines:
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            if any("\n" in field or "\r" in field for field in fields):
                bad.append(f"line {lines.line_num}: a quote above it is not closed, correct it")
            elif any(fields[len(columns) :]):
                what = f"{len(fields)} fields, the first line names {len(columns)}"
                bad.append(f"line {lines.line_num}: {what}, correct it")
            else:
                rows.append(_row(lines.line_num, columns, fields))
    return rows, bad


def _text(table: pathlib.Path) -> str:
    advice = "save it as UTF-8 text"
    with reading(table, what="CSV file in UTF-8", advice=advice):
        data = table.read_bytes()
        # Spreadsheets save UTF-16 with its mark as "Unicode text".
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds null characters")
    return text


def _check_columns(table: pathlib.Path, columns: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise DataError(
            f"{table} has no column {', '.join(missing)}: its first line must name the columns "
            "path,identity,camera,split"
        )
    twice = [
        name for name in (*_NEEDED, "camera", "part_map", "tracklet") if columns.count(name) > 1
    ]
    if twice:
        raise DataError(f"{table} has the column {', '.join(twice)} twice: keep one")


def _row(line: int, columns: Sequence[str], fields: Sequence[str]) -> _Row:
    named = dict(zip(columns, fields, strict=False))
    return _Row(
        line,
        path=named.get("path", ""),
        identity=one_spelling(named.get("identity", "")),
        camera=one_spelling(named.get("camera", "")),
        split=named.get("split", ""),
        part_map=named.get("part_map", ""),
        tracklet=one_spelling(named.get("tracklet", "")),
    )


def _place(table: pathlib.Path, listed: str, *, allow_outside: bool) -> pathlib.Path | None:
    """The file that a field names, or None where it names none or leads out of the folder.

    The table and the disk may write the letters of one name in different ways.
    """
    if not listed:
        return None
    spellings = (listed, *(unicodedata.normalize(form, listed) for form in ("NFC", "NFD")))
    places = [
        listing.plain(table.parent / spelling.replace("\\", "/"))
        if allow_outside
        else listing.below(table.parent, spelling)
        for spelling in dict.fromkeys(spellings)
    ]
    there = (place for place in places if place is not None and os.path.lexists(place))
    return next(there, places[0])


def _common_root(table: pathlib.Path, paths: Collection[pathlib.Path]) -> pathlib.Path:
    """The table's folder, or the folder above it that all images lie under."""
    outside = [path for path in paths if not path.is_relative_to(table.parent)]
    if not outside:
        return table.parent
    try:
        return pathlib.Path(os.path.commonpath([table.parent, *outside]))
    except ValueError as error:  # different drives
        raise DataError(f"{table} names images on another drive: move it to theirs") from error


def _complaint(
    row: _Row,
    path: pathlib.Path | None,
    part_map: pathlib.Path | None,
    seen: Collection[pathlib.Path],
) -> str | None:
    """What is wrong with a row, or None."""
    outside = "is not under the folder of the table (--allow-outside permits it)"
    if not row.path:
        return "no path"
    if path is None:
        return f"the path {row.path!r} {outside}"
    if not row.identity:
        return "no identity"
    if row.split not in SPLITS:
        return f"the split {row.split!r} is not one of {', '.join(SPLITS)}"
    if wrong := listing.what_is_wrong(path):
        return f"{row.path} {wrong}"
    if path in seen:
        return f"{row.path} is listed before"
    if row.part_map and part_map is None:
        return f"the part map {row.part_map!r} {outside}"
    if part_map is not None and (wrong := listing.what_is_wrong(part_map)):
        return f"the part map {row.part_map} {wrong}"
    return None
