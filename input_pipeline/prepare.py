"""`python -m input_pipeline.prepare`: check a dataset, count it, and make it ready for training."""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
import warnings
from collections.abc import Sequence

from input_pipeline import readers
from input_pipeline.errors import DataError
from input_pipeline.locations import default_data_dir
from input_pipeline.part_labels import FORMATS, choose_part_labels
from input_pipeline.part_labels.sheet import write_sheet
from input_pipeline.problems import FilesError, Problem
from input_pipeline.samples import ReidDataset
from input_pipeline.scan import Scan, scan_once
from input_pipeline.statistics import format_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    given = _parser().parse_args(arguments)
    data_dir = (given.data_dir or default_data_dir()).expanduser()
    try:
        specs = readers.split_specs(given.dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _print_warning
            for spec in specs:
                if notice := readers.notice(spec):
                    print(f"note: {notice}")
                _prepare(
                    spec,
                    root=given.root,
                    data_dir=data_dir,
                    part_labels=":".join(given.part_labels),
                    check_only=given.check,
                    sheet=_sheet_of(spec, given.sheet, alone=len(specs) == 1),
                )
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare",
        description="Checks every file of a dataset and names all bad ones, prints what the "
        "dataset holds, and prepares it for training. What is prepared already is kept.",
    )
    parser.add_argument(
        "--dataset",
        required=True,
        help="name[:variant][@folder], several joined by commas; names: "
        + ", ".join(readers.available()),
    )
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(),
        help="the dataset's folder, or the folder that holds it (here)",
    )
    parser.add_argument(
        "--part-labels",
        nargs="+",
        default=["required"],
        metavar="CHOICE",
        help="required: as found beside the dataset (default); none; bands: fixed body bands, a "
        "stand-in; a folder of part maps; or a format and a folder of label maps to convert "
        f"(formats: {', '.join(FORMATS)})",
    )
    parser.add_argument("--check", action="store_true", help="only check and count")
    parser.add_argument(
        "--sheet",
        type=pathlib.Path,
        help="PNG to write, with pictures beside their part maps to look at; of several datasets "
        "one each, with the dataset's name added",
    )
    parser.add_argument(
        "--data-dir",
        type=pathlib.Path,
        help=f"folder of prepared datasets ({default_data_dir()})",
    )
    return parser


def _prepare(
    spec: str,
    *,
    root: pathlib.Path,
    data_dir: pathlib.Path,
    part_labels: str,
    check_only: bool,
    sheet: pathlib.Path | None,
) -> None:
    problems: list[Problem] = []
    dataset = _read(spec, root=root, problems=problems)
    stopped: DataError | None = None
    try:
        dataset = choose_part_labels(dataset, part_labels, data_dir=data_dir)
    except FilesError as error:
        problems += error.problems
    except DataError as error:  # Missing labels do not keep the pictures from being checked.
        stopped = error
    report = scan_once(dataset, data_dir=data_dir)
    problems += report.problems
    _print_report(report)
    if problems:
        for problem in sorted(set(problems)):
            print(f"bad file: {problem}", file=sys.stderr)
        raise FilesError("Replace, rename or remove them", sorted(set(problems)))
    if stopped is not None:
        raise stopped
    if sheet is not None:
        write_sheet(dataset, sheet)
        print(f"Look at the part maps in {sheet}")
    if check_only:
        print(f"{dataset.name} can be used.")
        return
    from input_pipeline.prepared import prepare

    prepare(dataset, data_dir=data_dir)
    print(f"{dataset.name} is ready in {data_dir}")


def _sheet_of(spec: str, sheet: pathlib.Path | None, *, alone: bool) -> pathlib.Path | None:
    """Where the sheet of one of several datasets goes: `parts-msmt17-v1.png` for `parts.png`."""
    if sheet is None or alone:
        return sheet
    plain = re.sub(r"[^\w.+-]+", "-", spec).strip("-")
    return sheet.with_stem(f"{sheet.stem}-{plain}")


def _read(spec: str, *, root: pathlib.Path, problems: list[Problem]) -> ReidDataset:
    """Reads what can be read, so that all other files are checked too."""
    try:
        return readers.read_dataset(spec, root)
    except FilesError as error:
        if error.rest is None:
            raise
        problems += error.problems
        return error.rest


def _print_report(report: Scan) -> None:
    print(f"\n{report.dataset.name} in {report.dataset.root}")
    print(format_table(dict(report.splits)))
    for notice in report.notices:
        print(f"note: {notice}")
    print(flush=True)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
