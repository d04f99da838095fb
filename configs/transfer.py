"""What helps on cameras and backgrounds that training has not seen: `configs/transfer.py:<row>`.

A small network learns from drawn people under half of the camera and background styles of the
preset `worlds`, and is measured on other people under the other half. Each row adds one thing to
`baseline`, which is the published recipe at this size:

    baseline    nothing
    color       random changes of color, gray images and blur
    erasing     random erasing
    ibn         half of the channels of three stages normalized by instance (IBN-a)
    ibn_mix     ibn, and styles of early features mixed between images (MixStyle)
    stem        the stem normalized by instance
    average     a learning rate along half a cosine, and the mean of the weights
    circle      the circle loss beside the triplet loss
    all         color, ibn, stem, average and circle
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default, quickstart

ROWS = ("baseline", "color", "erasing", "ibn", "ibn_mix", "stem", "average", "circle", "all")
SEEN = (
    "overcast+sunny+mall+subway+phone+faded",
    "bricks+shops+park+tiles+facade+traffic",
)
"""Styles of cameras and of backgrounds to learn from."""
UNSEEN = (
    "dusk+night+dome+analog+haze+backlit",
    "plaza+corridor+lawn+crossing+railing+glass+clutter",
)
"""Those to be measured on."""
_NOT_MEASURED = {"test_identities": 1, "distractor_identities": 0}


def drawn(styles: tuple[str, str], **settings: int) -> str:
    """The spec of a dataset of these styles; `settings` are those of `SyntheticSettings`."""
    cameras, backdrops = styles
    given = {"camera_styles": cameras, "backdrop_styles": backdrops, **settings}
    return ":".join(["synthetic:worlds", *(f"{name}={value}" for name, value in given.items())])


def get_config(row: str = "all") -> ConfigDict:
    """One row of the table.

    Raises:
        ValueError: There is no such row.
    """
    if row not in ROWS:
        raise ValueError(f"There is no row {row!r}: choose one of {', '.join(ROWS)}.")
    train = drawn(SEEN, train_identities=500, seed=1, **_NOT_MEASURED)
    config = quickstart.small(default.get_config(), name=f"transfer_{row}", data=train)
    config.data.test = drawn(UNSEEN, train_identities=1, test_identities=150, seed=2)
    config.train.epochs = 8
    config.optimizer.decay_epochs = (6,)
    if row in ("color", "all"):
        vary_colors(config)
    if row == "erasing":
        config.augment.erasing = 0.5
    if row == "ibn_mix":
        config.augment.mix_styles = 0.5
    if row in ("ibn", "ibn_mix", "all"):
        config.model.backbone = "small_ibn_a"
    if row in ("stem", "all"):
        config.model.stem_norm = "instance"
    if row in ("average", "all"):
        config.optimizer.schedule = "cosine"
        config.optimizer.ema_decay = 0.995
    if row in ("circle", "all"):
        config.loss.circle = 1.0
    return config


def vary_colors(config: ConfigDict) -> None:
    """Varies colors as other cameras would."""
    config.augment.jitter = 0.8
    config.augment.gray = 0.1
    config.augment.blur = 0.2
