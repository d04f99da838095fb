"""Evaluation against golden numbers and a plain float64 implementation."""

from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import retrieval_reference as plain
from input_pipeline.errors import UserError
from magnifier_jax import retrieval

GOLDEN = Path(__file__).parents[3] / "golden" / "retrieval_seed0.npz"
ARGUMENTS = (
    "query",
    "gallery",
    "query_ids",
    "gallery_ids",
    "query_cameras",
    "gallery_cameras",
)
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def golden_case(name):
    golden = np.load(GOLDEN)
    return [golden[f"{name}_{argument}"] for argument in ARGUMENTS]


def draw_case(seed, *, queries, gallery, identities, cameras, width=6, grid=True, junk=0.0):
    """Random descriptors; on the grid distances are exact in float32, so ties are true ties.

    `junk` is the share of images whose identity is −1.
    """
    generator = np.random.default_rng(seed)
    shape = (queries + gallery, width)
    if grid:
        values = generator.integers(-2, 3, shape).astype(np.float32)
    else:
        values = generator.standard_normal(shape).astype(np.float32)
    ids = generator.integers(0, identities, queries + gallery)
    views = generator.integers(0, cameras, queries + gallery)
    ids[generator.random(queries + gallery) < junk] = -1
    return [part for both in (values, ids, views) for part in (both[:queries], both[queries:])]


def check_against_plain(case, *, metric="euclidean", average_precision="rectangular", **options):
    asked, searched = case[2] != -1, case[3] != -1
    if not asked.any() or not searched.any():
        with pytest.raises(UserError, match="have the ignored identity -1"):
            retrieval.evaluate(*case, metric=metric, **options)
        return
    query, gallery, *labels = (
        part[kept] for part, kept in zip(case, 3 * (asked, searched), strict=True)
    )
    distances = plain.distance_matrix(
        query.astype(np.float64), gallery.astype(np.float64), metric=metric
    )
    own = labels[0][:, None] == labels[1][None, :]
    if not (own & (labels[2][:, None] != labels[3][None, :])).any():
        with pytest.raises(UserError, match="no query has a match"):
            retrieval.evaluate(*case, metric=metric, **options)
        return
    wanted = plain.evaluate_by_sorting(distances, *labels, average_precision=average_precision)
    result = retrieval.evaluate(
        *case, metric=metric, average_precision=average_precision, **options
    )
    np.testing.assert_allclose(result.cmc, wanted.cmc, atol=1e-12)
    np.testing.assert_allclose(
        result.average_precisions[asked], wanted.average_precisions, atol=1e-12
    )
    assert np.isnan(result.average_precisions[~asked]).all()
    assert (result.ignored_queries, result.ignored_gallery) == ((~asked).sum(), (~searched).sum())
    assert result.mAP == pytest.approx(wanted.mean_precision, abs=1e-12)
    assert result.mINP == pytest.approx(wanted.mean_penalty, abs=1e-12)
    assert result.valid_queries == np.isfinite(wanted.average_precisions).sum()
    assert (result.queries, result.gallery) == (len(query), len(gallery))
    assert result.average_precision == average_precision


@pytest.mark.parametrize("case", ["easy", "hard", "ties", "small"])
def test_golden(case):
    golden = np.load(GOLDEN)
    result = retrieval.evaluate(*golden_case(case))
    cmc = golden[f"{case}_cmc"]
    np.testing.assert_allclose(result.cmc[: len(cmc)], cmc, atol=1e-6)
    np.testing.assert_allclose(result.mAP, golden[f"{case}_mAP"], atol=1e-9)
    np.testing.assert_allclose(result.mINP, golden[f"{case}_mINP"], atol=1e-9)
    assert result.cmc.shape == (50,)


@pytest.mark.parametrize("case", ["easy", "hard"])
def test_golden_reranked(case):
    golden = np.load(GOLDEN)
    result = retrieval.evaluate(*golden_case(case), reranking=retrieval.ReRanking())
    cmc = golden[f"{case}_reranked_cmc"]
    np.testing.assert_allclose(result.cmc[: len(cmc)], cmc, atol=1e-6)
    np.testing.assert_allclose(result.mAP, golden[f"{case}_reranked_mAP"], atol=1e-5)


@FEW
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 40),
    gallery=st.integers(1, 200),
    identities=st.sampled_from([1, 3, 12, 100]),
    cameras=st.sampled_from([1, 2, 5]),
    grid=st.booleans(),
    junk=st.sampled_from([0.0, 0.05, 0.5]),
    metric=st.sampled_from(["euclidean", "cosine"]),
    average_precision=st.sampled_from(["rectangular", "trapezoid"]),
    devices=st.sampled_from([1, 8]),
    blocks=st.sampled_from([(1, 64), (2**16, 65), (2**20, 128)]),
)
def test_agrees_with_plain_sorting(
    seed,
    queries,
    gallery,
    identities,
    cameras,
    grid,
    junk,
    metric,
    average_precision,
    devices,
    blocks,
):
    # Cosine divides, so that only random vectors are free of ties that rounding breaks.
    case = draw_case(
        seed,
        queries=queries,
        gallery=gallery,
        identities=identities,
        cameras=cameras,
        grid=grid and metric == "euclidean",
        junk=junk,
    )
    check_against_plain(
        case,
        metric=metric,
        average_precision=average_precision,
        blocks=retrieval.Blocks(
            row_bytes=blocks[0], gallery_rows=blocks[1], devices=jax.devices()[:devices]
        ),
    )


@pytest.mark.parametrize("options", [{"reranking": retrieval.ReRanking(k1=5, k2=2)}, {}])
def test_bad_detections_are_as_if_they_were_not_there(options):
    case = draw_case(8, queries=20, gallery=90, identities=6, cameras=3, grid=False, junk=0.3)
    asked, searched = case[2] != -1, case[3] != -1
    kept = [part[rows] for part, rows in zip(case, 3 * (asked, searched), strict=True)]
    result = retrieval.evaluate(*case, **options)
    without = retrieval.evaluate(*kept, **options, ignored_identity=None)
    np.testing.assert_array_equal(result.average_precisions[asked], without.average_precisions)
    assert result.summary() == without.summary() | {
        "ignored_queries": (~asked).sum(),
        "ignored_gallery": (~searched).sum(),
    }
    named = [*case[:2], *(np.array(ids).astype(str) for ids in case[2:4]), *case[4:]]
    assert retrieval.evaluate(*named, **options).mAP == result.mAP
    everything = retrieval.evaluate(*case, **options, ignored_identity=None)
    assert (everything.queries, everything.ignored_gallery) == (20, 0)
    assert everything.mAP != result.mAP


def test_single_shot_draws_no_bad_detections():
    case = draw_case(9, queries=20, gallery=90, identities=6, cameras=3, grid=False, junk=0.3)
    asked, searched = case[2] != -1, case[3] != -1
    kept = [part[rows] for part, rows in zip(case, 3 * (asked, searched), strict=True)]
    protocol = retrieval.SingleShot(repetitions=3)
    result = retrieval.evaluate(*case, single_shot=protocol)
    without = retrieval.evaluate(*kept, single_shot=protocol, ignored_identity=None)
    np.testing.assert_array_equal(result.average_precisions[asked], without.average_precisions)
    np.testing.assert_array_equal(result.cmc, without.cmc)


def test_many_matches_of_one_query():
    check_against_plain(draw_case(0, queries=9, gallery=700, identities=1, cameras=3))


def test_float16_and_jax_arrays_are_read():
    query, gallery, *labels = draw_case(1, queries=20, gallery=90, identities=6, cameras=3)
    check_against_plain([query.astype(np.float16), gallery.astype(np.float16), *labels])
    on_device = retrieval.evaluate(jax.numpy.asarray(query), jax.numpy.asarray(gallery), *labels)
    assert on_device.mAP == retrieval.evaluate(query, gallery, *labels).mAP


def test_copies_of_one_image_rank_in_gallery_order():
    # Values that float32 must round, so that only equal arithmetic for every place makes ties.
    vector = np.random.default_rng(2).standard_normal((1, 97)).astype(np.float32)
    gallery = np.repeat(vector, 777, axis=0)
    with pytest.warns(retrieval.CollapsedDescriptorsWarning, match="collapsed"):
        result = retrieval.evaluate(
            gallery[:3] * np.float32(1.00000012),
            gallery,
            np.array([0, 400, 776]),
            np.arange(777),
            camera_filter=False,
            max_rank=777,
            blocks=retrieval.Blocks(gallery_rows=256),
        )
    np.testing.assert_allclose(result.average_precisions, [1, 1 / 401, 1 / 777])


def test_descriptors_that_float32_cannot_tell_apart_are_warned_of():
    case = draw_case(4, queries=30, gallery=200, identities=8, cameras=3, grid=False)
    query, gallery, *labels = case
    center = np.zeros(query.shape[1], np.float32)
    center[0] = 100 * np.linalg.norm(gallery, axis=1).max()
    moved = retrieval.evaluate(query + center, gallery + center, *labels)
    assert moved.mAP == pytest.approx(retrieval.evaluate(*case).mAP, abs=0.005)
    with pytest.warns(retrieval.CollapsedDescriptorsWarning, match="subtract their mean"):
        retrieval.evaluate(query + 10 * center, gallery + 10 * center, *labels)


def test_zero_vectors_are_as_far_as_unrelated_ones():
    query, gallery, *labels = draw_case(3, queries=12, gallery=50, identities=4, cameras=2)
    query[0] = 0
    gallery[5:9] = 0
    check_against_plain([query, gallery, *labels])
    unrelated = retrieval.evaluate(
        np.array([[1.0, 0]]),
        np.array([[0.0, 0], [1, 0.1], [0, 2]]),
        np.array([0]),
        np.array([0, 1, 0]),
        camera_filter=False,
        metric="cosine",
    )
    assert unrelated.average_precisions[0] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_curve_keeps_its_last_value_beyond_the_gallery():
    result = retrieval.evaluate(
        np.array([[0.0], [5.0]]),
        np.array([[3.0], [0.0]]),
        np.array([7, 8]),
        np.array([7, 7]),
        camera_filter=False,
        max_rank=4,
    )
    np.testing.assert_array_equal(result.cmc, [1, 1, 1, 1])
    assert (result.valid_queries, result.queries) == (1, 2)
    assert np.isnan(result.average_precisions[1])


def test_trapezoids_count_the_precision_just_above_a_match():
    result = retrieval.evaluate(
        np.array([[0.0]]),
        np.array([[1.0], [2.0], [3.0]]),
        np.array([0]),
        np.array([1, 0, 0]),
        camera_filter=False,
        average_precision="trapezoid",
    )
    assert result.mAP == pytest.approx(((0 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert result.summary()["average_precision"] == "trapezoid"


def test_one_device_and_eight_give_the_same_bits():
    case = draw_case(4, queries=75, gallery=333, identities=20, cameras=3, grid=False)
    one, eight = (
        retrieval.evaluate(*case, blocks=retrieval.Blocks(devices=jax.devices()[:count]))
        for count in (1, 8)
    )
    np.testing.assert_array_equal(one.average_precisions, eight.average_precisions)


def test_images_of_one_camera_need_the_filter_off():
    case = draw_case(5, queries=6, gallery=30, identities=3, cameras=1)
    with pytest.raises(UserError, match="camera_filter=False"):
        retrieval.evaluate(*case)
    assert retrieval.evaluate(*case, camera_filter=False).valid_queries == 6
    with pytest.raises(UserError, match="needs the cameras"):
        retrieval.evaluate(*case[:4])


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_is_refused_by_row(value):
    query, gallery, *labels = draw_case(6, queries=4, gallery=40, identities=3, cameras=2)
    gallery[[3, 31]] = value
    with pytest.raises(UserError, match=r"gallery descriptors .* rows 3, 31 \(of 40\)"):
        retrieval.evaluate(query, gallery, *labels)


def test_what_does_not_fit_is_refused():
    query, gallery, *labels = draw_case(7, queries=4, gallery=40, identities=3, cameras=2)
    with pytest.raises(UserError, match="same model"):
        retrieval.evaluate(query[:, :3], gallery, *labels)
    with pytest.raises(UserError, match=r"query identities must have shape \[4\]"):
        retrieval.evaluate(query, gallery, labels[0][:2], *labels[1:])
    with pytest.raises(UserError, match=r"shape \[N, D\]"):
        retrieval.evaluate(query[0], gallery, *labels)
    with pytest.raises(UserError, match="there are no query descriptors"):
        retrieval.evaluate(query[:0], gallery, labels[0][:0], labels[1], labels[2][:0], labels[3])
    with pytest.raises(UserError, match="unknown metric"):
        retrieval.evaluate(query, gallery, *labels, metric="manhattan")
    with pytest.raises(UserError, match="unknown average precision"):
        retrieval.evaluate(query, gallery, *labels, average_precision="square")
    with pytest.raises(UserError, match="floating-point"):
        retrieval.evaluate(query.astype(int), gallery, *labels)
    with pytest.raises(UserError, match="max_rank"):
        retrieval.evaluate(query, gallery, *labels, max_rank=0)


def test_labels_that_cannot_be_equal_are_refused():
    query, gallery, *labels = draw_case(10, queries=4, gallery=40, identities=3, cameras=2)

    def error(ids=labels[:2], cameras=labels[2:]):
        with pytest.raises(UserError) as caught:
            retrieval.evaluate(query, gallery, *ids, *cameras)
        return str(caught.value)

    text = np.char.add("c", labels[3].astype(str))
    message = error(cameras=(labels[2], text))
    assert message.startswith(
        f"query cameras are numbers, such as {labels[2][0]}, and gallery cameras text, such as "
        f"{str(text[0])!r}"
    )
    assert "gallery identities text" in error(ids=(labels[0], labels[1].astype(str)))
    unknown = labels[1].astype(float)
    unknown[7] = np.nan
    assert "gallery identities hold nan in row 7" in error(ids=(labels[0], unknown))
    assert "query cameras hold inf in row 0" in error(cameras=(np.full(4, np.inf), labels[3]))
    mixed = np.array([1, "a", 2, "b"], object)
    assert "query identities are of different types (int, str)" in error(ids=(mixed, labels[1]))
    assert "must be numbers or text, not complex" in error(ids=(labels[0] * 1j, labels[1]))


def test_labels_in_object_arrays_are_read():
    query, gallery, *labels = draw_case(11, queries=9, gallery=40, identities=3, cameras=2)
    wanted = retrieval.evaluate(query, gallery, *labels).mAP
    assert retrieval.evaluate(query, gallery, *(x.astype(object) for x in labels)).mAP == wanted
    text = [x.astype(str).astype(object) for x in labels]
    assert retrieval.evaluate(query, gallery, *text).mAP == wanted


def test_cameras_may_be_anything_where_they_are_not_looked_at():
    case = draw_case(12, queries=4, gallery=40, identities=3, cameras=2)
    unknown = [np.full(len(part), np.nan) for part in case[4:]]
    result = retrieval.evaluate(*case[:4], *unknown, camera_filter=False)
    assert result.mAP == retrieval.evaluate(*case[:4], camera_filter=False).mAP
