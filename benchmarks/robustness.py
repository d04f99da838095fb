"""What hiding body parts costs each row of the ablation: means over the seeds that are trained.

    python benchmarks/ablation.py --output runs/ablation
    python benchmarks/robustness.py --runs runs/ablation

Takes the finished runs of `ablation.py` (folders `<row>-<seed>`), measures each as
`magnifier robustness` does, on the same covered images, unless its `robustness.json` is there
already, and prints mAP, its loss, and the share that is kept.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
from collections.abc import Sequence

from magnifier_jax.commands import robustness as command
from magnifier_jax.evaluation.report.sections import robustness_file
from magnifier_jax.evaluation.robustness.regions import Kind
from magnifier_jax.evaluation.robustness.results import WHOLE, NetworkRobustness, read_robustness
from magnifier_jax.tables import table

ROWS = ("baseline", "mask", "sab", "sfb", "nodiversity", "all")


def finished(folder: pathlib.Path, rows: Sequence[str]) -> dict[str, list[pathlib.Path]]:
    """The finished runs of each row; the report is the last thing that a run writes."""
    found = {
        row: sorted(
            path for path in folder.glob(f"{row}-[0-9]*") if (path / "report.html").exists()
        )
        for row in rows
    }
    return {row: paths for row, paths in found.items() if paths}


def measure(paths: Sequence[pathlib.Path]) -> list[NetworkRobustness]:
    """The figures of runs, measured where they are missing."""
    missing = [str(path) for path in paths if not robustness_file(path).exists()]
    if missing:
        status = command.main(["--workdir", *missing])
        if status:
            sys.exit(status)
    found = [read_robustness(robustness_file(path)) for path in paths]
    return [network for each in found if each is not None for network in each.networks]


def mean(values: Sequence[float]) -> float:
    return 100 * statistics.mean(values)


def print_rows(found: dict[str, list[NetworkRobustness]]) -> None:
    """The whole descriptor of each row, region by region."""
    first = next(iter(found.values()))[0]
    clean = [mean([network.clean[WHOLE].mAP for network in ns]) for ns in found.values()]
    lines = [["nothing", *(f"{value:.1f}" for value in clean)]]
    for hidden in first.hidden:
        lines.append([hidden.region, *(_cell(ns, hidden.region, WHOLE) for ns in found.values())])
    for kind in Kind:
        cells = []
        for before, networks in zip(clean, found.values(), strict=True):
            loss = mean([network.mean_loss(kind) for network in networks])
            cells.append(f"{before - loss:.1f} (-{loss:.1f}, {1 - loss / before:.0%})")
        lines.append([f"mean: {kind.value}", *cells])
    header = ["whole descriptor", *(f"{row} ({len(ns)})" for row, ns in found.items())]
    print(table(header, lines))


def print_views(row: str, networks: list[NetworkRobustness]) -> None:
    """Every way of comparing, of one row, by kinds of regions."""
    views = list(networks[0].clean)
    lines = [["nothing", *(f"{mean([n.clean[view].mAP for n in networks]):.1f}" for view in views)]]
    for hidden in networks[0].hidden:
        lines.append([hidden.region, *(_cell(networks, hidden.region, view) for view in views)])
    print(table([f"{row} ({len(networks)})", *views], lines))


def _cell(networks: Sequence[NetworkRobustness], region: str, view: str) -> str:
    clean = mean([network.clean[view].mAP for network in networks])
    loss = mean([network.loss(region, view) for network in networks])
    return f"{clean - loss:.1f} (-{loss:.1f}, {1 - loss / clean:.0%})"


def print_confusions(found: dict[str, list[NetworkRobustness]]) -> None:
    """Wrong first matches, and how many of them are look-alikes."""
    lines = []
    for row, networks in found.items():
        for view in networks[0].confusions:
            each = [network.confusions[view] for network in networks]
            wrong = [one.wrong / one.queries for one in each]
            alike = [(one.look_alikes or 0) / max(one.wrong, 1) for one in each]
            chance = [(one.expected or 0) / max(one.wrong, 1) for one in each]
            groups = [one.group_mAP for one in each if one.group_mAP is not None]
            lines.append(
                [
                    row,
                    view,
                    f"{mean(wrong):.1f}",
                    f"{mean(alike):.1f}",
                    f"{mean(chance):.1f}",
                    f"{mean(groups):.1f}" if groups else "",
                ]
            )
    header = ["row", "compared", "first match wrong", "look-alikes", "by chance", "mAP in groups"]
    print(table(header, lines, left=(0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="rows to compare")
    options = parser.parse_args()
    runs = finished(options.runs, options.rows)
    if not runs:
        sys.exit(f"{options.runs} holds no finished run: train with benchmarks/ablation.py first")
    every = measure([path for paths in runs.values() for path in paths])
    found: dict[str, list[NetworkRobustness]] = {}
    for row, paths in runs.items():
        found[row], every = every[: len(paths)], every[len(paths) :]
    print("mAP in percent (loss in points, share that is kept); means over the seeds in brackets")
    print_rows(found)
    for row, networks in found.items():
        if len(networks[0].clean) > 1:
            print_views(row, networks)
    print_confusions(found)


if __name__ == "__main__":
    main()
