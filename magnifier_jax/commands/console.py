"""What the commands around training share: how they start, and how they fail."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from input_pipeline.errors import DataError, UserError


def run(command: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Runs a command.

    A problem that its user can fix is one line on stderr.

    Returns:
        The exit status: 0, 2 for such a problem, or 130 if it was interrupted.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        command(options)
    except (UserError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
