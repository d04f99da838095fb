import importlib
import json

import pytest

from configs import ablation, cuhk03, default, quickstart
from input_pipeline.errors import UserError
from magnifier_jax.config import Config

NAMES = ("market1501", "dukemtmc", "occluded_duke", "msmt17", "cuhk03", "quickstart", "benchmark")


def read(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return Config.from_mapping(config.to_dict())


@pytest.mark.parametrize("name", ["default", *NAMES])
def test_every_configuration_is_valid(name):
    config = Config.from_mapping(importlib.import_module(f"configs.{name}").get_config().to_dict())
    variants = {"cuhk03": "cuhk03_labeled", "msmt17": "msmt17_trainval"}
    assert config.name == variants.get(name, name)


@pytest.mark.parametrize("row", ablation.ROWS)
@pytest.mark.parametrize("base", ["benchmark", "cuhk03:detected"])
def test_ablation_rows_are_valid_on_any_base(row, base):
    config = Config.from_mapping(ablation.get_config(f"{row},{base}").to_dict())
    assert config.model.use_global
    assert config.model.use_adversarial == (row in ("sab", "nodiversity", "all"))
    assert config.model.use_fusion == (row in ("sfb", "nodiversity", "all"))
    assert (config.loss.diversity > 0) == (row == "all")
    assert config.data.train == ("synthetic:benchmark" if base == "benchmark" else base)


def test_published_recipe():
    market, detected = read(), Config.from_mapping(cuhk03.get_config("detected").to_dict())
    assert market.optimizer.decay_epochs == (40, 70)
    assert detected.optimizer.decay_epochs == (40,)
    assert (market.loss.diversity, detected.loss.diversity) == (0.01, 0.001)
    assert market.data.image_size == (384, 192)
    assert market.augment.erasing_fill == (0.485, 0.456, 0.406)
    assert not market.model.stem_relu


def test_survives_json():
    config = Config.from_mapping(quickstart.get_config().to_dict())
    assert Config.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("precision", "bf61", "did you mean 'bf16'"),
        ("model.backbone", "resnet51", "did you mean 'resnet50'"),
        ("data.placement", "disk", "stream, device"),
        ("data.image_size", (100, 64), "multiples of 16"),
        ("data.identities_per_batch", 1, "2 or more"),
        ("data.part_labels", "none", "learn from part labels"),
        ("model.use_parsing", False, "use_fusion needs"),
        ("occlusion.upper_count", 5, "cannot hide 5"),
        ("occlusion.lower_parts", (5, 9), "names parts"),
        ("augment.erasing", 1.5, "between 0 and 1"),
        ("evaluate.rerank_lambda", -0.5, "between 0 and 1"),
        ("optimizer.learning_rate", 0.0, "above 0"),
        ("train.epochs", 0, "1 or more"),
        ("train.keep_checkpoints", 1, "2 or more"),
        ("name", "", "a name for the run"),
        ("seed", -1, "between 0 and"),
        ("seed", 2**32, "between 0 and"),
        ("augment.pad", 10**6, "shorter side"),
        ("augment.erasing_aspect", 0.0, "above 0"),
        ("augment.erasing_area", (2.0, 3.0), "least and the largest share"),
        ("augment.erasing_area", (0.4, 0.1), "least and the largest share"),
        ("occlusion.upper_parts", (1, 1, 2), "names a part twice"),
        ("occlusion.lower_parts", (4, 5, 6), "names a part twice"),
        ("loss.parsing", float("inf"), "finite number"),
        ("loss.diversity_start_epoch", -2, "0 or more"),
        ("optimizer.learning_rate", float("inf"), "finite number"),
        ("optimizer.l2", float("nan"), "finite number"),
        ("optimizer.momentum", 7.0, "below 1"),
        ("optimizer.warmup_factor", -3.0, "between 0 and 1"),
        ("optimizer.decay_factor", -1.0, "above 0"),
        ("optimizer.decay_epochs", (-5,), "epochs from 1 on"),
        ("evaluate.query_expansion_alpha", -1.0, "0 or more"),
        ("data.train", "", "name of a dataset"),
    ],
)
def test_values_that_cannot_work_are_refused(field, value, words):
    with pytest.raises(UserError, match=f"config.{field.split('.')[0]}") as caught:
        read(**{field: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_fields_are_named():
    mapping = default.get_config().to_dict()
    with pytest.raises(
        UserError, match=r"config.train.epoch does not exist, did you mean 'epochs'"
    ):
        Config.from_mapping({**mapping, "train": {**mapping["train"], "epoch": 3}})
    del mapping["loss"]
    with pytest.raises(UserError, match=r"config.loss is missing"):
        Config.from_mapping(mapping)


def test_types_are_checked():
    mapping = default.get_config().to_dict()
    with pytest.raises(UserError, match=r"config.seed must be a whole number, not 'one'"):
        Config.from_mapping({**mapping, "seed": "one"})
    assert Config.from_mapping({**mapping, "loss": {**mapping["loss"], "parsing": 2}})
