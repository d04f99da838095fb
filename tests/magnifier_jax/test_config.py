import importlib
import json
import pathlib

import pytest

from configs import ablation, cuhk03, default, quickstart
from input_pipeline.errors import UserError
from magnifier_jax.config import Config, field_table

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
        ("occlusion.upper_parts", (1, 1, 2), "name a part twice"),
        ("occlusion.lower_parts", (4, 5, 6), "name a part twice"),
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
        ("model.num_parts", 256, "255 or less"),
        ("augment.erasing_area", (0, 0), "not both 0"),
        ("augment.erasing_area", (1.0, 1.0), "not both 0 or both 1"),
        ("augment.erasing_area", (0.0, 1e-9), "less than one pixel"),
        ("optimizer.decay_epochs", (70, 40), "in ascending order"),
        ("optimizer.decay_epochs", (40, 40), "each once"),
        ("optimizer.decay_epochs", tuple(range(1, 2000)), "1000 values or fewer"),
        ("evaluate.max_rank", 10**12, "100000 or less"),
        ("optimizer.learning_rate", 1e-300, "above 0"),
        ("optimizer.momentum", 1 - 1e-12, "below 1"),
        ("data.identities_per_batch", 2**15, "which fit no device"),
        ("evaluate.batch_size", 2**17, "65536 or less"),
        ("data.image_size", (2**13 + 16, 64), "8192 or less"),
        ("data.root", "a\0b", "text of up to"),
        ("name", "../other", "without slashes"),
        ("name", "..", "without slashes"),
        ("name", "a\nb", "a name for the run"),
        ("init.prefix", "teacher", "config.init.backbone or config.init.checkpoint"),
        ("augment.erasing_fill", (0.0, 0.0, 1e9), "1000 or less"),
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


def fields(mapping, path=""):
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from fields(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


FIELDS = dict(fields(Config().to_mapping()))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value",
    [2**70, -(2**70), 10**400, float("nan"), float("-inf"), "x" * 10_000, "\0", None, b"", []],
)
def test_no_field_takes_what_is_absurd(field, value):
    """Alone, and as every value of a tuple; one line that names the field."""
    whole = isinstance(FIELDS[field], tuple) and value != []
    values = [value] * len(FIELDS[field]) if whole else value
    mapping = default.get_config().to_dict()
    *sections, name = field.split(".")
    place = mapping
    for section in sections:
        place = place[section]
    place[name] = values
    if field == "optimizer.decay_epochs" and value == []:
        assert Config.from_mapping(mapping).optimizer.decay_epochs == ()
        return
    with pytest.raises(UserError) as caught:
        Config.from_mapping(mapping)
    message = str(caught.value)
    assert f"config.{field}" in message or (sections and f"config.{sections[0]} " in message)
    assert "\n" not in message
    assert len(message) < 300


def test_hiding_every_part_of_a_person_is_refused():
    config = default.get_config()
    config.occlusion.upper_count, config.occlusion.lower_count = 4, 3
    with pytest.raises(UserError, match="hide all 7 parts"):
        Config.from_mapping(config.to_dict())
    config.occlusion.lower_count = 2
    assert Config.from_mapping(config.to_dict()).occlusion.upper_count == 4


def test_configurations_of_older_checkpoints_are_read():
    mapping = default.get_config().to_dict()
    del mapping["init"]["prefix"]
    mapping["optimizer"]["decay_epochs"] = [70, 40]
    config = Config.from_mapping(mapping, stored=True)
    assert config.init.prefix == ""
    assert config.optimizer.decay_epochs == (70, 40)
    with pytest.raises(UserError, match="in ascending order"):
        Config.from_mapping(mapping)


@pytest.mark.parametrize("mapping", [None, 3, [], "text", {"data": float("inf")}, {"seed": {}}])
def test_what_is_no_configuration_is_refused(mapping):
    with pytest.raises(UserError, match="config"):
        Config.from_mapping(mapping, stored=True)


def test_every_field_is_explained_where_it_is_declared():
    rows = field_table().splitlines()[2:]
    assert {row.split("`")[1] for row in rows} >= {f"config.{name}" for name in FIELDS}
    assert all(len(row.rpartition(" | ")[2]) > 10 for row in rows)
    page = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text("utf-8").endswith(field_table())
