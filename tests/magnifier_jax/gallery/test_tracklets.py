"""Galleries whose tracklets are searched."""

import numpy as np
import pytest

import magnifier_jax as mj
from input_pipeline.errors import UserError
from magnifier_jax.gallery import Gallery
from magnifier_jax.gallery.tracklets import gallery_of_tracklets


def rows(total, *, seed=0):
    values = np.random.default_rng(seed).standard_normal((total, 8)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def mean(values):
    summed = values.astype(np.float64).sum(0)
    return summed / np.linalg.norm(summed)


def test_names_tell_tracklets_of_one_person_and_camera():
    values = rows(5)
    names = [f"0001C1T0001F00{i}.jpg" for i in (1, 2)] + ["x.jpg"]
    names += [f"0001C2T0002F00{i}.jpg" for i in (1, 2)]
    gallery = Gallery.build(
        values, names=names, identities=[1, 1, 4, 1, 1], cameras=[1, 1, 1, 2, 3]
    )
    found = gallery_of_tracklets(gallery)
    # The last two are of other cameras, whatever their names say.
    assert found.names.tolist() == [names[i] for i in (0, 2, 3, 4)]
    assert found.identities.tolist() == [1, 4, 1, 1]
    assert found.cameras.tolist() == [1, 1, 2, 3]
    np.testing.assert_allclose(found.descriptors[0], mean(values[:2]), atol=1e-6)
    np.testing.assert_array_equal(found.descriptors[1:], values[2:])


def test_a_gallery_that_grows_tells_tracklets_in_a_column(tmp_path):
    pytest.importorskip("lance")
    values = rows(6)
    store = mj.Gallery.open(tmp_path / "people.lance", network="a network", create=True)
    store.append(
        values,
        names=list("abcdef"),
        identities=[1, 1, 1, 2, 2, 2],
        cameras=[1, 1, 1, 2, 2, 2],
        tracklets=["walk", "walk", None, "walk", "walk", "walk"],
    )
    found = gallery_of_tracklets(store)
    assert found.names.tolist() == ["a", "c", "d"]
    np.testing.assert_allclose(found.descriptors[0], mean(values[:2]), atol=1e-6)
    np.testing.assert_allclose(found.descriptors[2], mean(values[3:]), atol=1e-6)
    some = gallery_of_tracklets(store, where="camera = 2")
    assert some.names.tolist() == ["d"]
    assert some.model == "a network"


def test_galleries_without_tracklets_are_refused_and_thresholds_stay_behind():
    images = Gallery.build(rows(2), names=["a", "b"])
    with pytest.raises(UserError, match="does not say which images are a tracklet"):
        gallery_of_tracklets(images)
    names = ["0001C1T0001F001.jpg", "0001C1T0001F002.jpg"]
    noted = Gallery.build(rows(2), names=names, notes={"thresholds": {}, "images": "here"})
    assert dict(gallery_of_tracklets(noted).notes) == {"images": "here"}
