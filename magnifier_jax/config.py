"""The configuration as typed, checked data.

`configs/default.py` says what every field means and holds the defaults; the classes here say
which type each has, and refuse what cannot work before any work starts.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from input_pipeline.errors import UserError
from magnifier_jax.model import BACKBONES, OcclusionGroup
from magnifier_jax.training.augmentation import AugmentSettings
from magnifier_jax.training.losses import LossWeights

Section = TypeVar("Section")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which pictures, and how they become batches."""

    train: str
    test: str
    root: str
    prepared: str
    part_labels: str
    image_size: tuple[int, int]
    placement: Literal["stream", "device"]
    identities_per_batch: int
    images_per_identity: int
    workers: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    backbone: str
    stem_relu: bool
    num_parts: int
    use_global: bool
    use_adversarial: bool
    use_fusion: bool
    use_parsing: bool
    parsing_features: int


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """Which parts semantic occlusion hides."""

    enabled: bool
    per_picture: bool
    upper_parts: tuple[int, ...]
    upper_count: int
    lower_parts: tuple[int, ...]
    lower_count: int

    @property
    def groups(self) -> tuple[OcclusionGroup, ...]:
        """The two groups that parts are drawn from."""
        return (
            OcclusionGroup(self.upper_parts, self.upper_count),
            OcclusionGroup(self.lower_parts, self.lower_count),
        )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """How much each loss term counts."""

    parsing: float
    parts: float
    diversity: float
    diversity_start_epoch: int

    @property
    def weights(self) -> LossWeights:
        """The factors alone."""
        return LossWeights(parsing=self.parsing, parts=self.parts, diversity=self.diversity)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move."""

    name: Literal["adam", "sgd"]
    learning_rate: float
    l2: float
    momentum: float
    warmup_epochs: int
    warmup_factor: float
    decay_epochs: tuple[int, ...]
    decay_factor: float


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, and what is kept."""

    epochs: int
    max_steps: int
    log_every_steps: int
    evaluate_every_epochs: int
    checkpoint_every_steps: int
    keep_checkpoints: int


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How test pictures are described and ranked."""

    batch_size: int
    max_rank: int
    distance: Literal["euclidean", "cosine"]
    camera_filter: bool
    average_precision: Literal["rectangular", "trapezoid"]
    flip: bool
    query_expansion: int
    query_expansion_alpha: float
    rerank: bool
    rerank_k1: int
    rerank_k2: int
    rerank_lambda: float


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Weights to start from."""

    backbone: str
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    name: str
    seed: int
    precision: Literal["float32", "bf16"]
    data: DataConfig
    model: ModelConfig
    occlusion: OcclusionConfig
    augment: AugmentSettings
    loss: LossConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    init: InitConfig

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Config:
        """Reads and checks a `ConfigDict`, or what `to_mapping` made.

        Raises:
            UserError: A field is unknown, missing, or has a value that cannot work.
        """
        config = _section(cls, mapping, "config")
        _check(config)
        return config

    def to_mapping(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """`", did you mean X?"` where one of the known names is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _section(kind: type[Section], mapping: Mapping[str, Any], path: str) -> Section:
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in mapping:
        if name not in fields:
            raise UserError(f"{path}.{name} does not exist{suggest(name, fields)}")
    values = {}
    for name in fields:
        if name not in mapping:
            raise UserError(f"{path}.{name} is missing.")
        values[name] = _value(hints[name], mapping[name], f"{path}.{name}")
    return kind(**values)


def _value(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _section(typing.cast(type, hint), value, path)
    if typing.get_origin(hint) is Literal:
        return _choice(typing.get_args(hint), value, path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (tuple, list)):
            raise UserError(f"{path} must be a tuple, not {value!r}.")
        kinds = typing.get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise UserError(f"{path} must hold {len(kinds)} values, not {value!r}.")
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(_value(kind, item, f"{path}[{i}]") for i, (kind, item) in pairs)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{path} must be {_name(hint)}, not {value!r}.")
    if hint is float and not math.isfinite(value):
        raise UserError(f"{path} must be a finite number, not {value!r}.")
    return value


def _choice(choices: tuple[str, ...], value: Any, path: str) -> str:
    if value not in choices:
        hint = suggest(str(value), choices)
        raise UserError(f"{path} is {value!r} but must be one of {', '.join(choices)}{hint}")
    return typing.cast(str, value)


def _name(hint: type) -> str:
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    return words.get(hint, hint.__name__)


@dataclasses.dataclass(frozen=True)
class _Rule:
    field: str
    holds: typing.Callable[[Any], bool]
    need: str


def _at_least(field: str, low: float) -> _Rule:
    return _Rule(field, lambda value: value >= low, f"{low} or more")


def _share(field: str) -> _Rule:
    return _Rule(field, lambda value: 0 <= value <= 1, "between 0 and 1")


_RULES = (
    _Rule("name", lambda value: bool(value.strip()), "a name for the run"),
    # Random keys have 32 bits: larger seeds would silently give the draws of smaller ones.
    _Rule("seed", lambda value: 0 <= value < 2**32, "between 0 and 4294967295"),
    _Rule("data.part_labels", bool, "required, bands, none, or the folder of part labels"),
    _Rule("data.train", bool, "the name of a dataset, such as market1501"),
    _at_least("data.identities_per_batch", 2),
    _at_least("data.images_per_identity", 2),
    _at_least("data.workers", 0),
    _at_least("model.num_parts", 2),
    _at_least("model.parsing_features", 1),
    _share("augment.flip"),
    _share("augment.erasing"),
    _at_least("augment.pad", 0),
    _Rule(
        "augment.erasing_area",
        lambda value: 0 <= value[0] <= value[1] <= 1,
        "the least and the largest share, between 0 and 1",
    ),
    _Rule("augment.erasing_aspect", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    _at_least("loss.parsing", 0),
    _at_least("loss.parts", 0),
    _at_least("loss.diversity", 0),
    _at_least("loss.diversity_start_epoch", 0),
    _Rule("optimizer.learning_rate", lambda value: value > 0, "above 0"),
    _at_least("optimizer.l2", 0),
    _Rule("optimizer.momentum", lambda value: 0 <= value < 1, "0 or more and below 1"),
    _at_least("optimizer.warmup_epochs", 0),
    _share("optimizer.warmup_factor"),
    _Rule(
        "optimizer.decay_epochs",
        lambda value: all(epoch >= 1 for epoch in value),
        "epochs from 1 on",
    ),
    _Rule("optimizer.decay_factor", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    _at_least("train.epochs", 1),
    _at_least("train.max_steps", 0),
    _at_least("train.log_every_steps", 1),
    _at_least("train.evaluate_every_epochs", 0),
    _at_least("train.checkpoint_every_steps", 1),
    # The loss of the step after it shows whether the newest one was still sound.
    _at_least("train.keep_checkpoints", 2),
    _at_least("evaluate.batch_size", 1),
    _at_least("evaluate.max_rank", 1),
    _at_least("evaluate.query_expansion", 0),
    _at_least("evaluate.query_expansion_alpha", 0),
    _at_least("evaluate.rerank_k1", 1),
    _at_least("evaluate.rerank_k2", 1),
    _share("evaluate.rerank_lambda"),
)


def _check(config: Config) -> None:
    for rule in _RULES:
        value: Any = config
        for name in rule.field.split("."):
            value = getattr(value, name)
        if not rule.holds(value):
            raise UserError(f"config.{rule.field} is {value!r} but must be {rule.need}.")
    _choice(tuple(BACKBONES), config.model.backbone, "config.model.backbone")
    _check_together(config)


def _check_together(config: Config) -> None:
    model, data, occlusion = config.model, config.data, config.occlusion
    stride = BACKBONES[model.backbone].trunk_stride
    if any(side <= 0 or side % stride for side in data.image_size):
        raise UserError(
            f"config.data.image_size is {data.image_size} but both sides must be multiples of "
            f"{stride} for {model.backbone}."
        )
    if config.augment.pad >= min(data.image_size):
        raise UserError(
            f"config.augment.pad is {config.augment.pad} but must be less than the shorter side of "
            f"config.data.image_size, {min(data.image_size)}."
        )
    if not (model.use_global or model.use_adversarial or model.use_fusion):
        raise UserError("config.model switches every branch off; leave at least one on.")
    if model.use_fusion and not model.use_parsing:
        raise UserError("config.model.use_fusion needs config.model.use_parsing.")
    needs = model.use_fusion or model.use_parsing or (model.use_adversarial and occlusion.enabled)
    if needs and data.part_labels == "none":
        raise UserError(
            "config.data.part_labels is 'none', but the parsing head, the fusion branch and "
            "semantic occlusion learn from part labels: use 'required' or 'bands', or switch "
            "them off."
        )
    _check_occlusion(occlusion, num_parts=model.num_parts)


def _check_occlusion(occlusion: OcclusionConfig, *, num_parts: int) -> None:
    both = occlusion.upper_parts + occlusion.lower_parts
    if len(set(both)) != len(both):
        raise UserError(
            f"config.occlusion names a part twice: {occlusion.upper_parts}, {occlusion.lower_parts}"
        )
    for group in occlusion.groups:
        if not 0 <= group.count <= len(group.parts):
            raise UserError(
                f"config.occlusion cannot hide {group.count} of the parts {group.parts}."
            )
        if any(not 0 <= part < num_parts for part in group.parts):
            raise UserError(
                f"config.occlusion names parts {group.parts}, but there are only 0…{num_parts - 1}."
            )
