"""`magnifier robustness`: what hiding parts of people costs networks, and whom they mix up."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from magnifier_jax.devices import enable_compilation_cache, make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation.hiding import robustness
from magnifier_jax.evaluation.report.sections import robustness_file
from magnifier_jax.evaluation.robustness import Robustness
from magnifier_jax.workdir import distinct_names


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_measure, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
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
    names = distinct_names(workdirs)
    networks = {
        name: load_trained(path, mesh, which=options.checkpoint)
        for name, path in zip(names, workdirs, strict=True)
    }
    found = robustness(
        networks,
        data=options.data,
        root=options.root,
        side=options.hide,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    print(found.table())
    if options.output is not None:
        _write(options.output.expanduser(), found)
        return
    for name, path in zip(names, workdirs, strict=True):
        _write(
            robustness_file(path, test_set=found.test_set if options.data else None), found.of(name)
        )


def _write(path: pathlib.Path, found: Robustness) -> None:
    write_json(path, found.to_mapping())
    print(f"Figures: {path}")


if __name__ == "__main__":
    sys.exit(main())
