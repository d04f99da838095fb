import dataclasses
import json

import jax
import numpy as np
import pytest

from magnifier_jax.datasets import open_test_sets
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation import Evaluator, Measures, Score, evaluation_record, rank, table

CMC = (0.125, *4 * [0.5], *5 * [1.0])


def measures(mean=0.5, *, valid=10, cmc=CMC, flip=False):
    return Measures(mean, 0.25, cmc, 10, valid, 40, "rectangular", "euclidean", flip)


def test_a_score_survives_json():
    score = Score("market1501", measures(), measures(0.6, flip=True), reranked=measures(0.75))
    assert Score.from_mapping(json.loads(json.dumps(score.to_mapping()))) == score


def test_scores_that_do_not_tell_of_flipping_can_be_read():
    mapping = Score("market1501", measures()).to_mapping()
    del mapping["flip"]
    assert Score.from_mapping(mapping) == Score("market1501", measures())


def test_a_run_that_stopped_early_has_no_table():
    assert table(()).startswith("Not measured yet: ")


def test_the_record_has_the_first_set_on_top_and_all_of_several():
    scores = [Score("one", measures(0.5)), Score("two", measures(0.25))]
    record = evaluation_record(scores, step=7, untrained=[Score("one", measures(0.125))])
    assert (record["step"], record["mAP"], record["test_set"]) == (7, 0.5, "one")
    assert [entry["mAP"] for entry in record["test_sets"]] == [0.5, 0.25]
    assert record["untrained"][0]["mAP"] == 0.125
    assert "test_sets" not in evaluation_record(scores[:1], step=7)


def test_the_table_shows_every_way_of_ranking():
    score = Score("market", measures(0.5, valid=8), expanded=measures(0.6), reranked=measures(0.7))
    lines = table([score], untrained=[Score("market", measures(0.02))]).splitlines()
    text = {line.split("  ")[0].strip(): line for line in lines}
    assert "2.0" in text["market, untrained"]
    assert text["market, trained"].split()[2:] == [
        "50.0",
        "25.0",
        "12.5",
        "50.0",
        "100.0",
        "8",
        "of",
        "10",
    ]
    assert "60.0" in text["market, expanded"]
    assert "70.0" in text["market, reranked"]
    assert "rectangular" in lines[-1]


def test_the_table_says_what_expansion_and_reranking_were_applied_to():
    flipped = [measures(mean, flip=True) for mean in (0.6, 0.7, 0.8)]
    lines = table([Score("market", measures(), *flipped)]).splitlines()
    names = [line.split("  ")[0].strip() for line in lines[3:-2]]
    assert names == [
        "market",
        "market, flipped",
        "market, flipped and expanded",
        "market, flipped and reranked",
    ]


def test_the_table_ends_where_the_curve_does():
    lines = table([Score("market", measures(cmc=CMC[:5]))]).splitlines()
    assert lines[1].split() == ["mAP", "mINP", "rank-1", "rank-5", "queries"]
    assert lines[3].split() == ["market", "50.0", "25.0", "12.5", "50.0", "10"]


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load_trained(tiny_run.workdir.path, make_mesh(jax.devices()[:1]))


def test_every_switch_on_several_test_sets(tiny_run, trained):
    config = dataclasses.replace(
        tiny_run.config,
        data=dataclasses.replace(tiny_run.config.data, test="synthetic:tiny,synthetic:tiny@again"),
        evaluate=dataclasses.replace(
            tiny_run.config.evaluate, flip=True, rerank=True, query_expansion=2
        ),
    )
    sets = open_test_sets(config, progress=False)
    mesh = make_mesh(jax.devices()[:1])
    evaluator = Evaluator(config, trained.model, sets, mesh, progress=False)
    scores = evaluator(trained.variables)
    assert [score.name for score in scores] == ["synthetic_tiny", "synthetic_tiny_2"]
    # The second set is the first one drawn again.
    assert scores[0].plain == scores[1].plain
    assert set(scores[0].variants()) == {"flipped", "flipped and expanded", "flipped and reranked"}
    assert not scores[0].plain.flip
    alone = dataclasses.replace(
        config, evaluate=dataclasses.replace(config.evaluate, flip=False, query_expansion=0)
    )
    (without,) = Evaluator(alone, trained.model, sets[:1], mesh, progress=False)(trained.variables)
    assert without.plain == scores[0].plain
    assert without.reranked != scores[0].reranked
    assert list(without.variants()) == ["reranked"]
    first = evaluator.first
    assert len(first.query) == len(sets[0].query)
    assert len(first.gallery) == len(sets[0].gallery)
    assert first.score == scores[0]
    assert np.nanmean(first.average_precisions) == pytest.approx(scores[0].flipped.mAP)


def test_perfect_descriptors_score_one(tiny_run):
    (test_set,) = open_test_sets(tiny_run.config, progress=False)
    directions = np.eye(4000, 64, dtype=np.float32)
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(4000, 64)).astype(np.float32) + directions
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    # The same vectors on both sides are images that find themselves, which is said.
    with pytest.warns(UserWarning, match="in the gallery themselves"):
        ranked = rank(
            tiny_run.config,
            test_set,
            query=Embeddings(codes[test_set.query.identities]),
            gallery=Embeddings(codes[test_set.gallery.identities]),
        )
    score = ranked.score
    assert (ranked.average_precisions == 1).all()
    assert score.plain.mAP == 1.0
    assert score.plain.at(1) == 1.0
    assert score.plain.valid_queries == score.plain.queries
