"""The rows of the transfer benchmark, and the styles that they leave out."""

from __future__ import annotations

import dataclasses

import pytest

from configs import transfer
from input_pipeline.readers import split_specs
from input_pipeline.synthetic.settings import settings_of
from input_pipeline.synthetic.worlds.styles import BACKDROP_STYLES, CAMERA_STYLES
from magnifier_jax.config import Config


@pytest.mark.parametrize("kind", ["cameras", "backdrops"])
def test_seen_and_unseen_styles_are_all_that_there_are(kind: str) -> None:
    place = 0 if kind == "cameras" else 1
    known = list(CAMERA_STYLES if kind == "cameras" else BACKDROP_STYLES)
    seen, unseen = (styles[place].split("+") for styles in (transfer.SEEN, transfer.UNSEEN))
    assert not set(seen) & set(unseen)
    assert sorted(seen + unseen) == sorted(known)
    assert abs(len(seen) - len(unseen)) <= 1


@pytest.mark.parametrize("row", transfer.ROWS)
def test_rows_differ_from_the_baseline_alone(row: str) -> None:
    config = Config.from_mapping(transfer.get_config(row).to_dict())
    baseline = Config.from_mapping(transfer.get_config("baseline").to_dict())
    assert config.name == f"transfer_{row}"
    same = dataclasses.replace(config, name=baseline.name) == baseline
    assert same == (row == "baseline")
    assert config.data == baseline.data
    assert config.train == baseline.train
    for spec in (config.data.train, config.data.test):
        assert split_specs(spec) == [spec]
        name, _, variant = spec.partition(":")
        assert name == "synthetic"
        settings_of(variant)


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no row 'colour'"):
        transfer.get_config("colour")
