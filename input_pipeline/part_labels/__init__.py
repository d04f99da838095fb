"""Part labels: finding, converting, standing in for and looking at them."""

from input_pipeline.part_labels.bands import draw_bands, with_bands
from input_pipeline.part_labels.choice import (
    attach,
    choose_part_labels,
    require_part_maps,
    without_part_maps,
)
from input_pipeline.part_labels.conversion import convert_tree
from input_pipeline.part_labels.formats import FORMATS, LabelFormat, find_format

__all__ = [
    "FORMATS",
    "LabelFormat",
    "attach",
    "choose_part_labels",
    "convert_tree",
    "draw_bands",
    "find_format",
    "require_part_maps",
    "with_bands",
    "without_part_maps",
]
