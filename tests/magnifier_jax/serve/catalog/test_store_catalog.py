import datetime

import numpy as np
import pytest

pytest.importorskip("lance")

from input_pipeline.errors import UserError
from magnifier_jax.gallery import Gallery
from magnifier_jax.serve.catalog import store_catalog
from magnifier_jax.serve.catalog.catalog import Vectors
from magnifier_jax.serve.catalog.entries import Filters, entry_id
from magnifier_jax.serve.catalog.store_catalog import StoreCatalog, where_text

COUNT = 60
DAY = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
TIMES = [None if i % 6 == 0 else DAY + datetime.timedelta(minutes=i) for i in range(COUNT)]


def images(rows):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2 * COUNT, 8)).astype(np.float32)[rows]
    parts = draw.normal(size=(2 * COUNT, 3, 4)).astype(np.float32)[rows]
    parts /= np.linalg.norm(parts, axis=-1, keepdims=True)
    return Vectors(vectors, parts, np.tile([False, True, True], (len(rows), 1)))


@pytest.fixture
def store(tmp_path):
    store = Gallery.open(tmp_path / "people.lance", network="net", create=True)
    store.append(
        images(list(range(COUNT))),
        names=[f"it's {i}.jpg" for i in range(COUNT)],
        identities=[i // 4 for i in range(COUNT)],
        cameras=[-1 if i % 5 == 0 else i % 3 for i in range(COUNT)],
        times=TIMES,
    )
    return store


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (Filters(), lambda i: True),
        (Filters(cameras=frozenset({"2", "9", "door"})), lambda i: i % 5 and i % 3 == 2),
        (Filters(cameras=frozenset({"door"})), lambda i: False),
        (Filters(without_cameras=frozenset({"1", "x'y"})), lambda i: not i % 5 or i % 3 != 1),
        (Filters(identity="7"), lambda i: i // 4 == 7),
        (Filters(since=TIMES[20], until=TIMES[40]), lambda i: i % 6 and 20 <= i <= 40),
        (Filters(without=frozenset({entry_id("it's 17.jpg")})), lambda i: i != 17),
    ],
)
@pytest.mark.parametrize("by", ["image", "parts"])
def test_the_nearest_of_those_that_pass(store, filters, passes, by):
    catalog = StoreCatalog(store)
    query, everything = images([17]), images(list(range(COUNT)))
    if by == "image":
        distances = np.linalg.norm(everything.descriptors - query.descriptors, axis=1)
    else:
        cosines = np.einsum("npe,pe->np", everything.parts, query.parts[0])
        distances = 1 - cosines[:, 1:].mean(axis=1)
    rows = [int(i) for i in np.argsort(distances, kind="stable") if passes(i)][:12]
    [found] = catalog.nearest(query, filters, by=by, top=12)
    assert [match.entry.name for match in found] == [f"it's {i}.jpg" for i in rows]
    np.testing.assert_allclose([match.distance for match in found], distances[rows], atol=2e-3)
    for row, match in zip(rows, found, strict=True):
        assert match.entry.time == TIMES[row]
        assert match.entry.camera == (None if row % 5 == 0 else row % 3)
    passing = [i for i in range(COUNT) if passes(i)]
    assert np.flatnonzero(catalog.entries.passing(filters)).tolist() == passing


def test_vectors_come_in_the_order_asked_for(store):
    catalog = StoreCatalog(store)
    found, expected = catalog.vectors([9, 2, 9]), images([9, 2, 9])
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    np.testing.assert_array_equal(found.parts, expected.parts)
    np.testing.assert_array_equal(found.visible, expected.visible)
    assert (catalog.width, catalog.parts) == (8, 3)


def test_what_others_add_is_found(store, monkeypatch):
    monkeypatch.setattr(store_catalog, "_LOOK_AGAIN", 0.0)
    catalog = StoreCatalog(store)
    assert len(catalog.entries) == COUNT
    other = Gallery.open(store.place.uri, network="net")
    other.append(images([COUNT]), names=["new.jpg"], identities=[99])
    other.delete(names=["it's 0.jpg"])
    [found] = catalog.nearest(images([COUNT]), Filters(), by="image", top=1)
    assert (found[0].entry.name, found[0].entry.identity) == ("new.jpg", 99)
    assert len(catalog.entries) == COUNT
    assert entry_id("it's 0.jpg") not in catalog.entries


def test_an_empty_store_is_refused(tmp_path):
    store = Gallery.open(tmp_path / "none.lance", network="net", create=True)
    with pytest.raises(UserError, match="add images first"):
        StoreCatalog(store)


def test_filters_cannot_leave_their_quotes():
    kinds = {"camera": "text", "identity": "whole number"}
    filters = Filters(cameras=frozenset({"a') or name is null or camera in ('b"}))
    assert where_text(filters, kinds) == ("camera in ('a'') or name is null or camera in (''b')")
    assert where_text(Filters(identity="1 or 1 = 1"), kinds) is None
    assert where_text(Filters(since=DAY), kinds) is None
    assert where_text(Filters(without_cameras=frozenset({"1"})), {}) == ""


def test_tracklets_follow_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_catalog, "_LOOK_AGAIN", -1.0)
    store = Gallery.open(tmp_path / "people.lance", create=True, network="one")
    noon = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
    store.append(
        np.eye(4, dtype=np.float32),
        names=list("abcd"),
        cameras=[1, 1, 1, 2],
        times=[noon + datetime.timedelta(minutes=i) for i in range(4)],
        tracklets=["x", "x", "y", "x"],
    )
    catalog = StoreCatalog(store)
    assert catalog.has_tracklets
    tracklets = catalog.tracklets
    assert tracklets is catalog.tracklets
    assert len(tracklets) == 3  # a and b; c; d of another camera
    query = Vectors(np.eye(4, dtype=np.float32)[1:2])

    def found(**filters):
        [matches] = catalog.tracklets.nearest(query, Filters(**filters), by="image", top=9)
        return [(match.entry.name, match.images) for match in matches]

    # b is at 45 degrees from the mean of a and b, and at right angles to the others.
    assert found()[0] == ("a", 2)
    [[match, *_]] = tracklets.nearest(query, Filters(), by="image", top=9)
    assert match.distance == pytest.approx(np.sqrt(2 - np.sqrt(2)), abs=1e-6)
    assert [name for name, _ in found(without=frozenset({entry_id("b")}))] == ["c", "d"]
    assert found(since=noon + datetime.timedelta(minutes=1)) == [("c", 1), ("d", 1)]
    store.append(np.eye(4, dtype=np.float32)[1:2], names=["e"], cameras=[1], tracklets=["x"])
    assert found()[0] == ("a", 3)
