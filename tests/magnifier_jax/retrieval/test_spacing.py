"""Offsets, far rows and unequal scales against float64 brute force."""

import tracemalloc
import warnings

import jax
import numpy as np
import pytest

from benchmarks import retrieval_reference as plain
from magnifier_jax import retrieval
from magnifier_jax.retrieval import Gallery, spacing
from magnifier_jax.retrieval.descriptors import check_descriptors
from magnifier_jax.retrieval.spacing import align

OFFSETS = (0, 3, 30, 2_000, 10_000)


@pytest.fixture(autouse=True)
def _collapse_is_said():
    """Offsets are so large here that most of these sets count as collapsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", retrieval.CollapsedDescriptorsWarning)
        yield


def look_alikes(seed, *, queries=30, gallery=150, width=16):
    """People that differ much less than they are alike."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 12, queries + gallery)
    centers = generator.standard_normal((12, width))
    values = centers[ids] + 0.8 * generator.standard_normal((len(ids), width))
    cameras = generator.integers(0, 3, len(ids))
    return [part for both in (values, ids, cameras) for part in (both[:queries], both[queries:])]


def moved(case, offset, *, where, dtype=np.float32):
    """The case with an offset, as this type holds it."""
    query, gallery, *labels = case
    offset = offset * np.asarray(where, np.float64)
    return [(query + offset).astype(dtype), (gallery + offset).astype(dtype), *labels]


def exact_distances(query, gallery, *, metric="euclidean"):
    query, gallery = np.asarray(query, np.float64), np.asarray(gallery, np.float64)
    if metric == "cosine":
        # The length of the difference of unit vectors, which loses nothing.
        query, gallery = (
            values / np.linalg.norm(values, axis=1, keepdims=True) for values in (query, gallery)
        )
        return ((query[:, None] - gallery[None]) ** 2).sum(2) / 2
    return np.sqrt(((query[:, None] - gallery[None]) ** 2).sum(2))


def check_all(case, *, metric="euclidean"):
    """Every way of comparing gives what float64 gives."""
    query, gallery, *labels = case
    distances = exact_distances(query, gallery, metric=metric)
    wanted = plain.evaluate_by_sorting(distances, *labels)
    found = retrieval.evaluate(*case, metric=metric)
    np.testing.assert_allclose(found.average_precisions, wanted.average_precisions, atol=1e-12)
    np.testing.assert_allclose(found.cmc, wanted.cmc, atol=1e-12)

    order = np.argsort(distances, axis=1, kind="stable")
    names = np.arange(len(gallery)).astype(str)
    searched = Gallery.build(gallery, names=names, metric=metric).search(query, top=20)
    np.testing.assert_array_equal(searched.indices, order[:, :20])
    np.testing.assert_allclose(
        searched.distances, np.take_along_axis(distances, order[:, :20], axis=1), rtol=1e-3
    )

    same = labels[0][:, None] == labels[1][None]
    different = np.sort(distances[~same])
    for point in retrieval.verify(*case, metric=metric, rates=(0.2, 0.01)).points:
        threshold = different[int(point.allowed_rate * len(different))]
        assert point.threshold == pytest.approx(threshold, rel=1e-3)
        counted = same & (labels[2][:, None] != labels[3][None])
        assert point.true_positive_rate == np.mean(distances[counted] < threshold)


WHERE = {
    "one dimension": np.eye(16)[3],
    "all dimensions": np.ones(16),
    "three dimensions": np.eye(16)[0] - np.eye(16)[5] + np.eye(16)[9],
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("offset", OFFSETS)
def test_offsets(where, offset):
    check_all(moved(look_alikes(0), offset, where=WHERE[where]))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_offsets_in_other_types(dtype):
    offset = {np.float16: 100, np.float64: 1e7}[dtype]
    check_all(moved(look_alikes(1), offset, where=WHERE["one dimension"], dtype=dtype))


@pytest.mark.parametrize("offset", [0, 100, 3_000])
def test_cosine_with_offsets(offset):
    check_all(moved(look_alikes(2), offset, where=WHERE["all dimensions"]), metric="cosine")


@pytest.mark.parametrize("far", [1e4, 1e8, 1e15])
def test_a_far_row_changes_nothing_for_the_others(far):
    case = moved(look_alikes(3), 500, where=WHERE["one dimension"])
    case[1][7] = far
    if far < 1e10:  # Farther away, float64 cannot rank the gallery for such a query either.
        case[0][2] = -far
    check_all(case)


def test_two_groups_far_apart():
    case = moved(look_alikes(4), 0, where=WHERE["one dimension"])
    for side in (0, 1):
        case[side] += np.where(case[2 + side] % 2, 2_000, -2_000)[:, None].astype(np.float32)
    check_all(case)


def test_one_large_dimension():
    query, gallery, *labels = look_alikes(5)
    large = np.where(np.arange(16) == 4, 1e4, 1)
    check_all([(query * large).astype(np.float32), (gallery * large).astype(np.float32), *labels])


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-10, 1e15, 1e30])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_every_scale_that_float32_holds(scale, metric):
    query, gallery, *labels = look_alikes(6)
    case = [(query * scale).astype(np.float32), (gallery * scale).astype(np.float32), *labels]
    check_all(case, metric=metric)


@pytest.mark.parametrize("scales", [(1e-10, 1e15), (1e-30, 1.0), (1e10, 1e-20)])
def test_cosine_of_lengths_that_differ_much(scales):
    query, gallery, *labels = look_alikes(7)
    lengths = np.where(np.arange(len(gallery)) % 2, *scales)[:, None]
    case = [(query * scales[0]).astype(np.float32), (gallery * lengths).astype(np.float32), *labels]
    check_all(case, metric="cosine")
    expanded = retrieval.expand_queries(case[0], case[1])
    wanted = retrieval.expand_queries(query.astype(np.float32), gallery.astype(np.float32))
    np.testing.assert_allclose(expanded, wanted, atol=1e-6)


def test_zero_vectors_keep_their_place_at_every_scale():
    query = np.array([[1.0, 0], [0, 0]])
    gallery = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0], [-1, 0]])
    for scale in (1e-30, 1e-10, 1.0, 1e15, 1e30):
        values = (gallery * scale).astype(np.float32)
        found = Gallery.build(values, names=list("abcde"), metric="cosine").search(
            (query * scale).astype(np.float32), top=5
        )
        assert found.indices.tolist() == [[3, 2, 0, 1, 4], [0, 1, 2, 3, 4]]
        np.testing.assert_allclose(found.distances[0], [0, 1 - np.sqrt(0.5), 1, 1, 2], atol=1e-6)
        np.testing.assert_array_equal(found.distances[1], 1)


@pytest.mark.parametrize("offset", [0, 100, 10_000])
def test_reranking_with_offsets(offset):
    query, gallery, *_ = moved(look_alikes(8), offset, where=WHERE["all dimensions"])
    found = np.concatenate([block.values for block in retrieval.rerank(query, gallery)])
    center = gallery.astype(np.float64).mean(axis=0)
    wanted = plain.rerank_in_full(query - center, gallery - center)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("offset", [0, 100, 10_000])
def test_expansion_with_offsets(offset):
    query, gallery, *_ = moved(look_alikes(9), offset, where=WHERE["all dimensions"])
    found = retrieval.expand_queries(query, gallery)
    query, gallery = (
        values / np.linalg.norm(values, axis=1, keepdims=True)
        for values in (query.astype(np.float64), gallery.astype(np.float64))
    )
    apart = ((query[:, None] - gallery[None]) ** 2).sum(2) / 2
    near = np.argsort(apart, axis=1, kind="stable")[:, :5]
    weights = (1 - np.take_along_axis(apart, near, axis=1)) ** 3
    weights = np.maximum(weights, 0)
    wanted = query + np.einsum("qk,qkd->qd", weights, gallery[near])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-7 if offset == 0 else 1e-12)


@pytest.mark.parametrize("offset", [0, 50, 3_000])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e20])
def test_parts_with_offsets_and_scales(offset, scale):
    generator = np.random.default_rng(0)
    values = ((generator.standard_normal((70, 3, 8)) + offset) * scale).astype(np.float32)
    visible = generator.random((70, 3)) < 0.7
    visible[:, 1] = True
    gallery = Gallery.build(
        values[10:, 0], names=np.arange(60).astype(str), parts=values[10:], visible=visible[10:]
    )
    found = gallery.search_parts(values[:10], visible[:10], top=60)
    unit = values.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    apart = ((unit[:10, None] - unit[None, 10:]) ** 2).sum(3) / 2
    both = visible[:10, None] & visible[None, 10:]
    distances = (apart * both).sum(2) / both.sum(2)
    order = np.argsort(distances, axis=1, kind="stable")
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(
        found.distances, np.take_along_axis(distances, order, axis=1), rtol=1e-3
    )


def test_moving_both_sides_changes_no_distance():
    query, gallery, *_ = look_alikes(10)
    # Numbers on a grid, so that the offset itself loses nothing.
    query, gallery = (np.round(values * 64) / 64 for values in (query, gallery))
    names = np.arange(len(gallery)).astype(str)
    wanted = Gallery.build(gallery, names=names).search(query, top=150)
    for offset in (64.0, 4_096.0):
        there = Gallery.build((gallery + offset).astype(np.float32), names=names)
        found = there.search((query + offset).astype(np.float32), top=150)
        np.testing.assert_array_equal(found.indices, wanted.indices)
        np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-6)


def test_an_image_is_at_distance_0_from_itself():
    for offset in (0, 50, 5_000):
        _, gallery, *_ = moved(look_alikes(11), offset, where=WHERE["all dimensions"])
        names = np.arange(len(gallery)).astype(str)
        found = Gallery.build(gallery, names=names).search(gallery, top=1)
        np.testing.assert_array_equal(found.indices[:, 0], np.arange(len(gallery)))
        np.testing.assert_allclose(found.distances, 0, atol=1e-6)


def test_a_far_query_of_an_ordinary_gallery():
    query, gallery, *_ = (values.astype(np.float32) for values in look_alikes(12))
    searcher = Gallery.build(gallery, names=np.arange(150).astype(str)).searcher()
    for far in (1, 1e3, 1e6):
        asked = query * np.float32(far)
        found = searcher.search(asked, top=10)
        order = np.argsort(exact_distances(asked, gallery), axis=1, kind="stable")[:, :10]
        np.testing.assert_array_equal(found.indices, order)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_few_look_alikes_among_strangers(metric):
    generator = np.random.default_rng(1)
    strangers = generator.standard_normal((970, 64))
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    alike = strangers[0] + 1e-4 * generator.standard_normal((30, 64))
    gallery = np.concatenate([strangers, alike])[generator.permutation(1000)].astype(np.float32)
    query = np.concatenate([strangers[:50], alike]).astype(np.float32)
    found = Gallery.build(gallery, names=np.arange(1000).astype(str), metric=metric).search(query)
    exact = [part.astype(np.float64) for part in (query, gallery)]
    if metric == "cosine":
        exact = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in exact]
    order = np.argsort(exact_distances(*exact), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(found.indices, order)


def test_rows_that_repeat_in_even_steps():
    generator = np.random.default_rng(2)
    gallery = generator.standard_normal((256, 16))
    gallery[1::2] = 1 + 1e-5 * gallery[1::2]
    query, ids = gallery[::3] + 1e-6, np.arange(256)
    assert retrieval.evaluate(query, gallery, ids[::3], ids, camera_filter=False).cmc[0] == 1


def test_unit_vectors_stay_in_float32_and_are_not_copied():
    generator = np.random.default_rng(0)
    values = generator.standard_normal((900, 64)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    sides = [check_descriptors(part, name="some") for part in (values[:300], values[300:])]
    for metric in ("euclidean", "cosine"):
        query, gallery = align(*sides, metric=metric)
        assert query.dtype == gallery.dtype == np.float32
        assert np.shares_memory(query.block(0, rows=100), values)
        assert np.shares_memory(gallery.block(100, rows=100), values)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_collapse_is_said_although_a_row_is_far(metric):
    generator = np.random.default_rng(0)
    values = (1_000 + generator.standard_normal((60, 8))).astype(np.float32)
    values[17] = [1e6, -1e6, 3, 5, 1e5, 0, 0, 1]
    ids = np.arange(60) % 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(retrieval.CollapsedDescriptorsWarning, match="nearly the same vector"):
            retrieval.evaluate(
                values[:20], values[20:], ids[:20], ids[20:], camera_filter=False, metric=metric
            )


@pytest.mark.parametrize(("dtype", "offset"), [(np.float16, 2_000), (np.float32, 3e7)])
def test_rounding_that_hides_neighbors_is_said(dtype, offset):
    case = moved(look_alikes(13), offset, where=WHERE["all dimensions"], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(retrieval.CollapsedDescriptorsWarning, match="follows rounding"):
            retrieval.evaluate(*case)
        with pytest.raises(retrieval.CollapsedDescriptorsWarning, match="follows rounding"):
            Gallery.build(case[1], names=np.arange(150).astype(str)).search(case[0])


@pytest.mark.parametrize("offset", [0, 300])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_mapped_files_are_not_copied(tmp_path, offset, metric):
    generator = np.random.default_rng(0)
    path = tmp_path / "gallery.npy"
    values = generator.standard_normal((20_000, 256)).astype(np.float32) + np.float32(offset)
    np.save(path, values)
    size, query = values.nbytes, values[:16].copy()
    del values
    ids, cameras = np.arange(20_000) % 500, np.arange(20_000) % 7
    gallery = np.load(path, mmap_mode="r")
    blocks = retrieval.Blocks(row_bytes=2**20, gallery_rows=1024, devices=jax.devices()[:1])
    tracemalloc.start()
    retrieval.evaluate(
        query, gallery, ids[:16], ids, cameras[:16], cameras, metric=metric, blocks=blocks
    )
    retrieval.verify(
        query, gallery, ids[:16], ids, cameras[:16], cameras, metric=metric, blocks=blocks
    )
    built = Gallery.build(gallery, names=np.arange(20_000).astype(str), metric=metric)
    built.searcher(blocks=blocks, device_bytes=0).search(query, top=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * size


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["unit", "offset", "one far row", "small", "repeated", "alike"])
def test_the_quick_look_never_contradicts_the_closer_one(metric, kind):
    """What is decided in float32 must be what float64 decides, or be left to it."""
    decided = 0
    for seed in range(12):
        query, gallery, *_ = look_alikes(seed, gallery=300, width=(64, 512)[seed % 2])
        if kind == "unit":
            query, gallery = (
                v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query, gallery)
            )
        if kind == "offset":
            query, gallery = query + 3.0**seed / 9, gallery + 3.0**seed / 9
        if kind == "one far row":
            gallery[5 + seed] *= 4.0**seed
        if kind == "small":
            query, gallery = query * 10.0 ** -(seed + 1), gallery * 10.0 ** -(seed + 1)
        if kind == "repeated":
            gallery[: 25 * seed] = gallery[0]
        if kind == "alike":
            gallery = gallery[0] + (gallery - gallery[0]) * 4.0**-seed
        first = check_descriptors(query.astype(np.float32), name="query")
        second = check_descriptors(gallery.astype(np.float32), name="gallery")
        asked = spacing.sample(first, metric=metric)
        rows = spacing.sample(second, metric=metric)
        largest = spacing._largest(first, second, metric)
        if spacing._clearly_apart(asked, rows, largest=largest):
            decided += 1
            closer = spacing.Spacing.of(second, metric=metric)
            assert not closer.needs_float64(first, second, asked=asked)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                closer.warn(asked)
    assert (decided == 12) if kind in ("unit", "small") else (0 < decided < 13)
