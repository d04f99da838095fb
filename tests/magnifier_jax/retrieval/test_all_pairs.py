"""All pairs of one set, with products that are used twice, against products made anew."""

import jax
import numpy as np
import pytest

from magnifier_jax.retrieval import Blocks, all_pairs
from magnifier_jax.retrieval.descriptors import check_descriptors, join
from magnifier_jax.retrieval.distances import stream_rows


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(all_pairs, "_LEAST_TILE", 1)


def streamed(blocks, *, width):
    pieces = [(block.start, np.asarray(block.values)[: block.count, :width]) for block in blocks]
    assert [start for start, _ in pieces] == list(range(0, width, len(pieces[0][1])))
    return np.concatenate([values for _, values in pieces])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(("tiles_kept", "band"), [(1, 1), (8, 3), (1000, 6)])
def test_mirrored_products_give_the_same_distances(metric, tiles_kept, band):
    values = np.random.default_rng(band).standard_normal((50, 12)).astype(np.float32)
    everyone = join(
        check_descriptors(values[:20], name="query"), check_descriptors(values[20:], name="gallery")
    )
    blocks = Blocks(row_bytes=8 * 4 * 64, devices=jax.devices()[:1])
    mesh = blocks.mesh()
    plan = all_pairs.Plan.make(50, blocks=blocks, mesh=mesh, kept_bytes=tiles_kept * 4 * 8**2)
    assert (plan.band, plan.layout.query_rows) == (band, 8)
    found = streamed(
        all_pairs.stream_all_pairs(everyone, metric=metric, plan=plan, mesh=mesh), width=50
    )
    plain = stream_rows(everyone, everyone, metric=metric, layout=plan.layout, mesh=mesh)
    np.testing.assert_allclose(found, streamed(plain, width=50), rtol=0, atol=1e-6)


def test_accelerators_and_several_devices_compute_everything():
    blocks = Blocks(row_bytes=8 * 4 * 64, devices=jax.devices()[:2])
    plan = all_pairs.Plan.make(50, blocks=blocks, mesh=blocks.mesh(), kept_bytes=2**20)
    assert plan.band == 0
