"""`magnifier robustness`: what hiding parts of people costs networks, and whom they mix up."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import UserError
from input_pipeline.files import claim_output, user_path, write_json


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
    add("--force", action="store_true", help="replace figures that are there")
    return parser


def _measure(options: argparse.Namespace) -> None:
    if options.seed < 0:
        raise UserError(f"--seed must be 0 or more, not {options.seed}")
    from magnifier_jax.devices import enable_compilation_cache, make_mesh
    from magnifier_jax.embedding.network import load_trained
    from magnifier_jax.evaluation.report.sections import robustness_file
    from magnifier_jax.evaluation.robustness.ground_truth import open_study
    from magnifier_jax.evaluation.robustness.hiding import measure_robustness
    from magnifier_jax.workdir import distinct_names

    workdirs = [user_path(path) for path in options.workdir]
    names = distinct_names(workdirs)
    enable_compilation_cache()
    mesh = make_mesh()
    networks = {
        name: load_trained(path, mesh, which=options.checkpoint)
        for name, path in zip(names, workdirs, strict=True)
    }
    progress = sys.stderr.isatty()
    first = networks[names[0]].config
    study = open_study(first, data=options.data, root=options.root, progress=progress)
    other = study.test_set.name if options.data else None
    outputs = [robustness_file(path, test_set=other) for path in workdirs]
    with contextlib.ExitStack() as stack:
        # Before the work, not after it.
        claimed = [
            stack.enter_context(claim_output(path, force=options.force))
            for path in ([options.output] if options.output else outputs)
        ]
        found = measure_robustness(
            networks,
            study.test_set,
            side=options.hide,
            seed=options.seed,
            truth=study.truth,
            mesh=mesh,
            progress=progress,
        )
        print(found.table())
        records = [found] if options.output else [found.of(name) for name in names]
        for path, record in zip(claimed, records, strict=True):
            write_json(path, record.to_mapping())
            print(f"Figures: {path}")


if __name__ == "__main__":
    sys.exit(main())
