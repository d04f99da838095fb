"""The rows of the transfer benchmark, and the styles that they leave out."""

from __future__ import annotations

import dataclasses

import pytest

from configs import drawn, transfer
from input_pipeline.readers import split_specs
from input_pipeline.synthetic.settings import settings_of
from input_pipeline.synthetic.worlds.styles import BACKDROP_STYLES, CAMERA_STYLES
from magnifier_jax import weights
from magnifier_jax.config import Config
from magnifier_jax.export.reader import read_exported


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


def test_the_configuration_of_the_drawn_network_is_that_of_its_weights() -> None:
    config = Config.from_mapping(drawn.get_config("more").to_dict())
    trained = read_exported(weights.find("drawn")).config
    assert trained.model == config.model
    assert trained.data.train == config.data.train
    assert trained.data.image_size == config.data.image_size
    assert (trained.augment, trained.loss) == (config.augment, config.loss)
    assert trained.optimizer == config.optimizer
    assert trained.train == config.train


def test_the_second_stage_goes_on_with_the_network_of_the_first() -> None:
    first, more = (Config.from_mapping(drawn.get_config(stage).to_dict()) for stage in drawn.STAGES)
    assert (first.model, first.data.image_size) == (more.model, more.data.image_size)
    assert first == Config.from_mapping(drawn.get_config().to_dict())
    with pytest.raises(ValueError, match="no stage 'third'"):
        drawn.get_config("third")
