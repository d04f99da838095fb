"""Networks to export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import Trained, load_trained
from magnifier_jax.training.step import build_model


@pytest.fixture(scope="session")
def trained(tiny_run):
    """The network of `tiny_run`."""
    return load_trained(tiny_run.workdir.path, make_mesh())


def random_network(
    backbone, *, precision="float32", stem_relu=True, stem_norm="batch", parsing_features=8
):
    """A network with random weights and statistics, as no few steps of training would give."""
    config = quickstart.get_config()
    config.model.backbone = backbone
    config.model.parsing_features = parsing_features
    config.model.stem_relu = stem_relu
    config.model.stem_norm = stem_norm
    config.precision = precision
    config = Config.from_mapping(config.to_dict())
    model = build_model(config, num_identities=3)
    height, width = config.data.image_size
    example = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda key, images: model.init(key, images, train=False), jax.random.key(0), example
    )
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        spread = np.sqrt(2 / fan_in) if "kernel" in name else 0.1
        return (spread * rng.standard_normal(leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    return Trained(config, model, variables, ("a/1", "a/2", "a/3"), step=7)
