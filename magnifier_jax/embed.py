"""The old call of `magnifier embed`, for one release."""

import sys

from magnifier_jax.commands.embed import main

if __name__ == "__main__":
    sys.exit(main())
