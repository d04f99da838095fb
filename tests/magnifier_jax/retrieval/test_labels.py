"""What labels mean: unknown cameras, spellings, junk, and exact numbers."""

import unicodedata
import warnings

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import retrieval
from magnifier_jax.retrieval.labels import is_ignored

QUERY = np.array([[1.0, 0], [0, 1]])
GALLERY = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]])
IDS = [0, 1], [0, 1, 0, 1]
ZOE = "Zo\u00eb", unicodedata.normalize("NFD", "Zo\u00eb")


@pytest.mark.parametrize(
    ("query_cameras", "gallery_cameras"),
    [
        ([-1, 1], [-1, 2, 2, 2]),
        (["", "1"], ["", "2", "2", "2"]),
        (["-1", "1"], ["-01", "2", "2", "2"]),
        ([b"", b"1"], [b"-1.0", b"2", b"2", b"2"]),
        ([-1.0, 1.0], [-1, 2, 2, 2]),
        (np.array([None, 1], object), np.array([None, 2, 2, 2], object)),
        (np.array([None, "a"], object), np.array(["", "b", None, "b"], object)),
        ([-1, -1], ["a", "b", "c", "d"]),
        ([None, None], ["a", "b", "c", "d"]),
        ([None, None], [None, None, None, None]),
        ([np.nan, 1], [np.nan, 2, 2, 2]),
        (np.array([np.nan, "a"], object), np.array([np.nan, "b", "b", "b"], object)),
        (["unknown", "a"], ["unknown", "b", "b", "b"]),
        (np.array([-1, 1], np.int8), np.array([5, 2, 2, 2], np.uint64)),
        (np.ma.MaskedArray([1, 1], [True, False]), [1, 2, 2, 2]),
    ],
)
def test_a_camera_that_is_not_known_equals_nothing(query_cameras, gallery_cameras):
    cameras = query_cameras, gallery_cameras
    assert retrieval.evaluate(QUERY, GALLERY, *IDS, *cameras).mAP == 0.75
    verified = retrieval.verify(QUERY, GALLERY, *IDS, *cameras, rates=(0.5,))
    assert (verified.same_pairs, verified.different_pairs) == (4, 4)
    shot = retrieval.SingleShot(repetitions=20)
    found = retrieval.evaluate(QUERY, GALLERY, *IDS, *cameras, single_shot=shot)
    assert found.valid_queries == 2


def test_known_cameras_are_still_filtered():
    cameras = ["a", "b"], ["a", "b", "", "-1"]
    found = retrieval.evaluate(QUERY, GALLERY, *IDS, *cameras)
    np.testing.assert_allclose(found.average_precisions, [1 / 3, 1 / 3])


def test_unknown_cameras_in_reranking():
    generator = np.random.default_rng(0)
    values, ids = generator.standard_normal((90, 8)), generator.integers(0, 6, 90)
    cameras = generator.integers(0, 3, 90)
    unknown = np.where(generator.random(90) < 0.4, -1, cameras)
    # To be unknown is to be a camera of one's own.
    own = np.where(unknown == -1, 100 + np.arange(90), unknown)
    for reranking in (None, retrieval.ReRanking()):
        found, wanted = (
            retrieval.evaluate(
                values[:20],
                values[20:],
                ids[:20],
                ids[20:],
                seen[:20],
                seen[20:],
                reranking=reranking,
            )
            for seen in (unknown, own)
        )
        np.testing.assert_array_equal(found.average_precisions, wanted.average_precisions)


@pytest.mark.parametrize("kind", [str, object, bytes])
def test_a_name_is_one_person_in_every_spelling(kind):
    def names(*values):
        values = [value.encode() for value in values] if kind is bytes else list(values)
        return np.array(values, None if kind is bytes else kind)

    ids = names(ZOE[0], "b"), names(ZOE[1], "b", ZOE[0], "b")
    assert retrieval.evaluate(QUERY, GALLERY, *ids, camera_filter=False).mAP == 0.75
    cameras = names(ZOE[0], "b"), names(ZOE[1], "b", "c", "c")
    found = retrieval.evaluate(QUERY, GALLERY, *ids, *cameras)
    np.testing.assert_allclose(found.average_precisions, [1 / 3, 1 / 3])


@pytest.mark.parametrize("junk", ["-1", "-0001", " -1", "-1.0", "\N{MINUS SIGN}1"])
def test_junk_in_every_spelling(junk):
    ids = ["0", "1", junk], [junk, "0", "1", "0", "1"]
    found = retrieval.evaluate(
        np.concatenate([QUERY, QUERY[:1]]),
        np.concatenate([QUERY[:1], GALLERY]),
        *ids,
        camera_filter=False,
    )
    assert (found.mAP, found.ignored_queries, found.ignored_gallery) == (0.75, 1, 1)
    assert is_ignored(["a", junk], -1).tolist() == [False, True]
    assert is_ignored(["a", junk], None).tolist() == [False, False]
    assert is_ignored([junk, ZOE[1]], ZOE[0]).tolist() == [False, True]
    assert is_ignored(np.array([3, -1]), "-1").tolist() == [False, True]


LARGE = 2**63 + 1
CLOSE = 2**53 + 1


@pytest.mark.parametrize(
    ("query", "gallery"),
    [
        (np.array([LARGE], np.uint64), np.array([LARGE + 1, LARGE], np.uint64)),
        (np.array([CLOSE], np.uint64), np.array([CLOSE - 1, CLOSE], np.int64)),
        (np.array([CLOSE], np.int64), np.array([CLOSE - 1, CLOSE], np.uint64)),
        (np.array([CLOSE], object), np.array([CLOSE - 1, CLOSE], np.int64)),
        (np.array([2**70 + 1], object), np.array([2**70, 2**70 + 1], object)),
        (np.array([LARGE], object), np.array([LARGE - 1, LARGE], np.uint64)),
        (np.array([-1, LARGE], object)[1:], np.array([-2, LARGE], object)),
        (np.array([2.0**53]), np.array([CLOSE, 2**53], np.int64)),
        (np.array([5], np.int8), np.array([4.0, 5.0], np.float16)),
        (np.array([1], np.uint8), np.array([False, True])),
    ],
)
def test_numbers_are_compared_exactly(query, gallery):
    # The nearer gallery image is of somebody else.
    found = retrieval.evaluate([[0.0]], [[1.0], [2.0]], query, gallery, camera_filter=False)
    assert (found.cmc[0], found.mAP) == (0, 0.5)
    turned = retrieval.evaluate([[0.0]], [[2.0], [1.0]], query, gallery, camera_filter=False)
    assert turned.mAP == 1
    cameras = np.concatenate([gallery[:1], gallery[1:]])
    filtered = retrieval.evaluate([[0.0]], [[1.0], [2.0]], [3], [3, 3], query, cameras)
    assert filtered.mAP == 1
    assert filtered.valid_queries == 1


def test_labels_in_several_spellings_are_said():
    for one, other in (("0004", "4"), ("4", "4.0"), ("4", "+4"), ("Ann", "ann"), ("Ann", "Ann ")):
        ids = [one, "b"], [other, "b", one, "b"]
        with pytest.warns(retrieval.SpellingWarning, match="different identities"):
            retrieval.evaluate(QUERY, GALLERY, *ids, camera_filter=False)
        with pytest.warns(retrieval.SpellingWarning, match="different cameras"):
            retrieval.evaluate(QUERY, GALLERY, *IDS, ["x", one], [other, "z", "z", "z"])
    retrieval.evaluate(QUERY, GALLERY, *IDS, ["NaN", "x"], ["nan", "", "-1", "-01"])
    retrieval.evaluate(
        QUERY, GALLERY, ["0004", "x4"], ["0004", "x4", "5", "x"], camera_filter=False
    )


def test_an_identity_that_is_not_there_is_nobody():
    with pytest.raises(UserError, match="identities are empty text in row 1"):
        retrieval.evaluate(QUERY, GALLERY, ["a", "b"], ["a", "", "b", ""], camera_filter=False)


def test_text_that_numbers_cannot_equal_is_not_ignored_in_silence():
    with pytest.raises(UserError, match="is text"):
        retrieval.evaluate(QUERY, GALLERY, *IDS, camera_filter=False, ignored_identity="0")


def shared_rows(count):
    generator = np.random.default_rng(0)
    values, ids = generator.standard_normal((60, 8)).astype(np.float32), np.arange(60) % 12
    return values[:count], values, ids[:count], ids


@pytest.mark.parametrize(
    "options",
    [
        {"camera_filter": False},
        {"query_cameras": np.full(20, -1), "gallery_cameras": np.arange(60) % 3},
        {"query_cameras": np.full(20, ""), "gallery_cameras": np.full(60, "")},
        {"camera_filter": False, "metric": "cosine"},
        {"camera_filter": False, "reranking": retrieval.ReRanking()},
    ],
)
@pytest.mark.parametrize("offset", [0, 100])
def test_matches_with_oneself_are_said(options, offset):
    query, gallery, *ids = shared_rows(20)
    with pytest.warns(retrieval.SelfMatchWarning, match="20 of 20 queries are in the gallery"):
        found = retrieval.evaluate(query + offset, gallery + offset, *ids, **options)
    assert found.self_matches == 20
    assert found.summary()["self_matches"] == 20
    with pytest.warns(retrieval.SelfMatchWarning, match="5 of 20 queries"):
        retrieval.evaluate(
            np.concatenate([query[:5], -query[5:]]), gallery.astype(np.float64), *ids, **options
        )


def test_nothing_is_said_where_oneself_does_not_count():
    query, gallery, *ids = shared_rows(20)
    cameras = np.arange(60) // 12
    found = retrieval.evaluate(query, gallery, *ids, cameras[:20], cameras)
    assert found.self_matches == 0
    others = retrieval.evaluate(query, gallery, ids[0], ids[1] + 1, camera_filter=False)
    assert others.self_matches == 0
    # Not copies of an image, but a network that has collapsed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", retrieval.CollapsedDescriptorsWarning)
        same = retrieval.evaluate(query * 0 + 1, gallery * 0 + 1, *ids, camera_filter=False)
    assert same.self_matches <= 1


def test_what_cannot_be_a_label_is_refused():
    with pytest.raises(UserError, match=r"query identities hold None in row 1"):
        retrieval.evaluate(QUERY, GALLERY, np.array([1, None]), IDS[1], camera_filter=False)
    with pytest.raises(UserError, match=r"cannot be compared \(dict, int\)"):
        retrieval.evaluate(QUERY, GALLERY, np.array([1, {}]), IDS[1], camera_filter=False)
