"""`python -m input_pipeline.part_labels` is `magnifier labels`."""

import sys

from input_pipeline.part_labels.commands import main

if __name__ == "__main__":
    sys.exit(main())
