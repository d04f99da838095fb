"""The old call of `magnifier search`, for one release."""

import sys

from magnifier_jax.commands.search import main

if __name__ == "__main__":
    sys.exit(main())
