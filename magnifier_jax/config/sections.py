"""The sections of the configuration: every setting with its type, default, range and meaning."""

from __future__ import annotations

import dataclasses
from typing import Literal

from magnifier_jax.model import BACKBONES, OcclusionGroup
from magnifier_jax.settings import setting
from magnifier_jax.training.losses import LossWeights

MOST_IMAGES = 2**16
"""Images at a time, at most."""
_EPOCHS = 100_000
_STEPS = 2**31 - 1  # A step is counted in 32 bits.
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
    identities_per_batch: int = setting(
        16, "A batch is this many identities …", low=2, high=MOST_IMAGES
    )
    images_per_identity: int = setting(
        4, "… times this many images of each.", low=2, high=MOST_IMAGES
    )
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

    batch_size: int = setting(128, "Images embedded at a time.", low=1, high=MOST_IMAGES)
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
