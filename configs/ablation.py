"""What each branch adds: `configs/ablation.py:<row>` or `configs/ablation.py:<row>,<base>`.

Rows, as in the published table:
    baseline    the global branch alone
    mask        + the part-parsing head, whose loss shapes the trunk
    sab         + the semantic adversarial branch
    sfb         + the semantic fusion branch (with the parsing head, which it needs)
    nodiversity all branches, without the diversity loss
    all         everything

The base is another configuration by its file name, such as `cuhk03` or `benchmark` (the default),
with its own argument after a colon: `configs/ablation.py:sab,cuhk03:detected`. Any dataset can be
set as usual, `--config.data.train=…`.
"""

from __future__ import annotations

import importlib

from ml_collections import ConfigDict

ROWS = ("baseline", "mask", "sab", "sfb", "nodiversity", "all")


def get_config(choice: str = "all") -> ConfigDict:
    """One row of the table.

    Args:
        choice: `row` or `row,base` or `row,base:argument`.

    Raises:
        ValueError: There is no such row or base.
    """
    row, _, base = choice.partition(",")
    if row not in ROWS:
        raise ValueError(f"There is no ablation row {row!r}: choose one of {', '.join(ROWS)}.")
    name, _, argument = (base or "benchmark").partition(":")
    try:
        module = importlib.import_module(f"configs.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no configuration configs/{name}.py to ablate.") from error
    config: ConfigDict = module.get_config(argument) if argument else module.get_config()
    config.name = f"{config.name}_{row}"
    model = config.model
    model.use_adversarial = row in ("sab", "nodiversity", "all")
    model.use_fusion = row in ("sfb", "nodiversity", "all")
    model.use_parsing = row in ("mask", "sfb", "nodiversity", "all")
    if row != "all":
        config.loss.diversity = 0.0
    return config
