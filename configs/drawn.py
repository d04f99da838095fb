"""The network that comes with the package, `mj.load("drawn")`: drawn people alone, varied ones."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import default, transfer

_PEOPLE = "synthetic:worlds:train_identities=5000:test_identities=100:distractor_identities=0"


def get_config() -> ConfigDict:
    """A slim ResNet-18 with all branches on 128 × 64 images, made to transfer."""
    config = default.get_config()
    config.name = "drawn"
    config.data.train = _PEOPLE
    config.data.image_size = (128, 64)
    config.data.placement = "device"
    config.model.backbone = "slim_ibn_a"
    config.model.stem_relu = True
    config.model.parsing_features = 64
    config.augment.pad = 5
    config.augment.erasing = 0.3
    transfer.vary_colors(config)
    config.optimizer.learning_rate = 1.5e-3
    config.optimizer.warmup_epochs = 1
    config.optimizer.warmup_factor = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.ema_decay = 0.995
    config.loss.circle = 1.0
    config.train.epochs = 6
    config.train.evaluate_every_epochs = 3
    config.train.checkpoint_every_steps = 250
    config.evaluate.flip = True
    return config
