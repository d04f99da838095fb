"""The old call of `magnifier rank`, for one release."""

import sys

from magnifier_jax.commands.rank import main

if __name__ == "__main__":
    sys.exit(main())
