import dataclasses
import json
import logging
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.checkpoints.reader import identities_in
from tests.magnifier_jax.checkpoints import toy


@pytest.fixture
def directory(three_checkpoints: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(three_checkpoints, tmp_path / "checkpoints"))


def test_lists_steps_latest_and_best(directory):
    (directory / "4.orbax-checkpoint-tmp").mkdir()
    (directory / "5.damaged").mkdir()
    reader = CheckpointReader(directory)
    assert list(reader.steps()) == [1, 2, 3]
    assert reader.latest_step() == 3
    assert reader.best_step() == 2
    assert reader.read_metadata() == {"config": {"seed": 3}, "identities": ["a", "é"]}
    assert reader.read_metadata("best")["config"] == {"seed": 2}


@pytest.mark.parametrize(("which", "step"), [("latest", 3), ("best", 2), (1, 1)])
def test_restores_the_same_bits_and_placement(directory, states, which, step):
    wanted = states[step].abstract()
    restored = CheckpointReader(directory).restore(
        variables=wanted.variables, optimizer=wanted.optimizer, which=which
    )
    assert restored.step == step
    assert restored.metadata["config"] == {"seed": step}
    assert toy.same_bits(restored.variables, states[step].variables)
    assert toy.same_bits(restored.optimizer, states[step].optimizer)
    for got, asked in zip(
        jax.tree.leaves(restored.variables), jax.tree.leaves(wanted.variables), strict=True
    ):
        assert got.sharding == asked.sharding


def test_restores_only_the_variables_onto_one_device(directory, states):
    """What evaluation does, on a machine with another number of devices."""
    shapes = jax.eval_shape(lambda: states[3].variables)
    restored = CheckpointReader(directory).restore(variables=shapes)
    assert restored.optimizer is None
    assert toy.same_bits(restored.variables, states[3].variables)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(restored.variables))


def test_reading_needs_no_optimizer_on_disk(directory, states):
    shutil.rmtree(directory / "3" / "optimizer")
    restored = CheckpointReader(directory).restore(variables=states[3].abstract().variables)
    assert restored.step == 3


def test_names_every_tensor_that_does_not_match(directory, states):
    wanted = states[3].abstract().variables
    params = dict(wanted["params"])
    params["renamed"] = params.pop("half")
    params["sharded"] = jax.ShapeDtypeStruct((16, 4), jnp.float32)
    statistics = {"mean": jax.ShapeDtypeStruct((3,), jnp.bfloat16)}
    with pytest.raises(UserError) as caught:
        CheckpointReader(directory).restore(variables={"params": params, "batch_stats": statistics})
    assert str(caught.value).splitlines()[1:] == [
        "  variables/batch_stats/mean: wanted bfloat16[3], float32[3] in the checkpoint",
        "  variables/params/half: bfloat16[9] in the checkpoint, not wanted",
        "  variables/params/renamed: wanted bfloat16[9], missing in the checkpoint",
        "  variables/params/sharded: wanted float32[16, 4], float32[16, 3] in the checkpoint",
    ]


def _truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_truncate, pathlib.Path.unlink], ids=["truncated", "deleted"])
def test_any_damaged_file_gives_the_same_bits_or_the_checkpoint_before(
    directory, states, damage, caplog
):
    """One file of the newest checkpoint at a time; never wrong numbers, never a crash."""
    good = directory.with_name("good")
    shutil.move(directory / "3", good)
    reader = CheckpointReader(directory)
    wanted = states[3].abstract()
    passed_over = []
    files = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
    for file in files:
        shutil.rmtree(directory / "3", ignore_errors=True)
        shutil.copytree(good, directory / "3")
        damage(directory / "3" / file)
        caplog.clear()
        restored = reader.restore(variables=wanted.variables, optimizer=wanted.optimizer)
        assert toy.same_bits(
            (restored.variables, restored.optimizer), dataclasses.astuple(states[restored.step])
        ), file
        if restored.step == 2:
            passed_over.append(str(file))
            assert f"{directory / '3'} cannot be read" in caplog.text, file
        else:
            assert restored.step == 3
            assert not caplog.records, file
    assert "metadata/metadata" in passed_over
    assert any(file.startswith("variables/d/") for file in passed_over)
    assert any(file.startswith("optimizer/d/") for file in passed_over)


@pytest.mark.slow
def test_flipped_bits_give_the_same_bits_or_the_checkpoint_before(directory, states):
    """Any bit of any file: never other numbers, names or scores, and never a crash."""
    good = directory.with_name("good")
    shutil.copytree(directory / "3", good)
    reader = CheckpointReader(directory)
    wanted = states[3].abstract()
    files = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
    random = np.random.default_rng(0)
    passed_over = 0
    for file in files:
        data = (good / file).read_bytes()
        for place in random.integers(len(data), size=6 if data else 0):
            flipped = bytearray(data)
            flipped[place] ^= 1 << random.integers(8)
            (directory / "3" / file).write_bytes(bytes(flipped))
            restored = reader.restore(variables=wanted.variables, optimizer=wanted.optimizer)
            expected = dataclasses.astuple(states[restored.step])
            assert toy.same_bits((restored.variables, restored.optimizer), expected), file
            assert restored.metadata["config"] == {"seed": restored.step}, file
            assert reader.best_step() == 2
            passed_over += restored.step == 2
        (directory / "3" / file).write_bytes(data)
    assert passed_over > len(files)


@pytest.mark.parametrize(
    "damage", ["7", "[1]", "null", "[" * 100_000, '"\ud800"', "\xff", '{"integrity": 3}']
)
def test_metadata_that_is_no_object_is_passed_over(directory, states, damage):
    (directory / "3" / "metadata" / "metadata").write_bytes(damage.encode("latin-1", "replace"))
    reader = CheckpointReader(directory)
    assert reader.read_metadata()["config"] == {"seed": 2}
    assert reader.restore(variables=states[3].abstract().variables).step == 2


@pytest.mark.parametrize("metadata", [{}, {"identities": 3}, {"identities": ["a", 3]}])
def test_metadata_without_identities_is_named(tmp_path, metadata):
    with pytest.raises(UserError, match="lists no identities"):
        identities_in(metadata, where=tmp_path)


def test_older_checkpoints_have_no_checksums(directory, states):
    path = directory / "3" / "metadata" / "metadata"
    metadata = json.loads(path.read_text())
    assert metadata.pop("integrity")["arrays"]
    assert metadata.pop("checksum")
    path.write_text(json.dumps(metadata))
    reader = CheckpointReader(directory)
    assert reader.restore(variables=states[3].abstract().variables).step == 3
    assert reader.read_metadata() == {"config": {"seed": 3}, "identities": ["a", "é"]}


def test_another_score_than_the_one_saved_counts_for_nothing(directory):
    (directory / "1" / "metrics" / "metrics").write_text('{"score": 0.99}')
    assert CheckpointReader(directory).best_step() == 2


def test_folders_that_are_no_steps_are_left_alone(directory):
    for name in ("٣", "²", "007", str(2**31), str(10**30), "-1"):
        (directory / name).mkdir()
    assert list(CheckpointReader(directory).steps()) == [1, 2, 3]


def test_a_deleted_newest_folder_leaves_the_one_before(directory, states):
    shutil.rmtree(directory / "3")
    wanted = states[2].abstract()
    assert CheckpointReader(directory).restore(variables=wanted.variables).step == 2


def test_a_damaged_best_falls_back_to_the_next_best(directory, states, caplog):
    (directory / "2" / "metadata" / "metadata").write_text("{")
    reader = CheckpointReader(directory)
    with caplog.at_level(logging.WARNING):
        assert reader.restore(variables=states[3].abstract().variables, which="best").step == 3
    assert str(directory / "2") in caplog.text


def test_a_damaged_score_does_not_hide_the_checkpoint(directory):
    (directory / "3" / "metrics" / "metrics").write_text('{"sco')
    reader = CheckpointReader(directory)
    assert reader.best_step() == 2
    assert reader.read_metadata()["config"] == {"seed": 3}


def test_none_is_the_best_before_the_first_score(directory, states):
    for step in (1, 2, 3):
        shutil.rmtree(directory / str(step) / "metrics")
    with pytest.raises(UserError, match=r"No checkpoint in .* has been evaluated yet"):
        CheckpointReader(directory).restore(variables=states[3].abstract().variables, which="best")


def test_refuses_what_is_not_there(directory, states, tmp_path):
    variables = states[1].abstract().variables
    with pytest.raises(UserError, match=r"No checkpoint of step 7 in .*; it has 1, 2, 3"):
        CheckpointReader(directory).restore(variables=variables, which=7)
    with pytest.raises(UserError, match=r"No checkpoint in .*nowhere: train first"):
        CheckpointReader(tmp_path / "nowhere").read_metadata()
    for step in (1, 2, 3):
        (directory / str(step) / "metadata" / "metadata").unlink()
    with pytest.raises(UserError, match=r"No readable checkpoint in .* \(tried step 3, 2, 1\)"):
        CheckpointReader(directory).restore(variables=variables)
    with pytest.raises(UserError, match=r"No readable checkpoint in .* \(tried step 3\)"):
        CheckpointReader(directory).restore(variables=variables, which=3)
