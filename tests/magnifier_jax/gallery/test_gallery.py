"""Galleries: search, change, save, export."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.errors import DataError, MagnifierError, UserError
from magnifier_jax import retrieval
from magnifier_jax.gallery import Gallery


def draw(total, *, seed=0, width=8, **fields):
    generator = np.random.default_rng(seed)
    descriptors = generator.standard_normal((total, width)).astype(np.float32)
    names = [f"{seed}/{row}.jpg" for row in range(total)]
    return Gallery.build(descriptors, names=names, **fields)


def draw_parts(total, *, seed, parts=4, width=3):
    generator = np.random.default_rng(seed)
    embeddings = generator.standard_normal((total, parts, width)).astype(np.float32)
    return embeddings, generator.random((total, parts)) < 0.6


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 20),
    total=st.integers(1, 300),
    top=st.sampled_from([1, 7, 1000]),
    devices=st.sampled_from([1, 8]),
    device_bytes=st.sampled_from([0, 2**20]),
)
def test_search_is_exact_with_ties_in_gallery_order(
    seed, queries, total, top, devices, device_bytes
):
    generator = np.random.default_rng(seed)
    values = generator.integers(-1, 2, (queries + total, 4)).astype(np.float32)
    query, rows = values[:queries], values[queries:]
    gallery = Gallery.build(rows, names=[str(row) for row in range(total)])
    searcher = gallery.searcher(
        blocks=retrieval.Blocks(row_bytes=2**12, gallery_rows=64, devices=jax.devices()[:devices]),
        device_bytes=device_bytes,
    )
    result = searcher.search(query, top=top)
    distances = np.linalg.norm(query[:, None] - rows[None], axis=2)
    order = np.argsort((distances**2).round(), axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(result.indices, order)
    np.testing.assert_allclose(
        result.distances, np.take_along_axis(distances, order, axis=1), atol=1e-6
    )
    np.testing.assert_array_equal(result.names, gallery.names[order])


def test_cosine_search_ignores_length():
    gallery = Gallery.build(
        np.array([[9.0, 9], [0, 1], [0, 0], [1, 0]]), names=list("abcd"), metric="cosine"
    )
    result = gallery.search(np.array([0.2, 0]), top=3)
    assert result.names.tolist() == [["d", "a", "b"]]
    np.testing.assert_allclose(result.distances, [[0, 1 - np.sqrt(0.5), 1]], atol=1e-6)


@pytest.mark.parametrize("device_bytes", [0, 2**20])
def test_hidden_parts_do_not_count_against_a_match(device_bytes):
    embeddings, visible = draw_parts(150, seed=1)
    query_parts, query_visible = draw_parts(9, seed=2)
    gallery = draw(150, parts=embeddings, visible=visible)
    searcher = gallery.searcher(blocks=retrieval.Blocks(gallery_rows=64), device_bytes=device_bytes)
    result = searcher.search_parts(query_parts, query_visible, top=150)
    unit, query_unit = (
        values / np.linalg.norm(values, axis=2, keepdims=True)
        for values in (embeddings, query_parts)
    )
    each = 1 - np.einsum("qpe,gpe->qgp", query_unit, unit)
    both = query_visible[:, None] & visible[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.where(both.any(2), (each * both).sum(2) / both.sum(2), np.inf)
    found = np.take_along_axis(wanted, result.indices, axis=1)
    np.testing.assert_allclose(result.distances, found, atol=1e-5)
    assert (np.diff(result.distances.clip(max=9), axis=1) >= 0).all()
    assert all(sorted(row) == list(range(150)) for row in result.indices.tolist())
    assert np.isinf(result.distances).any()


def test_what_a_query_hides_may_be_anything():
    embeddings, visible = draw_parts(40, seed=3)
    gallery = draw(40, parts=embeddings, visible=visible)
    query, shown = embeddings[[5]].copy(), np.ones((1, 4), bool)
    shown[0, 2] = False
    expected = gallery.search_parts(query, shown, top=40)
    query[0, 2] = 100
    changed = gallery.search_parts(query, shown, top=40)
    np.testing.assert_array_equal(changed.indices, expected.indices)
    if visible[5, [0, 1, 3]].any():
        assert changed.distances[0, 0] == pytest.approx(0, abs=1e-6)


def test_add_and_remove_give_new_galleries():
    first, second = (
        draw(5, seed=1, identities=np.arange(5)),
        draw(3, seed=2, identities=np.ones(3, int)),
    )
    both = first.add(second)
    assert (len(first), len(both)) == (5, 8)
    np.testing.assert_array_equal(both.identities, [0, 1, 2, 3, 4, 1, 1, 1])
    assert both.search(second.descriptors[1], top=1).names.tolist() == [["2/1.jpg"]]
    fewer = both.remove(["2/1.jpg", "1/0.jpg"])
    assert fewer.names.tolist() == [
        "1/1.jpg",
        "1/2.jpg",
        "1/3.jpg",
        "1/4.jpg",
        "2/0.jpg",
        "2/2.jpg",
    ]
    np.testing.assert_array_equal(fewer.descriptors[-1], second.descriptors[2])
    with pytest.raises(UserError, match="twice"):
        both.add(first)
    with pytest.raises(UserError, match="only one of the two galleries has identities"):
        first.add(draw(2, seed=4))
    with pytest.raises(UserError, match="same model"):
        first.add(draw(2, seed=4, width=9, identities=np.arange(2)))
    with pytest.raises(UserError, match=r"did you mean '1/2.jpg'"):
        first.remove(["1/2.jpeg"])
    with pytest.raises(UserError, match="empty"):
        second.remove(second.names.tolist())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saved_galleries_come_back(tmp_path, dtype):
    embeddings, visible = draw_parts(12, seed=5)
    gallery = draw(
        12,
        identities=np.arange(12),
        cameras=np.arange(12) % 3,
        parts=embeddings,
        visible=visible,
        metric="cosine",
    )
    gallery.save(tmp_path / "gallery.npz", dtype=dtype)
    loaded = Gallery.load(tmp_path / "gallery.npz")
    assert loaded.descriptors.dtype == loaded.parts.dtype == dtype
    assert loaded.metric == "cosine"
    tolerance = 0 if dtype == "float32" else 2e-3
    np.testing.assert_allclose(loaded.descriptors, gallery.descriptors, atol=tolerance)
    np.testing.assert_allclose(loaded.parts, embeddings, atol=tolerance)
    for field in ("names", "identities", "cameras", "visible"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(gallery, field))
    assert loaded.search(gallery.descriptors[3], top=1).indices.tolist() == [[3]]
    assert [path.name for path in tmp_path.iterdir()] == ["gallery.npz"]


def test_wrong_files_are_named(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", features=np.ones((2, 2)))
    np.save(tmp_path / "bare.npy", np.ones((2, 2)))
    draw(3).save(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-40])
    for name, message in {
        "none.npz": "there is no file .*none.npz",
        "text.npz": "text.npz is not a sound .npz file",
        "empty.npz": "empty.npz is not a sound .npz file .it is empty",
        "cut.npz": "cut.npz is not a sound .npz file",
        "other.npz": "other.npz has only the arrays features",
        "bare.npy": "bare.npy is not a sound .npz file .it holds a single array",
    }.items():
        with pytest.raises(MagnifierError, match=f"{message}.*give a gallery file"):
            Gallery.load(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": None}, "has no metric"),
        ({"names": None}, "has no names"),
        ({"format": None}, "has no format"),
        ({"format": [1, 2]}, "several values of format"),
        ({"format": 2}, "of format 2, not 1"),
        ({"notes": "{"}, "is not a sound gallery file .Expecting"),
        ({"notes": "3"}, "damaged gallery file: its notes are not a JSON object"),
        ({"metric": "manhattan"}, "damaged gallery file: unknown metric 'manhattan'"),
        ({"visible": np.ones((3, 2))}, "damaged gallery file: part embeddings and visible"),
        ({"names": ["a", "b", "a"]}, "damaged gallery file: the name 'a' is in the gallery twice"),
    ],
)
def test_damaged_galleries_are_refused(tmp_path, changes, message):
    path = tmp_path / "gallery.npz"
    draw(3).save(path)
    arrays = dict(np.load(path)) | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(DataError, match=rf"gallery\.npz .*{message}"):
        Gallery.load(path)


def test_other_arrays_in_the_file_are_passed_over(tmp_path):
    path = tmp_path / "gallery.npz"
    draw(3).save(path)
    np.savez(path, **np.load(path), time_of_day=np.arange(3))
    assert len(Gallery.load(path)) == 3


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write .*file"):
        draw(3).save(tmp_path / "file" / "g.npz")
    with pytest.raises(UserError, match=r"Cannot write .*file"):
        draw(3).export_vectors(tmp_path / "file")
    with pytest.raises(UserError, match="is a folder"):
        draw(3).save(tmp_path)


def test_identities_may_be_text(tmp_path):
    gallery = draw(3, identities=["alice", "bob", "-1"])
    gallery.save(tmp_path / "g.npz")
    loaded = Gallery.load(tmp_path / "g.npz")
    assert loaded.identities.tolist() == ["alice", "bob", "-1"]
    both = loaded.add(draw(2, seed=2, identities=["josephine", "bob"]))
    assert both.identities.tolist()[3:] == ["josephine", "bob"]
    with pytest.raises(UserError, match="text and those of the other are numbers"):
        loaded.add(draw(2, seed=2, identities=[1, 2]))
    with pytest.raises(UserError, match="cameras must be 3 of whole numbers"):
        draw(3, cameras=["a", "b", "c"])


def test_joined_galleries_know_where_their_images_are():
    def gallery(seed, notes, *names):
        vectors = np.random.default_rng(seed).standard_normal((len(names), 3))
        return Gallery.build(vectors, names=names, notes=notes)

    first = gallery(1, {"images": "/one", "step": 3}, "a.jpg", "b.jpg")
    same = first.add(gallery(2, {"images": "/one"}, "c.jpg"))
    assert same.names.tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert same.notes == {"images": "/one", "step": 3}
    both = first.add(gallery(3, {"images": "/two"}, "a.jpg", "x/b.jpg"))
    assert both.names.tolist() == ["/one/a.jpg", "/one/b.jpg", "/two/a.jpg", "/two/x/b.jpg"]
    assert both.notes == {"step": 3}
    more = both.add(gallery(4, {"images": "/three"}, "a.jpg"))
    assert more.names.tolist() == [*both.names.tolist(), "/three/a.jpg"]
    plain = gallery(5, {}, "a.jpg").add(first)
    assert plain.names.tolist() == ["a.jpg", "/one/a.jpg", "/one/b.jpg"]


def test_hidden_parts_may_be_undefined():
    embeddings, visible = draw_parts(40, seed=3)
    visible[:, 0] = True
    gallery = draw(40, parts=embeddings, visible=visible)
    query, shown = embeddings[:3].copy(), visible[:3].copy()
    expected = gallery.search_parts(query, shown, top=40)
    undefined = embeddings.copy()
    undefined[~visible] = np.nan
    undefined[3, ~visible[3]] = 3e38
    before = undefined.copy()
    found = draw(40, parts=undefined, visible=visible).search_parts(undefined[:3], shown, top=40)
    np.testing.assert_array_equal(undefined, before)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    undefined[5, 0] = np.nan
    with pytest.raises(UserError, match="gallery part descriptors hold NaN or infinity in rows 5"):
        draw(40, parts=undefined, visible=visible)


def test_a_searcher_reads_lists_and_checks_them():
    embeddings, visible = draw_parts(20, seed=6)
    searcher = draw(20, parts=embeddings, visible=visible).searcher()
    found = searcher.search_parts(embeddings[:2].tolist(), visible[:2].tolist(), top=3)
    wanted = searcher.search_parts(embeddings[:2], visible[:2], top=3)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    with pytest.raises(UserError, match=r"query visible parts must have shape \[2, 4\]"):
        searcher.search_parts(embeddings[:2], visible[:1])


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError, match="5 names"):
        Gallery.build(np.eye(5), names=["a"])
    with pytest.raises(UserError, match="whole numbers"):
        draw(3, identities=[0.5, 1, 2])
    with pytest.raises(UserError, match="given together"):
        draw(3, parts=np.ones((3, 2, 2)))
    with pytest.raises(UserError, match=r"visible parts must have shape \[3, 2\]"):
        draw(3, parts=np.ones((3, 2, 2)), visible=np.ones((3, 1)))
    with pytest.raises(UserError, match="rows 1"):
        Gallery.build(np.array([[1.0], [np.inf]]), names=["a", "b"])
    gallery = draw(3)
    with pytest.raises(UserError, match="same model"):
        gallery.search(np.ones(3))
    with pytest.raises(UserError, match="no part embeddings"):
        gallery.search_parts(np.ones((1, 2, 2)), np.ones((1, 2)))
    with pytest.raises(UserError, match="top must be"):
        gallery.search(np.ones(8), top=0)
    with pytest.raises(UserError, match="too large for float16"):
        Gallery.build(np.full((1, 2), 1e9), names=["a"]).save(tmp_path / "g.npz", dtype="float16")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_exported_arrays(tmp_path, metric):
    gallery = draw(6, metric=metric)
    gallery.export_vectors(tmp_path / "out")
    vectors = np.load(tmp_path / "out" / "descriptors.npy")
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(gallery.descriptors, axis=1, keepdims=True)
    expected = gallery.descriptors / (lengths if metric == "cosine" else 1)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "ids.npy"), np.arange(6))
    assert json.loads((tmp_path / "out" / "names.json").read_text()) == gallery.names.tolist()


def test_ids_stay_as_they_were(tmp_path):
    gallery = draw(5)
    fewer = gallery.remove(["0/1.jpg", "0/4.jpg"])
    assert fewer.ids.tolist() == [0, 2, 3]
    more = fewer.add(draw(2, seed=1)).remove(["1/0.jpg"])
    assert more.ids.tolist() == [0, 2, 3, 6]
    more.save(tmp_path / "g.npz")
    loaded = Gallery.load(tmp_path / "g.npz")
    assert (loaded.ids.tolist(), loaded.next_id) == ([0, 2, 3, 6], 7)
    loaded.export_vectors(tmp_path / "out")
    assert np.load(tmp_path / "out" / "ids.npy").tolist() == [0, 2, 3, 6]
    names = json.loads((tmp_path / "out" / "names.json").read_text())
    assert names == ["0/0.jpg", None, "0/2.jpg", "0/3.jpg", None, None, "1/1.jpg"]
    gallery.save(tmp_path / "whole.npz")
    assert "ids" not in np.load(tmp_path / "whole.npz").files
    with pytest.raises(UserError, match="5 different whole numbers"):
        draw(5, ids=[0, 1, 1, 2, 3])
    with pytest.raises(UserError, match="next_id must be above"):
        draw(5, next_id=4)


def test_whatever_has_descriptors_is_taken():
    @dataclasses.dataclass
    class Found:
        descriptors: np.ndarray
        parts: np.ndarray | None = None
        visible: np.ndarray | None = None

    embeddings, visible = draw_parts(20, seed=3)
    visible[:, 0] = True
    values = np.random.default_rng(4).standard_normal((20, 8)).astype(np.float32)
    found = Found(values, embeddings, visible)
    ids, cameras = np.arange(20) // 2, np.arange(20) % 3
    gallery = Gallery.build(found, names=np.arange(20).astype(str), identities=ids, cameras=cameras)
    few = Found(values[:2], embeddings[:2], visible[:2])
    result = gallery.search(few, top=3)
    np.testing.assert_array_equal(result.indices, gallery.search(values[:2], top=3).indices)
    np.testing.assert_array_equal(result.identities, ids[result.indices])
    np.testing.assert_array_equal(result.cameras, cameras[result.indices])
    np.testing.assert_array_equal(
        gallery.search_parts(few, top=3).indices,
        gallery.search_parts(embeddings[:2], visible[:2], top=3).indices,
    )
    with pytest.raises(UserError, match="needs the queries' part embeddings"):
        gallery.search_parts(Found(values))
    evaluated = retrieval.evaluate(Found(values[:8]), gallery, ids[:8], ids, cameras[:8], cameras)
    plain = retrieval.evaluate(values[:8], values, ids[:8], ids, cameras[:8], cameras)
    assert evaluated.mAP == plain.mAP
    assert Gallery.build(Found(values), names=np.arange(20).astype(str)).parts is None


def test_what_was_given_may_change_later():
    values, names = np.eye(3, dtype=np.float32), np.array(["a", "b", "c"])
    ids, cameras = np.arange(3), np.zeros(3, int)
    gallery = Gallery.build(values, names=names, identities=ids, cameras=cameras)
    names[0], ids[0], cameras[0] = "z", 9, 9
    assert gallery.names.tolist() == ["a", "b", "c"]
    assert gallery.identities.tolist() == [0, 1, 2]
    assert gallery.cameras.tolist() == [0, 0, 0]


def test_labels_of_galleries_are_exact():
    with pytest.raises(UserError, match="too large for a gallery"):
        draw(2, identities=np.array([1, 2**63 + 5], np.uint64))
    large = draw(2, identities=np.array([2**62 + 1, 5], np.uint64))
    assert large.identities.tolist() == [2**62 + 1, 5]
    assert draw(2, identities=["Zoe\u0308", "b"]).identities.tolist() == ["Zo\u00eb", "b"]
    assert draw(2, cameras=[None, 3]).cameras.tolist() == [-1, 3]


def test_labels_as_tables_hold_them():
    values, names = np.eye(3, dtype=np.float32), ["a", "b", "c"]
    assert Gallery.build(values, names=names, cameras=[None] * 3).cameras.tolist() == [-1] * 3
    found = Gallery.build(values, names=names, cameras=[1.0, np.nan, 3.0], ids=[5.0, 7.0, 9.0])
    assert found.cameras.dtype == found.ids.dtype == np.int64
    assert found.cameras.tolist() == [1, -1, 3]
    for ids in ([0.5, 1.5, 2.5], ["a", "b", "c"], [1, 2]):
        with pytest.raises(UserError, match="ids must be 3"):
            Gallery.build(values, names=names, ids=ids)


def test_ids_too_large_for_a_list(tmp_path):
    gallery = Gallery.build(np.eye(2, dtype=np.float32), names=["a", "b"], ids=[1, 2**40])
    with pytest.raises(UserError, match="smaller ids"):
        gallery.export_vectors(tmp_path)


def test_a_gallery_at_home_is_loaded_from_where_it_was_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Gallery.build(np.eye(2, dtype=np.float32), names=["a", "b"]).save("~/g.npz")
    assert Gallery.load("~/g.npz").names.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "values", [[[1.0, 2.0], [1.0]], np.ma.MaskedArray([[1.0, 2.0]], [[True, False]])]
)
def test_descriptors_with_holes_are_refused(values):
    with pytest.raises(UserError, match="descriptors"):
        Gallery.build(values, names=["a", "b"][: len(values)])
