"""`magnifier evaluate`: measures a trained network on test sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from input_pipeline import console
from magnifier_jax.commands.train import common_flags, run_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = console.Parser(
        prog="magnifier evaluate",
        description="Measures the network of a work directory on its own test sets, or on those "
        "of --data or of a configuration. Any field can be changed where a configuration is given, "
        "as in --config.evaluate.rerank=True.",
    )
    add = parser.add_argument
    add(
        "--workdir",
        metavar="PATH",
        help="folder of the run; or weights that `magnifier export` wrote, or `drawn`, the network "
        "that comes with the package, whose numbers go to runs/evaluate-NAME",
    )
    add(
        "--data",
        metavar="SPEC",
        help="test sets to measure on, such as market1501@/data/market or folders@/my/set",
    )
    add("--config", metavar="FILE", help="configuration that names other test sets")
    add(
        "--checkpoint",
        choices=["latest", "best"],
        default="latest",
        help="which checkpoint: latest (default), or best by mAP",
    )
    add("--report", action="store_true", help="also write a report")
    add("--output", metavar="FILE", help="where the numbers go; a file of the run if not given")
    add("--force", action="store_true", help="let --output replace a file")
    options, rest = parser.parse_known_args(arguments)
    flags = ["--mode=evaluate", f"--checkpoint={options.checkpoint}"]
    flags += [f"--data={options.data}"] if options.data else []
    flags += ["--report"] if options.report else []
    flags += [f"--output={options.output}"] if options.output else []
    flags += ["--force"] if options.force else []
    return run_main([*common_flags(options.config, options.workdir), *flags, *rest])


if __name__ == "__main__":
    sys.exit(main())
