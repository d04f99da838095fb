"""The part parser that comes with the package, and how it was trained on drawn people."""

from input_pipeline.part_labels.drawn.labeler import DrawnLabeler

__all__ = ["DrawnLabeler"]
