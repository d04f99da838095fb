"""Test sets whose tracklets are ranked."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import datasets, retrieval
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation import Evaluator, Score, rank, table
from magnifier_jax.evaluation.report.report import write_report
from magnifier_jax.workdir import WorkDirectory


def split(identities, cameras, tracklets):
    return PreparedSplit(
        np.array(identities, np.int32),
        np.array(cameras, np.int32),
        tuple(f"{i}.jpg" for i in range(len(identities))),
        np.zeros(len(identities), np.int32),
        (),
        tracklets=None if tracklets is None else np.array(tracklets),
    )


@pytest.fixture
def test_set():
    """Four people under two cameras: three images of each, which are tracklets named anew."""
    people, cameras = np.repeat(np.arange(4), 6), np.tile(np.repeat([1, 2], 3), 4)
    names = np.where(np.arange(24) == 23, "", "walk")  # The last image is of no known tracklet.
    searched = split(people, cameras, names)
    first = cameras == 1
    asked = split(people[first], cameras[first], names[first])
    return datasets.TestSet("corridor", asked, searched, by_tracklet=True)


def found(count, *, seed):
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count, 6)).astype(np.float32)
    visible = generator.random((count, 4)) < 0.6
    visible[:, 0] = False
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings(rows, visible=visible, unflipped=rows[:, ::-1].copy())


def settings(**changes):
    config = Config()
    return dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, **changes))


def means(rows, visible, starts):
    """Unit means of the runs of rows that begin at `starts`, weighted by the visible parts."""
    weights = visible.sum(1) if visible is not None else np.ones(len(rows))
    pooled = []
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        run = weights[start:end] if weights[start:end].any() else np.ones(end - start)
        mean = run @ rows[start:end].astype(np.float64)
        pooled.append(mean / np.linalg.norm(mean))
    return np.array(pooled, np.float32)


@pytest.mark.parametrize("weights", ["visible", "uniform"])
def test_tracklets_are_ranked_by_the_means_of_their_images(test_set, weights):
    query, gallery = found(12, seed=1), found(24, seed=2)
    ranked = rank(settings(tracklet_weights=weights), test_set, query=query, gallery=gallery)
    asked, searched = [0, 3, 6, 9], [0, 3, 6, 9, 12, 15, 18, 21, 23]
    seen = weights == "visible"
    sides = [
        means(side.descriptors, side.visible if seen else None, starts)
        for side, starts in ((query, asked), (gallery, searched))
    ]
    np.testing.assert_allclose(ranked.query, sides[0], atol=1e-6)
    np.testing.assert_allclose(ranked.gallery, sides[1], atol=1e-6)
    ids, cameras = test_set.gallery.identities[searched], test_set.gallery.cameras[searched]
    wanted = retrieval.evaluate(*sides, np.arange(4), ids, np.ones(4), cameras)
    assert ranked.score.flipped.mAP == pytest.approx(wanted.mAP)
    assert (ranked.score.flipped.queries, ranked.score.flipped.gallery) == (4, 9)
    alone = [
        means(side.unflipped, side.visible if seen else None, starts)
        for side, starts in ((query, asked), (gallery, searched))
    ]
    wanted = retrieval.evaluate(*alone, np.arange(4), ids, np.ones(4), cameras)
    assert ranked.score.plain.mAP == pytest.approx(wanted.mAP)
    assert dataclasses.asdict(ranked.score.tracklets) == {
        "query_images": 12,
        "gallery_images": 24,
        "weights": weights,
    }
    assert ranked.test_set.gallery.names == tuple(f"{i}.jpg" for i in searched)


def test_images_are_ranked_where_the_protocol_does_not_say_tracklets(test_set):
    query, gallery = found(12, seed=1), found(24, seed=2)
    images = dataclasses.replace(test_set, by_tracklet=False)
    plain = rank(settings(), images, query=query, gallery=gallery)
    assert plain.score.tracklets is None
    assert "tracklets" not in plain.score.to_mapping()
    np.testing.assert_array_equal(plain.gallery, gallery.descriptors)
    never = rank(settings(by_tracklet="never"), test_set, query=query, gallery=gallery)
    assert never.score == plain.score
    always = rank(settings(by_tracklet="always"), images, query=query, gallery=gallery)
    assert always.score == rank(settings(), test_set, query=query, gallery=gallery).score


def test_tracklets_that_nobody_knows_cannot_be_ranked(test_set):
    unknown = datasets.TestSet(
        "corridor",
        dataclasses.replace(test_set.query, tracklets=None),
        dataclasses.replace(test_set.gallery, tracklets=None),
    )
    with pytest.raises(DataError, match="corridor does not say which images are a tracklet"):
        rank(
            settings(by_tracklet="always"),
            unknown,
            query=found(12, seed=1),
            gallery=found(24, seed=2),
        )


def test_records_and_tables_say_that_tracklets_were_ranked(test_set):
    score = rank(settings(), test_set, query=found(12, seed=1), gallery=found(24, seed=2)).score
    assert Score.from_mapping(json.loads(json.dumps(score.to_mapping()))) == score
    last = table([score]).splitlines()[-1]
    assert last.startswith("corridor: 4 query and 9 gallery tracklets, means of 12 and 24 images")


def test_a_network_is_measured_by_tracklet_and_its_report_shows_first_images(tiny_run, tmp_path):
    """Images of one person under one camera are taken for a tracklet."""
    mesh = make_mesh(jax.devices()[:1])
    trained = load_trained(tiny_run.workdir.path, mesh)
    (images,) = datasets.open_test_sets(tiny_run.config, progress=False)

    def walks(side):
        pairs = zip(side.identities.tolist(), side.cameras.tolist(), strict=True)
        return dataclasses.replace(side, tracklets=np.array([f"{a} {b}" for a, b in pairs]))

    test_set = datasets.TestSet(
        "walks", walks(images.query), walks(images.gallery), by_tracklet=True
    )
    evaluator = Evaluator(tiny_run.config, trained.model, [test_set], mesh, progress=False)
    (score,) = evaluator(trained.variables)
    pairs = zip(images.gallery.identities.tolist(), images.gallery.cameras.tolist(), strict=True)
    assert score.plain.gallery == len(set(pairs))
    assert score.plain.gallery < len(images.gallery)
    assert score.tracklets.gallery_images == len(images.gallery)
    path = write_report(
        WorkDirectory(tmp_path), trained, scores=[score], ranked=evaluator.first, mesh=mesh
    )
    assert "Rankings of walks" in path.read_text("utf-8")
