"""Procedurally drawn pedestrians with exact part maps: a dataset that needs no download."""

from input_pipeline.synthetic.generate import generate
from input_pipeline.synthetic.settings import PRESETS, SyntheticSettings

__all__ = ["PRESETS", "SyntheticSettings", "generate"]
