"""`magnifier prepare`: check a dataset, count it, and make it ready for training."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from input_pipeline import console, readers
from input_pipeline.check import Checked, Scan, check_dataset
from input_pipeline.dataset import NUM_PARTS, PART_NAMES, SPLITS, ReidDataset
from input_pipeline.errors import combined, printable, problems_of
from input_pipeline.files import claim_output, default_data_dir, user_path
from input_pipeline.findings import SplitStatistics
from input_pipeline.images.integrity import MAX_PIXELS, set_max_pixels
from input_pipeline.part_labels import FORMATS
from input_pipeline.part_labels.gaps import WITHOUT_MAP
from input_pipeline.part_labels.sheet import write_sheet
from input_pipeline.readers import Reading
from input_pipeline.store.splits import prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_run, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier prepare",
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
        help="the dataset's folder, or the folder that holds it (here; drawn people: the user's "
        "cache folder)",
    )
    parser.add_argument(
        "--part-labels",
        nargs="+",
        default=["required"],
        metavar="CHOICE",
        help="required: as found beside the dataset (default); none; drawn: made by the parser of "
        "this package; pose: made by the network --pose-model; bands: fixed body bands, a stand-in "
        "to compare with; a folder of part maps; or a format and "
        "a folder of label maps to convert "
        f"(formats: {', '.join(FORMATS)})",
    )
    parser.add_argument(
        "--pose-model",
        default="",
        metavar="FILE",
        help="the network of --part-labels pose: a .tflite file, or an archive that holds one",
    )
    parser.add_argument(
        "--images-without-map",
        choices=WITHOUT_MAP,
        default="listed",
        help="training images without a part map: accept those in which a labeler found nobody "
        "(listed, default), or all of them (keep, drop)",
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let a CSV file name images and part maps outside its own folder",
    )
    parser.add_argument("--check", action="store_true", help="only check and count")
    parser.add_argument(
        "--sheet",
        type=pathlib.Path,
        help="PNG to write, with images beside their part maps to look at; one for each dataset "
        "where there are several",
    )
    parser.add_argument("--force", action="store_true", help="replace that PNG if it is there")
    parser.add_argument(
        "--max-pixels",
        type=console.positive,
        help=f"refuse images of more pixels ({MAX_PIXELS:,}, or what MAGNIFIER_MAX_PIXELS says)",
    )
    parser.add_argument(
        "--data-dir",
        type=pathlib.Path,
        help=f"folder of prepared datasets ({default_data_dir()})",
    )
    return parser


def _run(given: argparse.Namespace) -> None:
    if given.max_pixels is not None:
        set_max_pixels(given.max_pixels)
    prepare_datasets(
        given.dataset,
        given.root,
        part_labels=":".join(given.part_labels),
        part_label_model=given.pose_model,
        images_without_map=given.images_without_map,
        allow_outside=given.allow_outside,
        check_only=given.check,
        sheet=given.sheet,
        force=given.force,
        data_dir=given.data_dir,
    )


def prepare_datasets(
    dataset: str,
    root: str | os.PathLike[str] | None = None,
    *,
    part_labels: str = "required",
    part_label_model: str = "",
    images_without_map: str = "listed",
    allow_outside: bool = False,
    check_only: bool = False,
    sheet: str | os.PathLike[str] | None = None,
    force: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Checks datasets, prints what they hold, and prepares them for training.

    All of them are looked at before the first is prepared.

    Args:
        dataset: `name[:variant][@folder]`, several joined by commas.
        root: The dataset's folder, or the folder that holds it; None as for `read_dataset`.
        part_labels: As `config.data.part_labels`.
        part_label_model: As `config.data.part_label_model`.
        images_without_map: As `config.data.images_without_map`.
        allow_outside: Whether a CSV file may name files outside its own folder.
        check_only: Whether nothing is prepared.
        sheet: PNG to write, with images beside their part maps; one for each of several datasets.
        force: Whether the sheet may replace a file that is there.
        data_dir: Folder of prepared datasets; None is the one in the user's cache.

    Raises:
        DataError: A dataset cannot be used.
        UserError: The sheet or `data_dir` cannot be written.
    """
    folder = user_path(data_dir or default_data_dir())
    readings = readers.read_each(
        dataset, None if root is None else user_path(root), allow_outside=allow_outside
    )
    place = None if sheet is None else user_path(sheet)
    sheets = _sheets_of(readings, place)
    with contextlib.ExitStack() as claims:  # Before any file is looked at.
        for reading, drawn in zip(readings, sheets, strict=True):
            if drawn is not None:
                sources = _files_of(reading.dataset, drawn)
                claims.enter_context(claim_output(drawn, force=force, sources=sources))
        check = functools.partial(
            check_dataset,
            data_dir=folder,
            part_labels=part_labels,
            part_label_model=part_label_model,
            images_without_map=images_without_map,
        )
        checked = _check_all(readings, check)
        for each, drawn in zip(checked, sheets, strict=True):
            if drawn is not None:
                write_sheet(each.usable, drawn)
                print(printable(f"Look at the part maps in {drawn}"))
            if check_only:
                print(f"{each.usable.name} can be used.")
                continue
            prepare(each.usable, data_dir=folder, proven=each.proven)
            print(printable(f"{each.usable.name} is ready in {folder}"))


def _check_all(readings: Sequence[Reading], check: Callable[[Reading], Checked]) -> list[Checked]:
    """Looks at all datasets, prints what they hold, and raises everything that is wrong."""
    found = []
    for reading in readings:
        checked = check(reading)
        if checked.scan is not None:
            _print_report(checked.scan)
        found.append(checked)
    errors = [error for checked in found for error in checked.errors]
    if errors:
        for problem in problems_of(errors):
            print(f"bad file: {problem}", file=sys.stderr)
        raise combined(errors)
    return found


def _sheets_of(
    readings: Sequence[Reading], sheet: pathlib.Path | None
) -> list[pathlib.Path | None]:
    """Where the sheet of each dataset goes, if one is wanted: one file for each of several."""
    sheets: list[pathlib.Path | None] = []
    for reading in readings:
        place = sheet if reading.dataset is not None else None
        if place is not None and reading.dataset is not None and len(readings) > 1:
            stem = f"{place.stem}_{reading.dataset.name}"
            place, number = place.with_name(stem + place.suffix), 1
            while place in sheets:  # Datasets in different folders may have the same name.
                number += 1
                place = place.with_name(f"{stem}_{number}{place.suffix}")
        sheets.append(place)
    return sheets


def _files_of(dataset: ReidDataset | None, output: pathlib.Path) -> list[pathlib.Path]:
    """The files that a sheet is made from, where it could replace one."""
    if dataset is None or not output.exists():
        return []
    samples = (sample for split in SPLITS for sample in getattr(dataset, split))
    return [path for sample in samples for path in (sample.path, sample.part_map) if path]


def format_table(splits: dict[str, SplitStatistics]) -> str:
    """The statistics as text: a line a split, then a line a part of the labeled splits."""
    lines = [
        f"{'split':<10}{'images':>9}{'identities':>12}{'cameras':>9}"
        f"{'images per identity':>24}{'part maps':>11}"
    ]
    for name, split in splits.items():
        spread = f"{split.fewest} / {split.median:g} / {split.most}"
        lines.append(
            f"{name:<10}{split.images:>9,}{split.identities:>12,}{split.cameras:>9}"
            f"{spread:>24}{split.labelled:>11,}"
        )
    lines.append("(images per identity: fewest / median / most)")
    labeled = {name: split for name, split in splits.items() if split.labelled}
    if labeled:
        lines.append("")
        heads = "".join(f"{f'{name}: pixels':>18}{'images':>10}" for name in labeled)
        lines.append(f"{'part':<12}{heads}")
        for part in range(max(len(split.pixels) for split in labeled.values())):
            part_name = PART_NAMES[part] if part < NUM_PARTS else f"part {part}"
            shares = "".join(
                f"{split.pixels[part]:>18.1%}{split.present[part]:>10.0%}"
                for split in labeled.values()
            )
            lines.append(f"{part_name:<12}{shares}")
    return "\n".join(lines)


def _print_report(report: Scan) -> None:
    print(f"\n{report.dataset.name} in {report.dataset.root}")
    print(format_table(dict(report.splits)))
    for notice in (*report.dataset.notices, *report.notices):
        print(f"note: {printable(notice)}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
