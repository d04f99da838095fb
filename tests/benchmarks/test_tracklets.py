"""The benchmark of drawn tracklets, with a stand-in for the network."""

import dataclasses

import numpy as np
import pytest

from benchmarks import tracklets
from input_pipeline.synthetic.plan import GALLERY, QUERY, make_plan
from input_pipeline.synthetic.settings import PRESETS
from magnifier_jax.embedding.embeddings import Embeddings

TINY = dataclasses.replace(PRESETS["tiny"], frames=2)


def side(cameras):
    """Three people; of each tracklet one image shows the person and the other one a passer-by."""
    people = np.repeat([1, 2, 3], 2)
    frames = np.tile([0, 1], 3)
    own, passer_by = (
        np.eye(5, dtype=np.float32)[people - 1],
        np.eye(5, dtype=np.float32)[people % 3],
    )
    descriptors = np.where(frames[:, None] == 0, own, passer_by)
    descriptors[:, 4] = 0.1 * cameras  # Nothing is in the gallery twice.
    visible = np.zeros((6, 3), bool)
    visible[frames == 0, 1:] = True
    return tracklets.Side(
        Embeddings(descriptors, np.zeros((6, 3, 2), np.float32), visible),
        people,
        np.full(6, cameras),
        people,
        frames,
    )


def test_ways_to_compare_tracklets():
    found = tracklets.compare(side(1), side(2))
    assert list(found) == [
        "image to image",
        *(
            f"{way}, {weights}"
            for weights in ("uniform", "visible")
            for way in ("tracklet to image", "image to tracklet", "tracklet to tracklet")
        ),
    ]
    # Image 0 finds its person, and image 1, a passer-by, finds the same passer-by's image.
    assert found["image to image"] == (1.0, 1.0)
    # What shows no part does not count: the clear image alone is compared.
    assert found["tracklet to tracklet, visible"] == (1.0, 1.0)
    # Of the two single images the clear one finds its person, the other one ranks a stranger first.
    mean, first = found["image to tracklet, visible"]
    assert first == pytest.approx(1 / 2)
    assert mean < 1


def test_tracklets_of_unseen_people_and_distractors_are_drawn_and_embedded():
    plan = make_plan(TINY)
    for split, expected in ((QUERY, 2 * 2 * 2), (GALLERY, 2 * 4 * 2 + 2 * 2 * 2)):
        shots = tracklets.chosen_shots(plan, TINY, people=2, split=split)
        assert len(shots) == expected

    class Network:
        def embed(self, images):
            colors = np.stack([image.reshape(-1, 3).mean(0) for image in images])
            return Embeddings(colors.astype(np.float32))

    shots = tracklets.chosen_shots(plan, TINY, people=1, split=QUERY)
    found = tracklets.embed_side(Network(), TINY, plan, shots, title="query")
    assert found.people.tolist() == [TINY.train_identities + 1] * 4
    assert found.frames.tolist() == [0, 1, 0, 1]
    assert len(found.pooled("uniform").found) == len(set(found.tracklets.tolist())) == 2
    np.testing.assert_array_equal(found.at(1).found.descriptors, found.found.descriptors[[1, 3]])
