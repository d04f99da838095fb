import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader, CheckpointStore
from tests.command import KEEPS_NO_PROGRAMS
from tests.magnifier_jax.checkpoints import toy

SCRIPT = pathlib.Path(__file__).with_name("saving_run.py")
ROOT = pathlib.Path(__file__).parents[3]


def names(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_keeps_the_latest_and_the_best(tmp_path, states):
    scores = {1: 0.1, 2: 0.9, 3: None, 4: 0.5, 5: 0.2, 6: None}
    with CheckpointStore(tmp_path / "c", keep_latest=2) as store:
        assert store.latest_step() is None
        assert store.best_step() is None
        for step, score in scores.items():
            assert toy.save(store, step, states[step], score=score)
        store.wait()
        assert list(store.steps()) == [2, 5, 6]
        assert store.best_step() == 2
    with CheckpointStore(tmp_path / "c", keep_latest=1) as store:
        assert store.best_step() == 2
        assert toy.save(store, 7, states[1], score=0.95)
    assert list(CheckpointReader(tmp_path / "c").steps()) == [7]


def test_a_stored_step_is_not_saved_again(tmp_path, states):
    with CheckpointStore(tmp_path) as store:
        assert toy.save(store, 1, states[1])
        assert not toy.save(store, 1, states[1])
        assert list(store.steps()) == [1]


def test_an_optimizer_without_state_comes_back(tmp_path, states):
    variables = states[1].variables
    optimizer = optax.sgd(0.1).init(variables["params"])
    with CheckpointStore(tmp_path) as store:
        store.save(1, variables=variables, optimizer=optimizer, metadata={})
        store.wait()
        restored = store.restore(variables=states[1].abstract().variables, optimizer=optimizer)
    assert restored.optimizer == optimizer


def test_leaving_the_block_by_an_error_still_waits_for_the_save(tmp_path, states):
    def training() -> None:
        with CheckpointStore(tmp_path) as store:
            toy.save(store, 1, states[1])
            raise KeyError("training failed")

    with pytest.raises(KeyError, match="training failed"):
        training()
    restored = CheckpointReader(tmp_path).restore(variables=states[1].abstract().variables)
    assert toy.same_bits(restored.variables, states[1].variables)


def test_donating_what_is_being_saved_does_not_disturb_it(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec())
    add_one = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    arrays = {str(i): jax.device_put(jnp.zeros((256, 256)), sharding) for i in range(6)}
    abstract = jax.eval_shape(lambda: arrays)
    with CheckpointStore(tmp_path) as store:
        for step in range(1, 21):
            arrays = add_one(arrays)
            if step % 5 == 0:
                store.save(step, variables=arrays, optimizer=arrays, metadata={})
        store.wait()
        for step in store.steps():
            restored = store.restore(variables=abstract, optimizer=abstract, which=step)
            for leaf in jax.tree.leaves((restored.variables, restored.optimizer)):
                np.testing.assert_array_equal(leaf, np.full((256, 256), step, np.float32))


def test_opening_removes_an_interrupted_save(tmp_path, three_checkpoints):
    directory = pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "c"))
    shutil.copytree(directory / "3", directory / "4.orbax-checkpoint-tmp")
    with CheckpointStore(directory, keep_latest=3) as store:
        assert store.latest_step() == 3
    assert names(directory) == ["1", "2", "3", "newest.json"]


def test_a_damaged_newest_is_moved_away_and_its_step_saved_again(
    tmp_path, three_checkpoints, states, caplog
):
    directory = pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "c"))
    for file in (directory / "3" / "variables" / "d").iterdir():
        file.write_bytes(b"")
    wanted = states[3].abstract()
    with CheckpointStore(directory, keep_latest=3) as store:
        restored = store.restore(variables=wanted.variables, optimizer=wanted.optimizer)
        assert restored.step == 2
        assert f"{directory / '3'} becomes {directory / '3.damaged'}" in caplog.text
        assert toy.save(store, 3, states[3])
        store.wait()
        again = store.restore(variables=wanted.variables, optimizer=wanted.optimizer)
    assert again.step == 3
    assert toy.same_bits(again.variables, states[3].variables)


def test_a_newest_checkpoint_that_is_gone_is_missed(tmp_path, three_checkpoints, states, caplog):
    directory = pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "c"))
    shutil.rmtree(directory / "3")
    with CheckpointStore(directory) as store:
        assert f"of step 3, is missing in {directory}: that of step 2 is used" in caplog.text
        toy.save(store, 3, states[3])
    caplog.clear()
    with CheckpointStore(directory):
        assert not caplog.records
    for step in store.steps():
        shutil.rmtree(directory / str(step))
    with CheckpointStore(directory):
        assert f"of step 3, is missing in {directory}: the run starts anew" in caplog.text
    (directory / "newest.json").write_text("{")
    caplog.clear()
    with CheckpointStore(directory):
        assert not caplog.records


def test_what_a_run_cannot_go_on_from_is_set_aside(tmp_path, three_checkpoints, states, caplog):
    directory = pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "c"))
    with CheckpointStore(directory, keep_latest=3) as store:
        store.set_aside_from(2)
        assert store.latest_step() == store.best_step() == 1
        toy.save(store, 2, states[2])
    assert names(directory) == ["1", "2", "2.damaged", "3.damaged", "newest.json"]
    caplog.clear()
    with CheckpointStore(directory):
        assert not caplog.records


def test_a_damaged_score_does_not_stop_the_store(tmp_path, three_checkpoints, states, caplog):
    directory = pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "c"))
    (directory / "3" / "metrics" / "metrics").write_text('{"sco')
    with CheckpointStore(directory) as store:
        assert store.latest_step() == 2
    assert str(directory / "3.damaged") in caplog.text
    for step in (1, 2):
        (directory / str(step) / "metrics" / "metrics").write_text("")
    with pytest.raises(UserError, match=r"No readable checkpoint .*tried step 1, 2"):
        CheckpointStore(directory)
    assert (directory / "2").is_dir()


def test_refuses_what_cannot_be_stored(tmp_path, states):
    state = states[1]
    with CheckpointStore(tmp_path) as store:
        with pytest.raises(ValueError, match="score of step 1 is nan"):
            toy.save(store, 1, state, score=float("nan"))
        with pytest.raises(TypeError, match="not JSON serializable"):
            store.save(
                1, variables=state.variables, optimizer=state.optimizer, metadata={"a": object()}
            )
        assert list(store.steps()) == []


@pytest.mark.parametrize("size", [0, 600])
def test_a_save_that_cannot_be_written_keeps_the_last_good_one(
    tmp_path, states, caplog, file_size_limit, size
):
    wanted = states[1].abstract()
    directory = tmp_path / "c"
    with CheckpointStore(directory, keep_latest=1) as store:
        toy.save(store, 1, states[1], score=0.5)
        store.wait()
        file_size_limit(size)
        toy.save(store, 2, states[2], score=0.6)
        with pytest.raises(UserError, match=r"step 2 could not be saved .*step 1 is kept\. Make"):
            store.wait()
        file_size_limit(None)
        assert "The checkpoint of step 2 could not be saved" in caplog.text
        assert names(directory) == ["1", "newest.json"]
        restored = store.restore(variables=wanted.variables, optimizer=wanted.optimizer)
        assert toy.same_bits(restored.optimizer, states[1].optimizer)
        toy.save(store, 3, states[3], score=0.7)  # There is room again.
    assert list(CheckpointReader(directory).steps()) == [3]


def test_ends_with_an_error_if_the_last_save_failed(tmp_path, states, file_size_limit):
    def training() -> None:
        with CheckpointStore(tmp_path) as store:
            file_size_limit(600)
            toy.save(store, 1, states[1])

    with pytest.raises(UserError, match=r"step 1 could not be saved .*there is none before it"):
        training()
    assert list(tmp_path.iterdir()) == []


def test_killing_at_random_moments_loses_nothing_that_was_saved(tmp_path):
    """A process that saves without a pause is killed, and another one goes on from there."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment |= KEEPS_NO_PROGRAMS
    random = np.random.default_rng(0)
    reached = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path / "c")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            resumed = process.stdout.readline().split()
            assert resumed[0] == "resumed", resumed
            assert int(resumed[1]) >= reached
            process.stdout.readline()
            time.sleep(random.uniform(0.0, 0.4))
        finally:
            process.send_signal(signal.SIGKILL)
            lines = process.communicate()[0].split()
        reached = max([int(resumed[1]), *(int(step) for step in lines[:-1])])
    assert reached > 0
    latest = CheckpointReader(tmp_path / "c").latest_step()
    assert latest is not None
    assert latest >= reached


def test_plain_orbax_reads_a_checkpoint(three_checkpoints, states):
    """As docs/devices.md says, without this package."""
    from orbax.checkpoint import CheckpointManager

    with CheckpointManager(three_checkpoints) as manager:
        restored = manager.restore(3)
    for name, array in restored.variables["params"]["dense"].items():
        assert toy.same_bits(array, np.asarray(states[3].variables["params"]["dense"][name]))
    assert restored.metadata["identities"] == ["a", "é"]
    assert len(jax.tree.leaves(restored.optimizer)) == len(jax.tree.leaves(states[3].optimizer))
