"""All pairs of one set with products used twice, and the extremes of rows."""

import jax
import numpy as np
import pytest

from magnifier_jax.retrieval import Blocks, distances
from magnifier_jax.retrieval.descriptors import check_descriptors, join
from magnifier_jax.retrieval.distances import largest, smallest, stream_rows


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(distances, "_LEAST_TILE", 1)


def streamed(blocks, *, width):
    pieces = [(block.start, np.asarray(block.values)[: block.count, :width]) for block in blocks]
    assert [start for start, _ in pieces] == list(range(0, width, len(pieces[0][1])))
    return np.concatenate([values for _, values in pieces])


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("tiles_kept", "band"), [(1, 1), (8, 3), (1000, 6)])
def test_mirrored_products_give_the_same_distances(metric, tiles_kept, band):
    values = np.random.default_rng(band).standard_normal((50, 12)).astype(np.float32)
    everyone = join(
        check_descriptors(values[:20], name="query"), check_descriptors(values[20:], name="gallery")
    )
    blocks = Blocks(row_bytes=8 * 4 * 64, devices=jax.devices()[:1])
    mesh = blocks.mesh()
    plan = distances.Plan.make(everyone, blocks=blocks, mesh=mesh, kept_bytes=tiles_kept * 4 * 8**2)
    assert (plan.band, plan.layout.query_rows) == (band, 8)
    found = streamed(
        distances.stream_all_pairs(everyone, metric=metric, plan=plan, mesh=mesh), width=50
    )
    plain = stream_rows(everyone, everyone, metric=metric, layout=plan.layout, mesh=mesh)
    np.testing.assert_allclose(found, streamed(plain, width=50), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("small_tiles")
def test_accelerators_and_several_devices_compute_everything():
    everyone = check_descriptors(np.ones((50, 3)), name="query")
    blocks = Blocks(row_bytes=8 * 4 * 64, devices=jax.devices()[:2])
    plan = distances.Plan.make(everyone, blocks=blocks, mesh=blocks.mesh(), kept_bytes=2**20)
    assert plan.band == 0


@pytest.mark.parametrize("width", [64, 640, 4096, 4100])
@pytest.mark.parametrize("values", [3, 50, 10**6])
@pytest.mark.parametrize("k", [1, 21])
def test_agrees_with_a_stable_sort(width, values, k):
    rows = np.random.default_rng(width + values).integers(0, values, (5, width)).astype(np.float32)
    rows[:, -width // 3 :] = np.inf
    order = np.argsort(rows, axis=1, kind="stable")[:, :k]
    found, places = smallest(rows, k)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(found, np.take_along_axis(rows, order, axis=1))


@pytest.mark.parametrize("width", [1, 31, 32, 33, 6_728, 6_784])
def test_largest_looks_at_no_padding(width):
    rows = np.random.default_rng(width).standard_normal((5, 6_784)).astype(np.float32)
    rows[:, width:] = np.inf
    np.testing.assert_array_equal(largest(rows, width), rows[:, :width].max(axis=1))
