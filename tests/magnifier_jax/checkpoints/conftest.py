"""Small states, and checkpoints of them."""

import pathlib

import pytest

from magnifier_jax.checkpoints import CheckpointStore
from tests.magnifier_jax.checkpoints import toy


@pytest.fixture(scope="session")
def states() -> dict[int, toy.State]:
    """A state for each of the steps 1 to 6."""
    return {step: toy.make_state(step) for step in range(1, 7)}


@pytest.fixture(scope="session")
def three_checkpoints(
    states: dict[int, toy.State], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """Checkpoints of the steps 1 to 3 with scores 0.5, 0.9 and 0.7; to be copied, not changed."""
    directory = tmp_path_factory.mktemp("three") / "checkpoints"
    with CheckpointStore(directory, keep_latest=3) as store:
        for step, score in ((1, 0.5), (2, 0.9), (3, 0.7)):
            toy.save(store, step, states[step], score=score)
    return directory
