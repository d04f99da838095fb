import numpy as np
import pytest

from input_pipeline.store.mixing import concatenate
from input_pipeline.store.splits import prepare
from tests.input_pipeline.store.prepared_files import with_tracklets


def test_tracklets_of_joined_sets_stay_apart(make_dataset, tmp_path):
    prepared = prepare(with_tracklets(make_dataset()), data_dir=tmp_path, progress=False)
    query = prepared.query
    joined = concatenate([query, prepared.train, query], ["a", "b", "c"])
    names = query.tracklets.tolist()
    assert joined.tracklets.tolist() == [
        *(name and f"a/{name}" for name in names),
        *([""] * len(prepared.train)),
        *(name and f"c/{name}" for name in names),
    ]
    assert concatenate([prepared.train], ["b"]).tracklets is None


def test_joined_splits_keep_people_and_cameras_apart(make_dataset, tmp_path):
    one = prepare(make_dataset("one"), data_dir=tmp_path / "prepared", progress=False).train
    two = prepare(
        make_dataset("two", parts=False), data_dir=tmp_path / "prepared", progress=False
    ).train
    both = concatenate([one, two], ["one", "two"])
    assert len(both) == 28
    np.testing.assert_array_equal(both.identities[:14], one.identities)
    np.testing.assert_array_equal(both.identities[14:], two.identities + 4)
    np.testing.assert_array_equal(both.cameras[14:], two.cameras + 2)
    assert both.identities.dtype == both.cameras.dtype == np.int32
    assert both.names[0] == f"one/{one.names[0]}"
    assert both.names[14] == f"two/{two.names[0]}"
    assert both.labeled.tolist() == [True] * 14 + [False] * 14
    assert both.read([20, 3, 13, 14]) == two.read([6]) + one.read([3, 13]) + two.read([0])
    with pytest.raises(ValueError, match="2 splits and 1 names"):
        concatenate([one, two], ["one"])
