import dataclasses

import numpy as np
import pytest

from magnifier_jax.datasets import open_test_sets, open_training_set
from magnifier_jax.errors import UserError


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def test_one_set(tiny_run):
    data = open_training_set(tiny_run.config, progress=False)
    assert len(data.identities) == 8
    assert len(set(data.identities)) == 8
    assert data.labels.dtype == np.int32
    assert sorted(set(data.labels.tolist())) == list(range(8))
    (test_set,) = open_test_sets(tiny_run.config, progress=False)
    assert test_set.name == "synthetic_tiny"
    assert not set(test_set.query.identities) & set(data.split.identities)


def test_several_sets_keep_their_identities_and_cameras_apart(tiny_run):
    both = with_data(tiny_run.config, train="synthetic:tiny,synthetic:tiny@again")
    data = open_training_set(both, progress=False)
    assert len(data.identities) == 16
    halves = np.split(data.labels, 2)
    assert not set(halves[0]) & set(halves[1])
    assert {name.split("/")[0] for name in data.identities} == {
        "synthetic_tiny",
        "synthetic_tiny_2",
    }
    cameras = np.split(data.split.cameras, 2)
    assert not set(cameras[0]) & set(cameras[1])
    assert [test_set.name for test_set in open_test_sets(both, progress=False)] == [
        "synthetic_tiny",
        "synthetic_tiny_2",
    ]
    other = with_data(both, test="synthetic:tiny@again")
    assert len(open_test_sets(other, progress=False)) == 1


def test_a_root_is_asked_for(tiny_run):
    with pytest.raises(UserError, match=r"config.data.root is empty.*--config.data.root="):
        open_training_set(with_data(tiny_run.config, train="market1501", root=""), progress=False)
