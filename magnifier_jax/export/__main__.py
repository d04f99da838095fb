"""The old call of `magnifier export`, for one release."""

import sys

from magnifier_jax.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
