import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.export import fit_projection


def data(count=200, size=12):
    rng = np.random.default_rng(0)
    spread = np.linspace(3, 0.01, size)
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    points = rng.standard_normal((count, size)) * spread @ turn + 5
    return points.astype(np.float32)


def test_against_singular_vectors():
    points = data()
    projection = fit_projection(points, 3)
    centered = points - points.mean(0)
    _, values, vectors = np.linalg.svd(centered, full_matrices=False)
    cosines = np.abs((projection.components.T * vectors[:3]).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    assert projection.explained == pytest.approx((values[:3] ** 2).sum() / (values**2).sum())


def test_all_directions_keep_distances():
    points = data()
    found = fit_projection(points, 12)(points)
    before = np.linalg.norm(points[:, None] - points[None], axis=-1)
    after = np.linalg.norm(found[:, None] - found[None], axis=-1)
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_signs_do_not_depend_on_the_order_of_images():
    points = data()
    first, second = fit_projection(points, 5), fit_projection(points[::-1], 5)
    np.testing.assert_allclose(first.components, second.components, atol=1e-4)


@pytest.mark.parametrize(("count", "dimension"), [(200, 13), (4, 4)])
def test_too_many_directions_are_refused(count, dimension):
    with pytest.raises(UserError, match=r"--dimension is .* at most"):
        fit_projection(data(count), dimension)
