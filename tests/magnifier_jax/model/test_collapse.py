"""Necks that training has scaled to nothing are found by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magnifier_jax import weights
from magnifier_jax.export.reader import read_exported
from magnifier_jax.model.collapse import collapsed_necks, describe_collapse, revived


def params(*, parts: int = 8) -> dict[str, Any]:
    """The necks of a network, as they begin."""
    return {
        "global_branch": {"neck": {"scale": np.ones(6, np.float32)}},
        "adversarial": {"neck": {"scale": np.ones(4, np.float32)}},
        "fusion": {
            "neck": {"scale": np.ones(4, np.float32)},
            "part_necks": {"scale": np.ones((parts, 4), np.float32)},
        },
    }


def test_necks_are_alive_at_first_and_when_a_single_channel_is() -> None:
    found = params()
    assert collapsed_necks(found) == ()
    for necks in (found["global_branch"]["neck"], found["fusion"]["part_necks"]):
        necks["scale"] = necks["scale"] * 1e-6
        necks["scale"][..., 1] = -0.5
    assert collapsed_necks(found) == ()
    assert describe_collapse(found) == ""


def test_dead_parts_and_branches_are_named() -> None:
    found = params()
    found["fusion"]["part_necks"]["scale"][2] = 1e-20
    found["fusion"]["part_necks"]["scale"][7] = -0.004
    found["adversarial"]["neck"]["scale"][:] = 0
    assert collapsed_necks(found) == ("adversarial", "torso", "foot")
    text = describe_collapse(found)
    assert "the neck of adversarial has collapsed" in text
    assert "single parts (torso, foot)" in text
    assert "config.loss.parts" in text
    found["adversarial"]["neck"]["scale"][0] = 1
    assert "neck of" not in describe_collapse(found)


def test_dead_necks_begin_anew_and_others_stay() -> None:
    found = params()
    found["backbone"] = {"conv1": {"kernel": np.full(3, 0.5)}}
    found["fusion"]["part_necks"]["scale"][:] = 0.3
    found["fusion"]["part_necks"]["scale"][[2, 7]] = 1e-20
    found["adversarial"]["neck"]["scale"][:] = 0
    found["global_branch"]["neck"]["scale"][:] = 2
    again = revived(found)
    assert collapsed_necks(found) == ("adversarial", "torso", "foot")
    assert collapsed_necks(again) == ()
    expected = np.full((8, 4), 0.3, np.float32)
    expected[[2, 7]] = 1
    np.testing.assert_array_equal(again["fusion"]["part_necks"]["scale"], expected)
    np.testing.assert_array_equal(again["adversarial"]["neck"]["scale"], np.ones(4))
    np.testing.assert_array_equal(again["global_branch"]["neck"]["scale"], np.full(6, 2))
    assert again["backbone"] is found["backbone"]
    assert again.keys() == found.keys()


def test_parts_without_names_are_numbers() -> None:
    found = params(parts=3)
    found["fusion"]["part_necks"]["scale"][1] = 0
    assert collapsed_necks(found) == ("1",)


def test_a_network_without_branches_has_nothing_to_find() -> None:
    assert collapsed_necks({"backbone": {}}) == ()


@pytest.mark.parametrize("name", weights.names())
def test_the_networks_of_the_package_are_alive(name: str) -> None:
    found: Any = read_exported(weights.find(name))
    assert collapsed_necks(found.variables["params"]) == ()
