"""Part labels from key points: of a pose network, or of anybody's files."""

from input_pipeline.part_labels.pose.labeler import PoseLabeler
from input_pipeline.part_labels.pose.model_file import PoseModel, find_pose_model
from input_pipeline.part_labels.pose.points import draw_parts
from input_pipeline.part_labels.pose.skeletons import CONVENTIONS, Skeleton, skeleton_of

__all__ = [
    "CONVENTIONS",
    "PoseLabeler",
    "PoseModel",
    "Skeleton",
    "draw_parts",
    "find_pose_model",
    "skeleton_of",
]
