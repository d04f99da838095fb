"""The network: a ResNet trunk with a global, a semantic adversarial and a semantic fusion branch."""

from magnifier_jax.model.magnifier import MagnifierNet, Outputs
from magnifier_jax.model.occlusion import OcclusionGroup, draw_occluded_parts, visibility_mask
from magnifier_jax.model.resnet import BACKBONES, Backbone, BackboneSpec

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneSpec",
    "MagnifierNet",
    "OcclusionGroup",
    "Outputs",
    "draw_occluded_parts",
    "visibility_mask",
]
