"""`python -m magnifier_jax COMMAND …` equals `magnifier COMMAND …`."""

import sys

from magnifier_jax.commands import main

if __name__ == "__main__":
    sys.exit(main())
