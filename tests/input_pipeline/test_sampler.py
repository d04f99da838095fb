import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.sampler import IdentitySampler, process_slice

GOLDEN = [[7, 9, 15, 13, 6, 4], [18, 17, 2, 1, 7, 10], [15, 13, 6, 4, 7, 8]]


def market_like(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(np.arange(751), rng.integers(2, 33, 751)))


def epoch_batches(sampler: IdentitySampler, epoch: int) -> np.ndarray:
    steps = range(sampler.first_step(epoch), sampler.first_step(epoch + 1))
    return np.stack([sampler.batch(n) for n in steps])


def test_a_batch_has_p_identities_with_k_pictures_side_by_side():
    identities = market_like()
    sampler = IdentitySampler(identities, identities_per_batch=16, images_per_identity=4)
    ids = sampler.batch(7)
    assert ids.dtype == np.int64
    assert ids.shape == (64,) == (sampler.batch_size,)
    groups = identities[ids].reshape(16, 4)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0])) == 16


def test_batches_do_not_depend_on_the_order_of_asking():
    identities = market_like()
    forward = IdentitySampler(identities, seed=3)
    straight = [forward.batch(n) for n in range(450)]
    for n in (449, 0, 211, 448, 1):
        np.testing.assert_array_equal(
            IdentitySampler(identities, seed=3).batch(n), straight[n], strict=True
        )
        np.testing.assert_array_equal(forward.batch(n), straight[n])


def test_golden_batches_are_those_of_earlier_versions():
    sampler = IdentitySampler(
        np.repeat(np.arange(5), [1, 2, 4, 5, 9]), identities_per_batch=3, images_per_identity=2
    )
    assert [sampler.batch(n).tolist() for n in (0, 3, 1000)] == GOLDEN


def test_seeds_and_epochs_differ():
    identities = market_like()
    first = IdentitySampler(identities, seed=0)
    second = IdentitySampler(identities, seed=1)
    assert (first.batch(0) != second.batch(0)).any()
    assert (first.batch(0) != first.batch(first.first_step(1))).any()


def test_an_epoch_uses_a_picture_once_and_leftovers_rest():
    counts = np.array([4, 5, 11, 8, 7, 12])
    identities = np.repeat(np.arange(6), counts)
    sampler = IdentitySampler(identities, identities_per_batch=2, images_per_identity=4)
    rested = set()
    for epoch in range(20):
        ids = epoch_batches(sampler, epoch).reshape(-1)
        assert len(np.unique(ids)) == len(ids)
        used = np.bincount(identities[ids], minlength=6)
        assert (used <= counts // 4 * 4).all()
        rested |= set(range(len(identities))) - set(ids.tolist())
    # Which pictures rest changes; those of an identity whose count is a multiple of K may too,
    # because an epoch ends when too few identities are left.
    assert set(np.flatnonzero(identities == 2)) <= rested


def test_an_epoch_ends_only_when_too_few_identities_have_groups():
    counts = np.array([4, 5, 11, 8, 7, 12, 30])
    identities = np.repeat(np.arange(7), counts)
    sampler = IdentitySampler(identities, identities_per_batch=3, images_per_identity=4)
    lengths = set()
    for epoch in range(30):
        batches = epoch_batches(sampler, epoch)
        lengths.add(len(batches))
        left = counts // 4 - np.bincount(identities[batches].reshape(-1), minlength=7) // 4
        assert (left >= 0).all()
        assert (left > 0).sum() < 3
    assert len(lengths) > 1  # they vary, which is why first_step exists


def test_an_identity_with_few_pictures_is_drawn_with_replacement():
    identities = np.array([0, 0, 0, 0, 1, 1, 2])
    sampler = IdentitySampler(identities, identities_per_batch=3, images_per_identity=4)
    drawn = np.concatenate([epoch_batches(sampler, epoch) for epoch in range(20)])
    assert len(drawn) == 20
    assert np.bincount(drawn.reshape(-1))[6] == 80
    assert set(np.unique(drawn)) == set(range(7))


def test_epoch_and_first_step_agree():
    sampler = IdentitySampler(market_like())
    for epoch in (0, 1, 2, 9):
        first = sampler.first_step(epoch)
        assert sampler.epoch(first) == epoch
        assert epoch == 0 or sampler.epoch(first - 1) == epoch - 1
    assert sampler.first_step(0) == 0


def test_a_limit_spares_drawing_the_epochs_beyond_it():
    limit = IdentitySampler(market_like()).first_step(2) + 1
    sampler = IdentitySampler(market_like())
    assert sampler.first_step(10**9, at_most=limit) == limit
    assert sampler.first_step(2, at_most=limit) == limit - 1
    assert sampler.first_step(3, at_most=limit) == limit
    assert sampler.first_step(3) > limit
    assert sampler.first_step(3, at_most=10**9) == sampler.first_step(3)


def test_identities_may_be_any_numbers():
    labels = np.array([900, 7, 12345, 7, 900, 12345])
    dense = np.array([1, 0, 2, 0, 1, 2])
    settings = {"identities_per_batch": 2, "images_per_identity": 2}
    np.testing.assert_array_equal(
        IdentitySampler(labels, **settings).batch(5), IdentitySampler(dense, **settings).batch(5)
    )


def test_changing_a_batch_does_not_change_later_answers():
    sampler = IdentitySampler(market_like())
    before = sampler.batch(3)
    sampler.batch(3)[:] = -1
    np.testing.assert_array_equal(sampler.batch(3), before)


def test_shares_of_processes_make_up_the_batch():
    ids = np.arange(64)[::-1]
    shares = [process_slice(ids, index=i, count=4) for i in range(4)]
    np.testing.assert_array_equal(np.concatenate(shares), ids)
    with pytest.raises(DataError, match="64 images cannot be divided among 5"):
        process_slice(ids, index=0, count=5)
    with pytest.raises(ValueError, match="process 4 of 4"):
        process_slice(ids, index=4, count=4)


def test_too_few_identities_are_refused():
    with pytest.raises(DataError, match="needs 16 identities but the training set has 3"):
        IdentitySampler(np.array([1, 2, 3]))
    with pytest.raises(DataError, match="at least one"):
        IdentitySampler(np.array([1, 2, 3]), identities_per_batch=0)
    with pytest.raises(DataError, match="seed must be 0 or more"):
        IdentitySampler(np.array([1, 2, 3]), identities_per_batch=2, seed=-1)


def test_negative_steps_are_refused():
    sampler = IdentitySampler(np.array([1, 2, 3]), identities_per_batch=2)
    for call in (sampler.batch, sampler.epoch, sampler.first_step):
        with pytest.raises(ValueError, match="count from 0"):
            call(-1)
