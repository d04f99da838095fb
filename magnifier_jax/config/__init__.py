"""The configuration: every setting is declared once, in `sections`; `config` is the whole."""

from magnifier_jax.config.config import Config, default_config, field_table
from magnifier_jax.config.sections import DataConfig, EvaluateConfig, ModelConfig
from magnifier_jax.settings import suggest

__all__ = [
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "ModelConfig",
    "default_config",
    "field_table",
    "suggest",
]
