"""Stores: what comes in is found again, by whatever is asked."""

import concurrent.futures
import datetime

import numpy as np
import pytest

import magnifier_jax as mj
from input_pipeline.errors import DataError, UserError
from magnifier_jax.retrieval import Blocks, Gallery

pytest.importorskip("lance")

BLOCKS = Blocks(gallery_rows=64)
NINE = datetime.datetime(2026, 11, 29, 9, tzinfo=datetime.UTC)
PARTS = mj.Embeddings(
    np.ones((1, 8), np.float32), np.ones((1, 2, 2), np.float32), np.ones((1, 2), bool)
)


def draw(total, *, seed=0, width=8):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((total, width)).astype(np.float32)


def name(*numbers):
    return [f"{number}.jpg" for number in numbers]


def open_new(folder, **settings):
    return mj.Gallery.open(folder / "people.lance", create=True, blocks=BLOCKS, **settings)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A store that was filled in two steps, and what went into it."""
    descriptors = draw(300)
    columns = {
        "identities": np.arange(300) % 40,
        "cameras": [row % 5 if row % 7 else None for row in range(300)],
        "times": [NINE + datetime.timedelta(minutes=row) for row in range(300)],
        "tracklets": [f"t{row // 10}" for row in range(300)],
        "height": np.arange(300) / 2,
    }
    folder = tmp_path_factory.mktemp("store")
    store = open_new(folder)
    for rows in (slice(0, 130), slice(130, 300)):
        part = {key: values[rows] for key, values in columns.items()}
        store.append(descriptors[rows], names=name(*range(300)[rows]), **part)
    return folder / "people.lance", descriptors, columns


def brute_force(query, gallery, *, allowed, top):
    """Rows and distances of the nearest allowed rows of each query."""
    distances = np.linalg.norm(query[:, None].astype(np.float64) - gallery[None], axis=2)
    distances[~allowed] = np.inf
    rows = np.argsort(distances, axis=1, kind="stable")[:, :top]
    return rows, np.take_along_axis(distances, rows, axis=1)


FILTERS = {
    None: lambda row: True,
    "camera != 3 and time < '2026-11-29T12:00'": lambda row: row % 7 and row % 5 != 3 and row < 180,
    "camera is null or tracklet in ('t1', 't29')": lambda row: row % 7 == 0 or row // 10 in (1, 29),
    "height between 10 and 20.5 or not name like '1%'": lambda row: (
        20 <= row <= 41 or str(row)[0] != "1"
    ),
}


@pytest.mark.parametrize("device_bytes", [0, 2**20])
@pytest.mark.parametrize("where", FILTERS)
def test_search_is_that_of_a_gallery_in_memory(people, where, device_bytes):
    place, descriptors, columns = people
    store = mj.Gallery.open(place, blocks=BLOCKS, device_bytes=device_bytes)
    query = draw(9, seed=1)
    result = store.search(query, top=20, where=where)
    allowed = np.array([bool(FILTERS[where](row)) for row in range(300)])
    rows, distances = brute_force(query, descriptors, allowed=np.tile(allowed, (9, 1)), top=20)
    np.testing.assert_array_equal(result.names, np.array(name(*range(300)))[rows])
    np.testing.assert_allclose(result.distances, distances, atol=1e-5)
    np.testing.assert_array_equal(result.identities, columns["identities"][rows])
    cameras = np.array([-1 if camera is None else camera for camera in columns["cameras"]])
    np.testing.assert_array_equal(result.cameras, cameras[rows])
    assert result.columns["time"][0, 0] == columns["times"][rows[0, 0]]
    assert result.columns["tracklet"][8, 19] == columns["tracklets"][rows[8, 19]]
    assert not result.nobody.any()


@pytest.mark.parametrize("device_bytes", [0, 2**20])
def test_the_query_s_own_camera_and_tracklet_are_left_out(people, device_bytes):
    place, descriptors, columns = people
    store = mj.Gallery.open(place, blocks=BLOCKS, device_bytes=device_bytes)
    cameras, tracklets = [3, None, 77, 0], ["t4", "t5", None, "t0"]
    query = draw(4, seed=2)
    result = store.search(query, top=300, exclude={"camera": cameras, "tracklet": tracklets})
    same_camera = np.array(cameras, object)[:, None] == np.array(columns["cameras"], object)
    same_camera[1] = False  # It is not known, and equals nothing.
    same_tracklet = np.array(tracklets, object)[:, None] == np.array(columns["tracklets"], object)
    allowed = ~(same_camera | same_tracklet)
    rows, distances = brute_force(query, descriptors, allowed=allowed, top=300)
    np.testing.assert_array_equal(result.counts, allowed.sum(1))
    for mine, row, near, far in zip(result.indices, rows, result.distances, distances, strict=True):
        count = np.isfinite(far).sum()
        np.testing.assert_array_equal(mine[:count], row[:count])
        np.testing.assert_allclose(near[:count], far[:count], atol=1e-5)
        assert (mine[count:] == -1).all()
        assert np.isinf(near[count:]).all()


def test_beyond_the_greatest_distance_is_nobody(people):
    place, descriptors, _ = people
    store = mj.Gallery.open(place, blocks=BLOCKS)
    query = np.concatenate([descriptors[:1], descriptors[:1] + 100])
    result = store.search(query, top=5, max_distance=0.5)
    assert result.nobody.tolist() == [False, True]
    assert result.names.tolist()[1] == [""] * 5
    assert result.identities[1].tolist() == [-1] * 5
    nothing = store.search(query, where="camera > 90")
    assert nothing.nobody.all()
    assert nothing.names.shape == (2, 0)


def test_images_are_replaced_and_deleted(tmp_path):
    store = open_new(tmp_path)
    descriptors = draw(6)
    store.append(descriptors, names=name(*range(6)), cameras=[0, 0, 1, 1, 2, 2])
    store.replace(descriptors[:2] + 50, names=name(4, 9), cameras=[7, 7])
    assert sorted(store.names()) == name(0, 1, 2, 3, 4, 5, 9)
    found = store.search(descriptors[0] + 50, top=1)
    assert found.names.tolist() == [["4.jpg"]]
    assert found.cameras.tolist() == [[7]]
    assert store.delete(where="camera = 1 or name = '9.jpg'") == 3
    assert store.delete(names=["0.jpg"]) == 1
    assert sorted(store.names()) == name(1, 4, 5)
    assert len(store) == 3
    with pytest.raises(UserError, match="is not in"):
        store.delete(names=name(1, 2))
    assert len(store) == 3
    everything = store.search(descriptors[:1], top=10)
    assert sorted(everything.names[0]) == name(1, 4, 5)
    store.delete(where="name is not null")
    assert len(store) == 0
    assert store.search(descriptors[:2]).nobody.all()


def test_what_is_learned_later_becomes_a_column(tmp_path):
    store = open_new(tmp_path)
    store.append(draw(2), names=name(0, 1))
    store.append(draw(2, seed=1), names=name(2, 3), cameras=[5, 6], color=["red", None])
    assert store.columns == {"name": "text", "camera": "whole number", "color": "text"}
    store.append(draw(1, seed=2), names=name(4))
    found = store.search(draw(2), top=5, where="camera is null")
    assert sorted(found.names[0]) == name(0, 1, 4)
    assert store.search(draw(2), where="color = 'red'").names.tolist() == [["2.jpg"]] * 2


def test_hidden_parts_do_not_count(tmp_path):
    generator = np.random.default_rng(4)
    parts = generator.standard_normal((90, 3, 4)).astype(np.float32)
    visible = generator.random((90, 3)) < 0.7
    gallery = Gallery.build(draw(90), names=name(*range(90)), parts=parts, visible=visible)
    store = open_new(tmp_path)
    store.append(gallery)
    query = generator.standard_normal((5, 3, 4)).astype(np.float32)
    seen = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0]], bool)
    asked = mj.Embeddings(draw(5, seed=6), parts=query, visible=seen)
    found = store.search(asked, top=90, parts=True)
    expected = gallery.search_parts(query, seen, top=90)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, atol=1e-6)


@pytest.mark.parametrize("device_bytes", [0, 2**20])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_offset_does_not_hide_distances(tmp_path, device_bytes, dtype):
    """Neighbors at 0.3 beside a length of 28: float32 would be wrong from the fourth digit on."""
    near = np.random.default_rng(5).standard_normal((200, 8)) * 0.2
    descriptors = (near + 10).astype(dtype)
    store = open_new(tmp_path, device_bytes=device_bytes)
    store.append(descriptors, names=name(*range(200)))
    found = store.search(descriptors[:7], top=10)
    exact = descriptors.astype(np.float64)
    expected = np.sort(np.linalg.norm(exact[:7, None] - exact[None], axis=2), axis=1)[:, :10]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("attempt", range(4))
def test_two_writers_make_a_gallery_at_once_with_different_columns(tmp_path, scheme, attempt):
    """Neither replaces what the other has just made, where they can wait and where they cannot."""
    columns = [{"cameras": [1, 2]}, {"color": ["red", None]}]
    place = f"{scheme}{tmp_path / 'people.lance'}"

    def write(number):
        store = mj.Gallery.open(place, create=True)
        for batch in range(3):
            names = [f"{attempt}-{number}-{batch}-{row}" for row in range(2)]
            store.append(draw(2, seed=batch), names=names, **columns[number])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (0, 1)))
    store = mj.Gallery.open(place)
    assert len(set(store.names().tolist())) == len(store) == store.check() == 12
    assert store.columns == {"name": "text", "camera": "whole number", "color": "text"}
    assert store.rows(where="color = 'red'").names.size == 3


def test_networks_are_kept_apart(tmp_path):
    store = open_new(tmp_path, network="one")
    store.append(draw(3), names=name(0, 1, 2))
    with pytest.raises(UserError, match="no images of this network"):
        mj.Gallery.open(tmp_path / "people.lance", network="two")
    other = open_new(tmp_path, network="two", metric="cosine")
    other.append(draw(2, width=5), names=name(0, 1))
    assert (len(store), len(other)) == (3, 2)
    with pytest.raises(UserError, match="unknown metric 'manhattan'"):
        mj.Gallery.open(tmp_path / "people.lance", metric="manhattan", create=True)
    with pytest.raises(UserError, match="several networks"):
        mj.Gallery.open(tmp_path / "people.lance")
    again = mj.Gallery.open(tmp_path / "people.lance", network="two")
    assert (len(again), again.metric) == (2, "cosine")
    with pytest.raises(UserError, match="both must come from the same model"):
        store.search(draw(1, width=5))
    with pytest.raises(UserError, match="different networks"):
        store.append(Gallery.build(draw(1), names=["x"], model="two"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"names": name(0)}, "'0.jpg' is in .* already"),
        ({"names": name(7, 7), "found": draw(2)}, "'7.jpg' is given twice"),
        ({"names": name(7), "found": draw(1, width=9)}, "9 numbers"),
        ({"names": name(7), "found": np.full((1, 8), np.nan, np.float32)}, "NaN"),
        ({"names": name(7), "found": draw(0)}, "no gallery descriptors"),
        ({"names": name(7, 8)}, "1 descriptors need 1 names"),
        ({"names": name(7), "cameras": ["c3"]}, "camera is a text"),
        ({"names": name(7), "cameras": [1, 2]}, "1 values"),
        ({"names": name(7), "descriptor": [1]}, "cannot be called"),
        ({"names": name(7), "a b": [1]}, "cannot be called"),
        ({"names": name(7), "times": ["tomorrow"]}, "time cannot be kept"),
        ({"names": ["\ud800"]}, "no Unicode"),
        ({"names": [""]}, "is empty"),
        ({"names": name(7), "found": PARTS}, "part embeddings"),
    ],
)  # fmt: skip
def test_what_does_not_fit_changes_nothing(tmp_path, rows, said):
    store = open_new(tmp_path)
    store.append(draw(2), names=name(0, 1), cameras=[3, 4])
    before = store.version
    with pytest.raises(UserError, match=said):
        store.append(rows.pop("found", draw(1)), **rows)
    assert store.version == before
    assert len(store) == 2


def test_unusual_names_come_back_as_they_were(tmp_path):
    names = ["O'Brien.jpg", 'a"b.jpg', "日本/é.jpg", "x\n\x1b[31m.jpg", "a;drop table x", "%", "\\"]
    store = open_new(tmp_path)
    store.append(draw(7), names=names)
    assert store.names().tolist() == names
    assert store.search(draw(7), top=1).names[:, 0].tolist() == names
    quoted = names[0].replace("'", "''")
    assert store.search(draw(7), where=f"name = '{quoted}'").names[0].tolist() == [names[0]]
    assert store.delete(names=names[:5]) == 5


def test_places_that_are_no_store_are_refused(tmp_path):
    import lance
    import pyarrow as pa

    with pytest.raises(UserError, match="there is no gallery"):
        mj.Gallery.open(tmp_path / "people.lance")
    (tmp_path / "file.lance").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        mj.Gallery.open(tmp_path / "file.lance", create=True)
    lance.write_dataset(pa.table({"a": [1]}), str(tmp_path / "foreign.lance"))
    with pytest.raises(UserError, match="no store of magnifier"):
        mj.Gallery.open(tmp_path / "foreign.lance", create=True)
    store = open_new(tmp_path)
    table = tmp_path / "people.lance" / f"{store._table}.lance"
    lance.write_dataset(pa.table({"a": [1]}), str(table))
    with pytest.raises(DataError, match="was not made by magnifier"):
        mj.Gallery.open(tmp_path / "people.lance")


def test_thresholds_of_the_gallery_s_own_images_decide_who_is_nobody(tmp_path):
    """Four people at the corners of a square, each seen twice, 0.1 apart."""
    corners = np.array([[0, 0], [3, 0], [0, 3], [3, 3]], np.float32)
    descriptors = np.concatenate([corners, corners + np.array([0.1, 0])]).astype(np.float32)
    gallery = Gallery.build(
        descriptors, names=name(*range(8)), identities=[0, 1, 2, 3] * 2, cameras=[0] * 4 + [1] * 4
    )
    store = open_new(tmp_path)
    store.append(gallery)
    with pytest.raises(UserError, match=r"no threshold for the false positive rate 0\.01"):
        store.search(descriptors[:1], fpr=1e-2)
    for keeper in (store, gallery):
        found = keeper.verify(rates=(1e-2, 0.4))
        # 8 images make 56 ordered pairs, 8 of them of one person.
        assert (found.same_pairs, found.different_pairs) == (8, 48)
        # No pair of two may be nearer than the nearest: 2.9. With 0.4 of 48, 19 may be: those of
        # 2.9 (4), of 3 (16, of which 15 more would fit, but all are equal).
        assert [point.threshold for point in found.points] == pytest.approx([2.9, 3.0], abs=1e-6)
    store.keep_thresholds(store.verify(rates=(1e-2, 0.4)))
    gallery = gallery.with_thresholds(gallery.verify(rates=(1e-2, 0.4)))
    query = np.array([[-1, 0], [-2.95, 0], [-4, 0]], np.float32)
    for keeper in (mj.Gallery.open(store.place.uri), gallery):
        assert keeper.search(query, fpr=1e-2).counts.tolist() == [2, 0, 0]
        assert keeper.search(query, fpr=0.4).counts.tolist() == [2, 1, 0]
        assert keeper.search(query, fpr=0.4, max_distance=1).counts.tolist() == [1, 0, 0]
    store.append(descriptors[:1], names=["later"])
    assert store.search(query, fpr=1e-2).counts.tolist() == [3, 0, 0]


def test_images_come_back_as_a_gallery_in_memory(tmp_path):
    generator = np.random.default_rng(1)
    gallery = Gallery.build(
        draw(5),
        names=name(*range(5)),
        identities=[3, 3, -1, 4, 5],
        cameras=[0, 1, 2, -1, 0],
        parts=generator.standard_normal((5, 2, 3)).astype(np.float32),
        visible=generator.random((5, 2)) < 0.5,
        model="one",
        notes={"workdir": "runs/one"},
    )
    store = open_new(tmp_path, network="one")
    store.append(gallery)
    again = store.to_gallery()
    for field in ("descriptors", "names", "identities", "cameras", "parts", "visible"):
        np.testing.assert_array_equal(getattr(again, field), getattr(gallery, field))
    assert (again.model, again.metric) == ("one", "euclidean")
    some = store.to_gallery(names=name(3, 1), where="identity > 3")
    assert some.names.tolist() == name(3)
    with pytest.raises(UserError, match="no such images"):
        store.to_gallery(where="identity > 30")
    listed = store.rows(where="camera >= 0", start=1, count=2)
    assert listed.names.tolist() == name(1, 2)
    assert listed.identities.tolist() == [3, -1]
