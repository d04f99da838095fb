"""Where in two images the features lie that make them alike, branch by branch.

The similarity of two descriptors is a sum over branches of inner products. Each is spread over the
cells of the feature map that its branch pools: the gradient of the inner product with respect to
the map, times the map, summed over channels. Where the branch is linear from there on (average
pooling, 1×1 convolution, batch norm) or picks one cell a channel (max pooling), that is the exact
decomposition of Stylianou et al., "Visualizing Deep Similarity Networks", WACV 2019, up to a
constant; through the LSTM of the fusion branch it is its first order, as the gradients of Selvaraju
et al., "Grad-CAM", ICCV 2017.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from magnifier_jax.config import Config
from magnifier_jax.evaluation.branches import ADVERSARIAL, FUSION, GLOBAL, branch_slices
from magnifier_jax.model import MagnifierNet, Outputs
from magnifier_jax.training.augmentation import normalize

HeatFunction = Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]


@functools.lru_cache(maxsize=16)
def make_heat(config: Config, model: MagnifierNet) -> HeatFunction:
    """A jitted `heat(variables, images, others) -> heat maps by branch`; one for equal arguments.

    `images` is uint8 `[N, H, W, 3]`, `others` float32 `[N, D]`: the descriptor, of unit length,
    that each image is compared with. A heat map is float32 `[N, h, w]`: how much each cell adds to
    the cosine of the two descriptors, negative where it takes away.
    """
    columns = branch_slices(config)

    @jax.jit
    def heat(variables: Any, images: jax.Array, others: jax.Array) -> dict[str, jax.Array]:
        pixels = normalize(images)
        shapes = jax.eval_shape(lambda: _features(model, variables, pixels, {})[1])
        nudges = {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}

        def cosine(nudges: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            outputs, features = _features(model, variables, pixels, nudges)
            descriptor = outputs.descriptor.astype(jnp.float32)
            # The length is a number that all branches share, not something to climb.
            length = jnp.linalg.norm(jax.lax.stop_gradient(descriptor), axis=1, keepdims=True)
            return (descriptor / jnp.maximum(length, 1e-12) * others).sum(), features

        gradients, features = jax.grad(cosine, has_aux=True)(nudges)
        return {
            name: (gradients[name] * features[name]).astype(jnp.float32).sum(-1)
            for name in columns
            if name in features
        }

    return cast(HeatFunction, heat)


def _features(
    model: MagnifierNet, variables: Any, images: jax.Array, nudges: Mapping[str, jax.Array]
) -> tuple[Outputs, dict[str, jax.Array]]:
    """Runs the network, and keeps the map `[N, h, w, C]` that each branch pools, plus its nudge."""
    found: dict[str, jax.Array] = {}

    def keep(name: str, features: jax.Array) -> jax.Array:
        if name in nudges:
            features = features + nudges[name]
        found[name] = features
        return features

    def intercept(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        path = context.module.path
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if path == ("global_branch",):
            return call(keep(GLOBAL, args[0]), *args[1:], **kwargs)
        for name in (ADVERSARIAL, FUSION):
            if path == (name, "bottleneck"):
                return keep(name, call(*args, **kwargs))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        outputs = cast(Outputs, model.apply(variables, images, train=False))
    return outputs, found


def stretch(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A heat map `[h, w]` smoothly at another size, float32 `[H, W]`."""
    from PIL import Image

    height, width = size
    image = Image.fromarray(np.asarray(heat, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
