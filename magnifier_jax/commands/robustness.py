"""`magnifier robustness`: what hiding parts of people costs networks, and whom they mix up."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from magnifier_jax.commands import console
from magnifier_jax.config import Config
from magnifier_jax.datasets import TestSet, open_test_sets
from magnifier_jax.devices import enable_compilation_cache, make_mesh
from magnifier_jax.embedding.network import Trained, load_trained
from magnifier_jax.evaluation.hiding import measure_robustness
from magnifier_jax.evaluation.look_alikes import find_drawn_people
from magnifier_jax.evaluation.report.sections import robustness_file
from magnifier_jax.evaluation.robustness import Robustness


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_measure, _parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="magnifier robustness",
        description="Hides body parts, groups of them, halves and boxes of query images behind "
        "drawn objects, the same ones for every network, and says what that costs in mAP and "
        "rank-1: for the whole descriptor, each branch alone, and search by visible parts. Says "
        "too whom the network mixes up: look-alikes where they are known, the hardest impostors "
        "elsewhere.",
    )
    add = parser.add_argument
    add(
        "--workdir",
        type=pathlib.Path,
        nargs="+",
        required=True,
        help="work directories of training runs, to be compared",
    )
    add("--data", metavar="SPEC", help="test set, as in config.data.test; that of the first run")
    add("--root", type=pathlib.Path, help="folder of the datasets, if not where they were")
    add(
        "--hide",
        choices=["query", "gallery", "both"],
        default="query",
        help="which images are covered (query)",
    )
    add("--seed", type=int, default=0, help="other seeds draw other objects (0)")
    add("--checkpoint", choices=["latest", "best"], default="latest", help="which checkpoint")
    add(
        "--output",
        type=pathlib.Path,
        metavar="FILE.json",
        help="file for the figures of all networks; if not given, each work directory gets its "
        "own in robustness.json, or robustness-<set>.json with --data",
    )
    return parser


def _measure(options: argparse.Namespace) -> None:
    if options.seed < 0:
        raise UserError(f"--seed must be 0 or more, not {options.seed}")
    if options.output is not None and not options.output.expanduser().parent.is_dir():
        raise UserError(f"--output: there is no folder {options.output.expanduser().parent}")
    enable_compilation_cache()
    mesh = make_mesh()
    workdirs = [path.expanduser() for path in options.workdir]
    names = _distinct_names(workdirs)
    networks = {
        name: load_trained(path, mesh, which=options.checkpoint)
        for name, path in zip(names, workdirs, strict=True)
    }
    test_set, spec, config = open_one_set(
        next(iter(networks.values())), data=options.data, root=options.root
    )
    found = measure_robustness(
        networks,
        test_set,
        side=options.hide,
        seed=options.seed,
        drawn=find_drawn_people(spec, config.data.root),
        mesh=mesh,
        progress=sys.stderr.isatty(),
    )
    print(found.table())
    if options.output is not None:
        _write(options.output.expanduser(), found)
        return
    for name, path in zip(names, workdirs, strict=True):
        _write(
            robustness_file(path, test_set=test_set.name if options.data else None), found.of(name)
        )


def _write(path: pathlib.Path, found: Robustness) -> None:
    write_json(path, found.to_mapping())
    print(f"Figures: {path}")


def _distinct_names(workdirs: Sequence[pathlib.Path]) -> list[str]:
    """What each network is called: its folder, or as much of its path as tells it from others."""
    resolved = [path.resolve() for path in workdirs]
    if len(set(resolved)) < len(resolved):
        raise UserError("--workdir names the same folder twice")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            break
    return names


def open_one_set(
    trained: Trained, *, data: str | None, root: pathlib.Path | None
) -> tuple[TestSet, str, Config]:
    """Opens one test set: the one that is named, or the first of the run's own.

    Returns:
        The set, the spec that names it, and the configuration that it was opened with.
    """
    config = trained.config
    spec = data or (config.data.test or config.data.train).split(",")[0].strip()
    changed = dataclasses.replace(
        config.data, test=spec, root=config.data.root if root is None else str(root.expanduser())
    )
    config = dataclasses.replace(config, data=changed)
    sets = open_test_sets(config, progress=sys.stderr.isatty())
    if len(sets) > 1:
        raise UserError(f"--data {spec} names {len(sets)} test sets; give one")
    return sets[0], spec, config


if __name__ == "__main__":
    sys.exit(main())
