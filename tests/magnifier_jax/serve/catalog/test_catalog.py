import datetime

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.gallery import Gallery
from magnifier_jax.serve.catalog.catalog import Vectors
from magnifier_jax.serve.catalog.entries import Entries, Filters, entry_id
from magnifier_jax.serve.catalog.memory_catalog import MemoryCatalog

COUNT = 700  # more than are looked at first, several times over


@pytest.fixture(scope="module")
def catalog():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(COUNT, 8)).astype(np.float32)
    parts = draw.normal(size=(COUNT, 3, 4)).astype(np.float32)
    parts /= np.linalg.norm(parts, axis=-1, keepdims=True)
    visible = draw.random((COUNT, 3)) < 0.5
    visible[:, 0] = False
    return MemoryCatalog(
        Gallery.build(
            rows,
            names=[f"Folder/{i:04}.jpg" for i in range(COUNT)],
            identities=[-1 if i % 7 == 0 else i // 7 for i in range(COUNT)],
            cameras=[None if i % 5 == 0 else i % 4 for i in range(COUNT)],
            parts=parts,
            visible=visible,
        )
    )


def brute(catalog, vectors, *, by):
    """Distances of one query to every row."""
    gallery = catalog.gallery
    if by == "image":
        return np.linalg.norm(gallery.descriptors - vectors.descriptors, axis=1)
    both = vectors.visible & gallery.visible
    cosines = np.einsum("npe,pe->np", gallery.parts, vectors.parts[0])
    with np.errstate(invalid="ignore"):
        return 1 - (cosines * both).sum(1) / both.sum(1)


@pytest.mark.parametrize("by", ["image", "parts"])
@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (Filters(), lambda i: True),
        (Filters(cameras=frozenset({"2", "3", "9"})), lambda i: i % 5 and i % 4 in (2, 3)),
        (Filters(without_cameras=frozenset({"1"})), lambda i: not i % 5 or i % 4 != 1),
        (Filters(identity="12"), lambda i: i // 7 == 12 and i % 7),
        (Filters(name="passed over in searches"), lambda i: True),
        (Filters(cameras=frozenset({"9"})), lambda i: False),
    ],
)
def test_the_nearest_of_those_that_pass(catalog, by, filters, passes):
    vectors = catalog.vectors([17])
    distances = brute(catalog, vectors, by=by)
    rows = [i for i in np.argsort(distances) if passes(i) and np.isfinite(distances[i])]
    [found] = catalog.nearest(vectors, filters, by=by, top=100)
    assert [match.entry.name for match in found] == catalog.gallery.names[rows[:100]].tolist()
    np.testing.assert_allclose(
        [match.distance for match in found], distances[rows[:100]], atol=2e-3
    )


def test_some_are_left_out_by_number(catalog):
    query = catalog.vectors([0])
    [before] = catalog.nearest(query, Filters(), by="image", top=5)
    without = frozenset(match.entry.id for match in before[:3])
    [after] = catalog.nearest(query, Filters(without=without), by="image", top=2)
    assert after == before[3:5]


def test_pages_hold_every_entry_once(catalog):
    entries = catalog.entries
    filters = Filters(cameras=frozenset({"1"}))
    pages = [entries.listing(filters, offset=start, limit=50) for start in range(0, 300, 50)]
    rows = [i for i in range(COUNT) if i % 5 and i % 4 == 1]
    names = [entry.name for page in pages for entry in page.entries]
    assert names == catalog.gallery.names[rows].tolist()
    assert {page.total for page in pages} == {len(rows)}
    named = entries.listing(Filters(name="FOLDER/000"), offset=0, limit=50)
    assert [entry.name for entry in named.entries] == [f"Folder/000{i}.jpg" for i in range(10)]


def test_entries_say_what_is_known(catalog):
    entries = catalog.entries
    known, unknown = entries.entry(13), entries.entry(35)
    assert (known.name, known.identity, known.camera) == ("Folder/0013.jpg", 1, 1)
    assert (unknown.identity, unknown.camera, unknown.time) == (None, None, None)
    assert entries.cameras == {
        str(camera): sum(i % 4 == camera and i % 5 > 0 for i in range(COUNT)) for camera in range(4)
    }
    assert entries.row(entry_id("Folder/0013.jpg")) == 13
    assert len(set(entries.ids)) == COUNT


def test_numbers_that_are_not_there(catalog):
    with pytest.raises(UserError, match="no image 0123"):
        catalog.entries.row("0123")


def test_times_and_cameras_with_names():
    day = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
    hours = [None, *(day + datetime.timedelta(hours=hour) for hour in range(4))]
    entries = Entries(
        list("abcde"), cameras=["door", 10, "door", 9, None], times=hours, identities=[-1] * 5
    )
    assert list(entries.cameras) == ["9", "10", "door"]
    assert entries.times == (hours[1], hours[4])
    assert not entries.has_identities

    def names(**filters):
        return "".join(
            entry.name for entry in entries.listing(Filters(**filters), offset=0, limit=9).entries
        )

    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert names(since=hours[2]) == "cde"
    assert names(until=hours[2].astimezone(zone)) == "bc"
    assert names(since=hours[2], until=hours[3]) == "cd"
    assert names(cameras=frozenset({"door"})) == "ac"
    assert names(without_cameras=frozenset({"door"})) == "bde"
    assert names(identity="-1") == ""
    untimed = Entries(["a"])
    assert untimed.listing(Filters(since=day), offset=0, limit=9).total == 0


def test_a_query_without_parts_says_so(catalog):
    with pytest.raises(UserError, match="part embeddings"):
        catalog.nearest(Vectors(np.ones((1, 8), np.float32)), Filters(), by="parts", top=1)
