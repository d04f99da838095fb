"""The configuration: every setting with its type, default, range and meaning, declared once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

from input_pipeline.errors import UserError
from magnifier_jax.model import BACKBONES, OcclusionGroup
from magnifier_jax.settings import about, read_section, setting, suggest, table
from magnifier_jax.training.augmentation import AugmentSettings
from magnifier_jax.training.losses import LossWeights

__all__ = ["Config", "DataConfig", "EvaluateConfig", "default_config", "field_table", "suggest"]

_EPOCHS = 100_000
_STEPS = 2**31 - 1  # A step is counted in 32 bits.
_BATCH = 2**16  # images
_LARGEST_INPUT = 2**38  # bytes of one batch as float32
_SMALLEST_RATE = 1e-12  # What is smaller changes no float32 parameter.


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they become batches."""

    train: str = setting(
        "market1501",
        "What to train on: 'name', 'name:variant' or 'name:variant@folder'; several, separated by "
        "commas, are trained on together.",
        holds=lambda value: bool(value.strip()),
        need="the name of a dataset, such as market1501",
    )
    test: str = setting(
        "",
        "What to evaluate on, written alike; '' is the training sets, each on its own line, and "
        "'none' trains without evaluation.",
    )
    root: str = setting(
        "", "Folder that holds the datasets' own folders; '~' and variables are expanded."
    )
    allow_outside: bool = setting(
        False, "Whether a CSV file may name images outside its own folder.", added=True
    )
    prepared: str = setting("", "Where prepared datasets are kept; '' is the user's cache folder.")
    part_labels: str = setting(
        "required",
        "'required' stops where part maps are missing, 'bands' uses fixed body bands instead, "
        "'drawn' makes them with the parser of this package, once, "
        "'pose' makes them with the network of part_label_model, once, "
        "'none' goes without (only for networks that need none); or the folder of part labels that "
        "lie elsewhere, 'folder' or 'format:folder' (see docs/part_labels.md).",
        holds=lambda value: bool(value.strip()),
        need="required, drawn, pose, bands, none, or the folder of part labels",
    )
    part_label_model: str = setting(
        "",
        "The pose network that 'pose' uses: a .tflite file, or an archive that holds one.",
        added=True,
    )
    images_without_map: Literal["listed", "keep", "drop"] = setting(
        "listed",
        "Training images without a part map: 'listed' keeps those in which a labeler found nobody "
        "(its labels.json lists them) and stops at others; 'keep' keeps all: the branches that "
        "need part maps do not see them; 'drop' leaves all out.",
        added=True,
    )
    image_size: tuple[int, int] = setting(
        (384, 192), "Height and width of the network's input, in pixels.", low=1, high=8192
    )
    placement: Literal["stream", "device"] = setting(
        "stream",
        "'stream' decodes on the host all the time (tf.data); 'device' decodes a split once and "
        "keeps it on the devices as uint8 (12,936 images of 384 × 192 take 3.8 GB; no TensorFlow).",
    )
    identities_per_batch: int = setting(16, "A batch is this many identities …", low=2, high=_BATCH)
    images_per_identity: int = setting(4, "… times this many images of each.", low=2, high=_BATCH)
    workers: int = setting(
        0, "Threads that decode images; 0 is one per processor.", low=0, high=1024
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    backbone: str = setting(
        "resnet50",
        "'resnet18', 'resnet34', 'resnet50', 'resnet101', 'slim' (half of ResNet-18's width), "
        "'small' (for 64 × 32 images on a CPU) or 'tiny' (for tests); each but "
        "'resnet101' with '_ibn_a' after it too, which normalizes half of the channels by instance "
        "and transfers better to other cameras.",
        choices=tuple(BACKBONES),
    )
    stem_relu: bool = setting(
        False, "Whether a ReLU follows the stem. The published network has none."
    )
    stem_norm: Literal["batch", "instance"] = setting(
        "batch",
        "'batch', or 'instance': the stem's norm sees each image alone, so that a camera's color "
        "cast and contrast are gone after it.",
        added=True,
    )
    # Part maps are stored in 8 bits.
    num_parts: int = setting(8, "Part classes, background included.", low=2, high=255)
    use_global: bool = setting(True, "The global branch.")
    use_adversarial: bool = setting(True, "The semantic adversarial branch (SAB).")
    use_fusion: bool = setting(True, "The semantic fusion branch (SFB); needs the parsing head.")
    use_parsing: bool = setting(True, "The part-parsing head.")
    parsing_features: int = setting(
        256, "Channels inside the part-parsing head.", low=1, high=16_384
    )


@dataclasses.dataclass(frozen=True)
class OcclusionConfig:
    """Which parts semantic occlusion hides."""

    enabled: bool = setting(
        True, "Whether the adversarial branch's features have parts hidden in training."
    )
    per_picture: bool = setting(
        False, "False hides the same parts in the whole batch, as published; True draws per image."
    )
    upper_parts: tuple[int, ...] = setting(
        (1, 2, 3, 4),
        "Parts of the upper body (head, torso, upper arm, lower arm) …",
        low=0,
        high=254,
    )
    upper_count: int = setting(2, "… of which so many are hidden.", low=0, high=254)
    lower_parts: tuple[int, ...] = setting(
        (5, 6, 7), "Parts of the lower body (upper leg, lower leg, foot) …", low=0, high=254
    )
    lower_count: int = setting(1, "… of which so many are hidden.", low=0, high=254)

    @property
    def groups(self) -> tuple[OcclusionGroup, ...]:
        """The two groups that parts are drawn from."""
        return (
            OcclusionGroup(self.upper_parts, self.upper_count),
            OcclusionGroup(self.lower_parts, self.lower_count),
        )


@dataclasses.dataclass(frozen=True)
class LossConfig(LossWeights):
    """How much each loss term counts, and from when."""

    diversity_start_epoch: int = setting(
        0,
        "Epochs before the diversity loss counts. The published models were trained without it "
        "first and with it late.",
        low=0,
        high=_EPOCHS,
    )

    @property
    def weights(self) -> LossWeights:
        """The factors alone."""
        return self


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move."""

    schedule: Literal["steps", "cosine"] = setting(
        "steps",
        "'steps' multiplies the learning rate at decay_epochs; 'cosine' brings it to 0 along half "
        "a cosine from the end of warm-up to that of train.epochs.",
        added=True,
    )
    ema_decay: float = setting(
        0.0,
        "What is evaluated and kept is a mean of the weights of all steps, in which a step counts "
        "for so much less than the next one, such as 0.999; 0 keeps the last step's weights.",
        low=0,
        high=0.999999,
        need="0, or below 1 (to 0.999999)",
        added=True,
    )
    name: Literal["adam", "sgd"] = setting("adam", "'adam' or 'sgd'.")
    learning_rate: float = setting(
        3.5e-4,
        "The learning rate after warm-up.",
        low=_SMALLEST_RATE,
        high=1000.0,
        need=f"above 0: from {_SMALLEST_RATE} to 1000",
    )
    l2: float = setting(
        5e-4,
        "L2 penalty, added to the gradient of every trained tensor (not decoupled as in AdamW).",
        low=0,
        high=10,
    )
    # Closer to 1 than this, float32 has no room between the steps.
    momentum: float = setting(
        0.9, "Momentum of 'sgd'.", low=0, high=0.99999, need="0 or more and below 1 (to 0.99999)"
    )
    warmup_epochs: int = setting(10, "Epochs of linear warm-up …", low=0, high=_EPOCHS)
    warmup_factor: float = setting(
        0.01, "… from this share of the learning rate.", low=0, high=1, need="between 0 and 1"
    )
    decay_epochs: tuple[int, ...] = setting(
        (40, 70),
        "Epochs after which the learning rate is multiplied by decay_factor, in ascending order.",
        low=1,
        high=_EPOCHS,
        need=f"epochs from 1 on, to {_EPOCHS}",
    )
    decay_factor: float = setting(
        0.1, "See decay_epochs.", low=1e-9, high=1, need="above 0 and at most 1"
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, and what is kept."""

    epochs: int = setting(120, "Passes over the training identities.", low=1, high=_EPOCHS)
    max_steps: int = setting(
        0,
        "Stops after so many steps, before the epochs are over; 0 is no such limit.",
        low=0,
        high=_STEPS,
    )
    log_every_steps: int = setting(10, "Steps between lines of metrics.jsonl.", low=1, high=_STEPS)
    evaluate_every_epochs: int = setting(
        20, "Epochs between evaluations; 0 evaluates at the end only.", low=0, high=_EPOCHS
    )
    checkpoint_every_steps: int = setting(
        500,
        "Steps between checkpoints; there is always one at an evaluation and at the end.",
        low=1,
        high=_STEPS,
    )
    # The loss of the step after it shows whether the newest one was still sound.
    keep_checkpoints: int = setting(
        2,
        "How many of the latest checkpoints are kept, 2 or more, beside the best by mAP.",
        low=2,
        high=100_000,
    )
    keep_activations: Literal["all", "blocks", "stages"] = setting(
        "all",
        "What a step keeps of the forward pass for the gradient: 'all', or only the inputs of the "
        "'blocks' or of the 'stages', from which the rest is computed again. The numbers are the "
        "same to rounding; a step takes less memory and more time (see docs/devices.md).",
        added=True,
    )


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How test images are embedded and ranked."""

    batch_size: int = setting(128, "Images embedded at a time.", low=1, high=_BATCH)
    max_rank: int = setting(50, "Length of the CMC curve.", low=1, high=100_000)
    distance: Literal["euclidean", "cosine"] = setting(
        "euclidean",
        "'euclidean' or 'cosine'; the same order for descriptors of unit length.",
    )
    camera_filter: bool = setting(
        True,
        "Whether gallery images of the query's identity and camera are ignored. Images of unknown "
        "cameras never are; switch it off for data of one camera.",
    )
    average_precision: Literal["rectangular", "trapezoid"] = setting(
        "rectangular",
        "'rectangular' (most toolboxes) or 'trapezoid' (the original MATLAB code of Market-1501).",
    )
    by_tracklet: Literal["auto", "always", "never"] = setting(
        "auto",
        "Whether the images of a tracklet become one descriptor before ranking: 'auto' where the "
        "test set's protocol ranks tracklets (mars, ilids_vid), 'always' wherever tracklets are "
        "known, or 'never'.",
        added=True,
    )
    tracklet_weights: Literal["visible", "uniform"] = setting(
        "visible",
        "'visible' weighs an image of a tracklet by how many parts it shows, 'uniform' weighs all "
        "alike.",
        added=True,
    )
    flip: bool = setting(
        False,
        "Whether an image's descriptor is the mean of its own and its mirror image's; a second "
        "line of results, and what query expansion and re-ranking start from.",
    )
    query_expansion: int = setting(
        0,
        "Neighbors that query expansion averages, which gives a line of its own; 0 for none.",
        low=0,
        high=10_000,
    )
    query_expansion_alpha: float = setting(
        3.0, "Power of the similarity that weights them.", low=0, high=100
    )
    open_set: bool = setting(
        False,
        "Whether to measure too how queries of people who are not in the gallery are told from "
        "others, with half of the people taken out of it.",
        added=True,
    )
    rerank: bool = setting(False, "Whether k-reciprocal re-ranking gives a line of its own.")
    rerank_k1: int = setting(20, "Neighbors that are looked at for each image.", low=1, high=10_000)
    rerank_k2: int = setting(
        6, "Neighbors whose sets of neighbors are averaged.", low=1, high=10_000
    )
    rerank_lambda: float = setting(
        0.3,
        "Share of the original distance in the one that is ranked by.",
        low=0,
        high=1,
        need="between 0 and 1",
    )


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Weights to start from."""

    backbone: str = setting(
        "",
        "Weights of a ResNet to start from (.pth, .pt or .safetensors with torchvision's or timm's "
        "names); '' starts from random ones.",
    )
    checkpoint: str = setting(
        "",
        "Weights of a whole MagnifierNet to start from: a file with the original's PyTorch names, "
        "a work directory of ours, or a network that comes with the package ('drawn'). Classifiers "
        "are kept of the people that it knows by name; the others start afresh.",
    )
    prefix: str = setting(
        "",
        "Which network of such a file, where it holds several: what stands before its tensors' "
        "names, such as 'encoder_q' or 'teacher.backbone'.",
        added=True,
    )


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
        if images > _BATCH or images * height * width * 3 * 4 > _LARGEST_INPUT:
            raise UserError(
                f"config.{field} gives batches of {images:,} images of {height} × {width} pixels, "
                f"which fit no device: choose up to {_BATCH:,} images and 256 GiB."
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
