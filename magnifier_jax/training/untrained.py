"""How good a run's network was before its first step, to compare later results with."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from input_pipeline.errors import DataError
from input_pipeline.files import read_json, reading, write_json
from magnifier_jax.config import Config, EvaluateConfig
from magnifier_jax.evaluation import Score
from magnifier_jax.workdir import WorkDirectory

_logger = logging.getLogger(__name__)

# What decides the numbers of descriptors that are ranked by their distances alone.
_WHAT = "record of the untrained network"
_PROTOCOL = ("average_precision", "camera_filter", "distance", "max_rank")
_OF_TRACKLETS = ("by_tracklet", "tracklet_weights")


def write_untrained(workdir: WorkDirectory, config: Config, scores: Sequence[Score]) -> None:
    """Writes `untrained.json`.

    Raises:
        UserError: It cannot be written, as on a full disk.
    """
    found = [score.to_mapping() for score in scores]
    record = {"protocol": _protocol(config), "test_sets": found}
    write_json(workdir.untrained, record, checksum=True)


def read_untrained(workdir: WorkDirectory, config: Config) -> tuple[Score, ...]:
    """Returns the scores before the first step, as far as they can be compared with new ones.

    Empty where they are not known, where this configuration measures otherwise or on other test
    sets, or where the file is damaged, which is said.
    """
    path = workdir.untrained
    if not path.exists():
        return ()
    try:
        record = read_json(path, what=_WHAT, checksum=True)
        with reading(path, what=_WHAT):
            if record["protocol"] != json.loads(json.dumps(_protocol(config))):
                return ()
            return tuple(_sound(Score.from_mapping(entry)) for entry in record["test_sets"])
    except DataError as error:
        _logger.warning("%s The results are shown without those before training.", error)
        return ()


def _sound(score: Score) -> Score:
    """The score, if it can be shown.

    Raises:
        ValueError: It cannot.
    """
    for found in (score.plain, *score.variants().values()):
        shares = (found.mAP, found.mINP, *found.cmc)
        counts = (found.queries, found.valid_queries, found.gallery)
        if not found.cmc or not all(type(s) in (int, float) and 0 <= s <= 1 for s in shares):
            raise ValueError("a share is not between 0 and 1")
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("a count is not a whole number")
    if not isinstance(score.name, str):
        raise ValueError("a test set has no name")
    return score


def _protocol(config: Config) -> dict[str, Any]:
    settings = {name: getattr(config.evaluate, name) for name in _PROTOCOL}
    # Records of before tracklets were ranked do not have these.
    usual = EvaluateConfig()
    settings |= {
        name: value
        for name in _OF_TRACKLETS
        if (value := getattr(config.evaluate, name)) != getattr(usual, name)
    }
    return {"test": config.data.test or config.data.train, **settings}
