"""`magnifier train`: trains a network, or resumes a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

from input_pipeline import console


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = console.Parser(
        prog="magnifier train",
        description="Trains a network as a configuration says, or resumes where the run in the "
        "work directory stopped. Any field of the configuration can be changed, as in "
        "--config.optimizer.learning_rate=0.001.",
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="configuration, such as market1501 or configs/mine.py")
    add("--workdir", metavar="DIR", help="folder of the run; runs/<the configuration's name>")
    add(
        "--resume-with-changes",
        action="store_true",
        help="resume a run although its configuration has changed",
    )
    options, rest = parser.parse_known_args(arguments)
    flags = ["--resume_with_changes"] if options.resume_with_changes else []
    return run_main([*common_flags(options.config, options.workdir), *flags, *rest])


def common_flags(config: str | None, workdir: str | None) -> list[str]:
    """The flags of `magnifier_jax.main` for what was given."""
    given = {"config": config, "workdir": workdir}
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def run_main(flags: Sequence[str]) -> int:
    """Runs `magnifier_jax.main` with these flags in this process; returns its exit status."""
    from magnifier_jax import main as program

    console.prepare_terminal()
    with _command_line(flags):
        try:
            program.start()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextlib.contextmanager
def _command_line(flags: Sequence[str]) -> Iterator[None]:
    """The program reads its flags from `sys.argv`."""
    before = sys.argv
    sys.argv = ["magnifier", *flags]
    try:
        yield
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
