"""The network: a ResNet trunk with global, semantic adversarial and semantic fusion branches."""

from magnifier_jax.model.magnifier import MagnifierNet, Outputs, classifies_identities
from magnifier_jax.model.occlusion import OcclusionGroup, draw_occluded_parts, visibility_mask
from magnifier_jax.model.resnet import BACKBONES, Backbone, BackboneSpec
from magnifier_jax.model.styles import StyleMix, draw_style_mix

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneSpec",
    "MagnifierNet",
    "OcclusionGroup",
    "Outputs",
    "StyleMix",
    "classifies_identities",
    "draw_occluded_parts",
    "draw_style_mix",
    "visibility_mask",
]
