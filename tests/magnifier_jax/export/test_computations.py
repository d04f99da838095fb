"""StableHLO and SavedModel with every option at once."""

import jax
import numpy as np
import pytest

from magnifier_jax.export import choose_settings, export_network, fit_projection
from magnifier_jax.export.function import expected_descriptors, make_descriptor_function
from magnifier_jax.export.verification import sample_images
from tests.magnifier_jax.export.conftest import random_network
from tests.magnifier_jax.export.test_consumers import NEWER_THAN_TENSORFLOW


@pytest.mark.parametrize("kind", ["stablehlo", "savedmodel"])
def test_branches_projection_and_flags(tmp_path, kind):
    if kind == "savedmodel" and jax.__version_info__ >= NEWER_THAN_TENSORFLOW:
        pytest.skip("This TensorFlow does not read what this jax writes.")
    network = random_network("tiny")
    options = {
        "branches": ("global", "adversarial"),
        "layout": "NCHW",
        "normalise": "outside",
        "l2": "outside",
    }
    whole = make_descriptor_function(network, choose_settings(kind, **options))
    described = expected_descriptors(network, whole, sample_images(12, whole.image_size))
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    card = export_network(
        network,
        choose_settings(kind, **options, dimension=4),
        tmp_path / "m",
        projection=fit_projection(described, 4),
    )
    assert card.verified.largest_relative_difference < 1e-4
    assert (card.output.dimension, card.output.branches) == (4, ("global", "adversarial"))
    assert card.input.shape == ("batch", 3, 64, 32)
    assert (card.input.normalise, card.output.l2) == ("outside", "outside")
    runtime = card.verified.runtime.split()[0]
    assert runtime == {"stablehlo": "jax", "savedmodel": "tensorflow"}[kind]
    assert card.versions[runtime] == card.verified.runtime.split()[1]
