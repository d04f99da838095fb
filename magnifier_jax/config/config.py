"""The whole configuration of a run, and what of it cannot go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

from input_pipeline.errors import UserError
from magnifier_jax.config.sections import (
    MOST_IMAGES,
    DataConfig,
    EvaluateConfig,
    InitConfig,
    LossConfig,
    ModelConfig,
    OcclusionConfig,
    OptimizerConfig,
    TrainConfig,
)
from magnifier_jax.model import BACKBONES
from magnifier_jax.settings import about, read_section, setting, table
from magnifier_jax.training.augmentation import AugmentSettings

_LARGEST_INPUT = 2**38  # bytes of one batch as float32


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    name: str = setting(
        "default",
        "Names the run in tables and reports, and its folder under runs/.",
        holds=lambda value: (
            bool(value.strip())
            and len(value) <= 200
            and value.isprintable()
            and value not in (".", "..")
            and not set(value) & set("/\\")
        ),
        need="a name for the run, of up to 200 characters and without slashes",
    )
    # Random keys have 32 bits: larger seeds would silently give the draws of smaller ones.
    seed: int = setting(
        0,
        "Decides everything random: weights, batches, augmentation, occlusion; below 2³².",
        low=0,
        high=2**32 - 1,
        need=f"between 0 and {2**32 - 1}",
    )
    precision: Literal["float32", "bf16"] = setting(
        "float32",
        "'float32', or 'bf16': heavy computations in bfloat16; parameters, statistics, losses, "
        "embeddings and distances stay float32.",
    )
    data: DataConfig = dataclasses.field(
        default_factory=DataConfig, metadata=about("Which images, and how they become batches.")
    )
    model: ModelConfig = dataclasses.field(
        default_factory=ModelConfig, metadata=about("Which network.")
    )
    occlusion: OcclusionConfig = dataclasses.field(
        default_factory=OcclusionConfig, metadata=about("Which parts semantic occlusion hides.")
    )
    augment: AugmentSettings = dataclasses.field(
        default_factory=AugmentSettings, metadata=about("How training images are varied.")
    )
    loss: LossConfig = dataclasses.field(
        default_factory=LossConfig, metadata=about("How much each loss term counts, and from when.")
    )
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=OptimizerConfig, metadata=about("How parameters move.")
    )
    train: TrainConfig = dataclasses.field(
        default_factory=TrainConfig, metadata=about("How long, and what is kept.")
    )
    evaluate: EvaluateConfig = dataclasses.field(
        default_factory=EvaluateConfig, metadata=about("How test images are embedded and ranked.")
    )
    init: InitConfig = dataclasses.field(
        default_factory=InitConfig, metadata=about("Weights to start from.")
    )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, stored: bool = False) -> Config:
        """Reads and checks a `ConfigDict`, or what `to_mapping` made.

        Args:
            mapping: Values by name, in sections.
            stored: Whether it comes from a checkpoint: what makes no sense in a new run is then no
                reason not to read it.

        Raises:
            UserError: A field is unknown, missing, or has a value that cannot work.
        """
        config = read_section(cls, mapping, "config")
        _refuse_impossible(config)
        if not stored:
            _refuse_senseless(config)
        return config

    def to_mapping(self) -> dict[str, Any]:
        """Plain dictionaries and tuples, for JSON."""
        return dataclasses.asdict(self)


def default_config() -> ConfigDict:
    """Every field with its default, to be changed by configuration files and flags."""
    return ConfigDict(Config().to_mapping())


def field_table() -> str:
    """Every field with its default and meaning, as a Markdown table."""
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for name, default, comment in table(Config):
        lines.append(f"| `{name}` | {f'`{default}`' if default else ''} | {comment} |")
    return "\n".join(lines) + "\n"


def _refuse_impossible(config: Config) -> None:
    """What no network can be built from, or no batch be made."""
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
            "semantic occlusion learn from part labels: use 'required' or 'drawn', or switch "
            "them off."
        )
    both = occlusion.upper_parts + occlusion.lower_parts
    if len(set(both)) != len(both):
        raise UserError(
            "config.occlusion.upper_parts and config.occlusion.lower_parts name a part twice: "
            f"{occlusion.upper_parts}, {occlusion.lower_parts}"
        )
    for side, group in zip(("upper", "lower"), occlusion.groups, strict=True):
        if group.count > len(group.parts):
            raise UserError(
                f"config.occlusion.{side}_count cannot hide {group.count} of the parts "
                f"{group.parts} of config.occlusion.{side}_parts."
            )
        if any(not 0 <= part < model.num_parts for part in group.parts):
            raise UserError(
                f"config.occlusion.{side}_parts names parts {group.parts}, but there are only "
                f"0…{model.num_parts - 1}."
            )


def _refuse_senseless(config: Config) -> None:
    """What could be computed, but cannot be meant."""
    data, occlusion = config.data, config.occlusion
    height, width = data.image_size
    batch = data.identities_per_batch * data.images_per_identity
    for field, images in (
        ("data.identities_per_batch × images_per_identity", batch),
        ("evaluate.batch_size", config.evaluate.batch_size),
    ):
        if images > MOST_IMAGES or images * height * width * 3 * 4 > _LARGEST_INPUT:
            raise UserError(
                f"config.{field} gives batches of {images:,} images of {height} × {width} pixels, "
                f"which fit no device: choose up to {MOST_IMAGES:,} images and 256 GiB."
            )
    epochs = config.optimizer.decay_epochs
    if list(epochs) != sorted(set(epochs)):
        raise UserError(
            f"config.optimizer.decay_epochs is {epochs} but must be in ascending order, each once."
        )
    foreground = set(range(1, config.model.num_parts))
    hidden = sum(min(group.count, len(foreground & set(group.parts))) for group in occlusion.groups)
    if occlusion.enabled and hidden >= len(foreground):
        raise UserError(
            "config.occlusion.upper_count and lower_count hide all "
            f"{len(foreground)} parts of a person: leave at least one."
        )
    area = config.augment.erasing_area[1] * height * width
    if config.augment.erasing and area < 1:
        raise UserError(
            f"config.augment.erasing_area is {config.augment.erasing_area}, which erases less "
            "than one pixel: raise it, or set config.augment.erasing=0."
        )
    if config.init.prefix and not (config.init.backbone or config.init.checkpoint):
        raise UserError(
            "config.init.prefix chooses a network in a file: give config.init.backbone or "
            "config.init.checkpoint too."
        )
