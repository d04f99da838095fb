"""How good a run's network was before its first step, to compare later results with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from input_pipeline.files import write_json
from magnifier_jax.config import Config
from magnifier_jax.evaluation import Score
from magnifier_jax.workdir import WorkDirectory

# What decides the numbers of descriptors that are ranked by their distances alone.
_PROTOCOL = ("average_precision", "camera_filter", "distance", "max_rank")


def write_untrained(workdir: WorkDirectory, config: Config, scores: Sequence[Score]) -> None:
    """Writes `untrained.json`.

    Raises:
        UserError: It cannot be written, as on a full disk.
    """
    found = [score.to_mapping() for score in scores]
    write_json(workdir.untrained, {"protocol": _protocol(config), "test_sets": found})


def read_untrained(workdir: WorkDirectory, config: Config) -> tuple[Score, ...]:
    """Returns the scores before the first step, as far as they can be compared with new ones.

    Empty where they are not known, or where this configuration measures otherwise or on other
    test sets.
    """
    try:
        record = json.loads(workdir.untrained.read_text(encoding="utf-8"))
        if record["protocol"] != _protocol(config):
            return ()
        return tuple(Score.from_mapping(entry) for entry in record["test_sets"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _protocol(config: Config) -> dict[str, Any]:
    settings = {name: getattr(config.evaluate, name) for name in _PROTOCOL}
    return {"test": config.data.test or config.data.train, **settings}
