"""Shapes of every backbone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from magnifier_jax.model import BACKBONES, Backbone

# Parameters of torchvision's models without their classifier of 1000 classes.
PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
}


def shapes(name: str, height: int, width: int) -> tuple:
    backbone = Backbone(BACKBONES[name])

    def run(images: jax.Array) -> tuple:
        return backbone.init_with_output(jax.random.key(0), images, train=True)

    return jax.eval_shape(run, jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32))


@pytest.mark.parametrize("name", [name for name in BACKBONES if not name.endswith("_ibn_a")])
@pytest.mark.parametrize("cells", [(1, 1), (3, 2), (4, 7)])
def test_feature_maps(name: str, cells: tuple[int, int]) -> None:
    spec = BACKBONES[name]
    (trunk, last), _ = shapes(name, cells[0] * spec.trunk_stride, cells[1] * spec.trunk_stride)
    assert trunk.shape == (2, *cells, spec.trunk_channels)
    assert last.shape == (2, *cells, 2 * spec.trunk_channels)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_stride_of_published_backbones(name: str) -> None:
    assert BACKBONES[name].trunk_stride == 16
    assert BACKBONES[name].label_stride == 8


@pytest.mark.parametrize("name", [*PARAMETERS, "resnet50_ibn_a"])
def test_parameters_of_torchvision(name: str) -> None:
    """IBN-a has a scale and a bias of each channel too."""
    _, variables = shapes(name, 32, 16)
    sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
    assert sum(sizes) == PARAMETERS[name.removesuffix("_ibn_a")]


def test_instance_norms_are_in_the_first_three_stages() -> None:
    _, variables = shapes("resnet18_ibn_a", 32, 16)
    norms = {
        name: sorted(block["norm1"])
        for name, block in variables["params"].items()
        if name.startswith("layer")
    }
    halves, whole = ["batch", "instance"], ["bias", "scale"]
    assert norms == {
        f"layer{stage}_{index}": whole if stage == 4 else halves
        for stage in (1, 2, 3, 4)
        for index in (0, 1)
    }


def test_a_stem_that_normalizes_by_instance_keeps_no_statistics() -> None:
    spec = dataclasses.replace(BACKBONES["tiny"], stem_norm="instance")
    image = jax.ShapeDtypeStruct((1, 16, 8, 3), jnp.float32)
    found = jax.eval_shape(
        lambda image: Backbone(spec).init(jax.random.key(0), image, train=False), image
    )
    assert set(found["params"]["norm1"]) == {"scale", "bias"}
    assert "norm1" not in found["batch_stats"]
