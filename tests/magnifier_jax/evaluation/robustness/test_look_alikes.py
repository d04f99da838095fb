import dataclasses

import numpy as np
import pytest

from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.store.splits import PreparedSplit
from input_pipeline.synthetic import PRESETS
from magnifier_jax.evaluation.robustness.look_alikes import (
    DrawnPeople,
    find_confusions,
    matching,
)


def split(identities, cameras):
    count = len(identities)
    return PreparedSplit(
        identities=np.array(identities, np.int32),
        cameras=np.array(cameras, np.int32),
        names=tuple(f"{identity}_{i}" for i, identity in enumerate(identities)),
        num_parts=np.zeros(count, np.int32),
        sources=(),
    )


SETTINGS = dataclasses.replace(
    PRESETS["tiny"],
    train_identities=5,
    test_identities=10,
    look_alikes=4,
    look_alike_share=1.0,
)


def test_groups_are_those_that_were_drawn_together():
    drawn = DrawnPeople.of(SETTINGS)
    # 5 and 10 people make one and two whole groups of four; the others stand alone.
    groups = [[n for n in range(1, 16) if drawn.group.get(n) == group] for group in range(3)]
    assert groups == [[1, 2, 3, 4], [6, 7, 8, 9], [10, 11, 12, 13]]
    assert drawn.alike(6, 9)
    assert not drawn.alike(6, 6)
    assert not drawn.alike(9, 10)
    assert not drawn.alike(14, 15)


def test_every_look_alike_differs_from_the_first_in_one_known_part():
    drawn = DrawnPeople.of(dataclasses.replace(SETTINGS, test_identities=200, look_alikes=8))
    parts = set()
    for other in range(1, 200):
        first = next((n for n in drawn.group if drawn.alike(n, other)), None)
        if first is None or first > other:
            continue
        found = {difference.part for difference in drawn.differences(first, other)}
        assert len(found) == 1
        parts |= found
    assert parts == {1, 2, 3, 4, 5, 6, 7}


def test_wrong_first_matches_are_counted_and_attributed():
    drawn = DrawnPeople.of(SETTINGS)
    query = split([6, 7, 14], [1, 1, 1])
    gallery = split([6, 7, 8, 14, 15, 6], [2, 2, 2, 2, 2, 1])
    distances = np.array(
        [
            [0.5, 0.2, 0.9, 0.8, 0.9, 0.0],  # Its own camera does not count: 7 is first.
            [0.6, 0.1, 0.7, 0.8, 0.9, 0.9],  # Right.
            [0.9, 0.9, 0.9, 0.4, 0.3, 0.9],  # Wrong, by somebody who looks like nobody.
        ]
    )
    found = find_confusions(
        lambda rows: distances[rows], query, gallery, camera_filter=True, drawn=drawn
    )
    assert (found.queries, found.wrong, found.look_alikes) == (3, 2, 1)
    # Of the four others in the first row two are look-alikes; in the third there are none.
    assert found.expected == pytest.approx(2 / 4)
    differing = {difference.detail for difference in drawn.differences(6, 7)}
    assert set(found.by_detail) == differing
    # In its group, 6 comes second of three and 7 first.
    assert found.group_mAP == pytest.approx((1 / 2 + 1) / 2)
    assert found.group_rank1 == 0.5
    assert [(each.query, each.gallery) for each in found.impostors][:2] == [
        ("6_0", "7_1"),
        ("14_2", "15_4"),
    ]
    assert found.impostors[0].nearest_match == 0.5


def test_without_knowledge_there_are_impostors_only():
    query, gallery = split([1, 2], [1, 1]), split([1, 2], [2, 2])
    distances = np.array([[0.4, 0.1], [0.9, 0.2]])
    found = find_confusions(lambda rows: distances[rows], query, gallery, camera_filter=True)
    assert found.wrong == 1
    assert found.look_alikes is None
    assert found.group_mAP is None
    assert found.impostors[0].gallery == "2_1"


def test_an_unknown_camera_is_no_camera():
    query = split([1], [UNKNOWN_CAMERA])
    gallery = split([1, 1, 2], [UNKNOWN_CAMERA, 3, 3])
    same, junk = matching(query, gallery, slice(0, 1), camera_filter=True)
    assert same.tolist() == [[True, True, False]]
    assert not junk.any()
