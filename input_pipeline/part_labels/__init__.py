"""Part labels: finding, converting, standing in for and looking at them."""

from input_pipeline.part_labels.bands import draw_bands, with_bands
from input_pipeline.part_labels.choice import (
    attach,
    choose_part_labels,
    label_once,
    without_part_maps,
)
from input_pipeline.part_labels.conversion import convert_tree
from input_pipeline.part_labels.formats import FORMATS, LabelFormat, find_format
from input_pipeline.part_labels.gaps import accept_gaps
from input_pipeline.part_labels.label_tree import LabelTree, read_label_tree, write_labels
from input_pipeline.part_labels.labelers import LabeledImage, PartLabeler

__all__ = [
    "FORMATS",
    "LabelFormat",
    "LabelTree",
    "LabeledImage",
    "PartLabeler",
    "accept_gaps",
    "attach",
    "choose_part_labels",
    "convert_tree",
    "draw_bands",
    "find_format",
    "label_once",
    "read_label_tree",
    "with_bands",
    "without_part_maps",
    "write_labels",
]
