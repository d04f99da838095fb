import contextlib
import dataclasses
import json
import pathlib
import time
import warnings

import jax
import numpy as np
import pytest

from input_pipeline.errors import DataError, UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.datasets import open_images, open_training_set
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.training import loop
from magnifier_jax.training.loop import train
from magnifier_jax.workdir import WorkDirectory
from tests import layouts, runs


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:2])


def longer(config, **changes):
    """The tiny configuration for five steps; changes are to its training settings."""
    settings = dataclasses.replace(config.train, **{"max_steps": 5, **changes})
    return dataclasses.replace(config, train=settings)


def test_a_run_leaves_what_it_should(tiny_run):
    workdir, result = tiny_run.workdir, tiny_run.result
    assert (result.step, result.finished) == (3, True)
    record = json.loads(workdir.evaluation.read_text())
    assert record["step"] == 3
    assert record["average_precision"] == "rectangular"
    assert record["mAP"] == result.scores[0].plain.mAP
    assert record["untrained"][0]["mAP"] == result.untrained[0].plain.mAP
    assert 0 < record["mAP"] <= 1
    assert record["valid_queries"] == record["queries"] > 0
    steps = [line["step"] for line in runs.logged(workdir.path) if "total" in line]
    assert steps == [1, 2, 3]
    first = runs.logged(workdir.path)[0]
    assert {"epoch", "learning_rate", "total", "global_id", "part7_weight"} <= first.keys()
    assert json.loads(workdir.config.read_text())["config"]["name"] == "tiny"
    assert list(workdir.tensorboard.iterdir())


@pytest.fixture(scope="module")
def whole(tiny_run, tmp_path_factory, mesh):
    """The work directory of five steps that nothing disturbed."""
    workdir = WorkDirectory(tmp_path_factory.mktemp("whole"))
    assert train(longer(tiny_run.config), workdir, mesh=mesh, progress=False).finished
    return workdir


def check_same(one, two):
    """Two work directories hold the same run, to the last bit."""
    step, mine = runs.stored(one.path)
    again, other = runs.stored(two.path)
    assert step == again == 5
    jax.tree.map(np.testing.assert_array_equal, mine, other)
    assert runs.logged(one.path) == runs.logged(two.path)


def interrupted(monkeypatch, should_stop):
    """Makes training ask this function whether to stop."""
    monkeypatch.setattr(loop, "watch_for_stop", lambda: contextlib.nullcontext(should_stop))


@pytest.mark.slow
def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bits(
    tiny_run, whole, tmp_path, mesh, monkeypatch
):
    config, parts = longer(tiny_run.config), WorkDirectory(tmp_path)
    # Where a checkpoint is saved anyhow, and where none is.
    for stop in (1, 2, 4):
        with monkeypatch.context() as patch:
            interrupted(patch, lambda step, stop=stop: step == stop)
            assert not train(config, parts, mesh=mesh, progress=False).finished
        assert CheckpointReader(parts.checkpoints).latest_step() == stop
    assert train(config, parts, mesh=mesh, progress=False).finished
    check_same(whole, parts)


@pytest.mark.slow
def test_the_mean_of_the_weights_resumes_with_the_same_bits(tiny_run, tmp_path, mesh, monkeypatch):
    config = longer(tiny_run.config)
    settings = dataclasses.replace(config.optimizer, ema_decay=0.99, schedule="cosine")
    augment = dataclasses.replace(config.augment, jitter=0.5, gray=0.5)
    config = dataclasses.replace(config, optimizer=settings, augment=augment)
    data = dataclasses.replace(config.data, test="none")
    config = dataclasses.replace(config, data=data)
    whole, parts = WorkDirectory(tmp_path / "whole"), WorkDirectory(tmp_path / "parts")
    assert train(config, whole, mesh=mesh, progress=False).finished
    with monkeypatch.context() as patch:
        interrupted(patch, lambda step: step == 3)
        assert not train(config, parts, mesh=mesh, progress=False).finished
    assert train(config, parts, mesh=mesh, progress=False).finished
    check_same(whole, parts)
    # What is used is the mean; the weights that the steps change are kept beside it.
    _, (variables, training) = runs.stored(whole.path)
    mean, last = variables["params"], training["params"]
    assert jax.tree.structure(mean) == jax.tree.structure(last)
    assert (mean["backbone"]["conv1"]["kernel"] != last["backbone"]["conv1"]["kernel"]).any()
    used = load_trained(whole.path, mesh).variables["params"]
    jax.tree.map(np.testing.assert_array_equal, mean, jax.device_get(used))


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tiny_run, whole, tmp_path, mesh, monkeypatch, caplog, file_size_limit
):
    config, workdir = longer(tiny_run.config), WorkDirectory(tmp_path)
    reader = CheckpointReader(workdir.checkpoints)

    def fill_disk(step):
        if step == 3:
            while reader.latest_step() != 2:
                time.sleep(0.01)
            file_size_limit(100_000)
        return False

    with monkeypatch.context() as patch:
        interrupted(patch, fill_disk)
        with pytest.raises(UserError, match="make room"):
            train(config, workdir, mesh=mesh, progress=False)
    file_size_limit(None)
    assert "The checkpoint of step 4 could not be saved" in caplog.text
    assert "that of step 2 is kept" in caplog.text
    assert reader.steps() == [2]
    assert train(config, workdir, mesh=mesh, progress=False).finished
    check_same(whole, workdir)


def test_a_disk_that_is_full_at_an_evaluation_does_not_end_the_run(
    tiny_run, tmp_path, mesh, monkeypatch, caplog, file_size_limit
):
    # Epochs have two steps: there are evaluations after steps 2 and 4, and at the end.
    config, workdir = longer(tiny_run.config, evaluate_every_epochs=1), WorkDirectory(tmp_path)

    def fill_disk(step):
        file_size_limit(0 if step == 1 else None if step == 5 else 0)
        return False

    with monkeypatch.context() as patch:
        interrupted(patch, fill_disk)
        result = train(config, workdir, mesh=mesh, progress=False)
    assert (result.step, result.finished) == (5, True)
    assert f"Cannot write {workdir.evaluation}" in caplog.text
    assert "The checkpoint of step 4 could not be saved" in caplog.text
    assert CheckpointReader(workdir.checkpoints).steps() == [5]
    assert json.loads(workdir.evaluation.read_text())["step"] == 5


def test_the_result_is_told_before_anything_else_can_fail(
    tiny_run, tmp_path, mesh, caplog, file_size_limit
):
    told = []

    def fill_disk(result):
        told.append(result)

    # All is well until the last step; then no file can be written any more.
    config, workdir = longer(tiny_run.config, checkpoint_every_steps=100), WorkDirectory(tmp_path)
    measure = loop.Evaluator.__call__

    def full(self, variables):
        found = measure(self, variables)
        if workdir.metrics.exists():
            file_size_limit(0)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Evaluator, "__call__", full)
        with pytest.raises(UserError, match=r"Cannot write .*report\.html"):
            train(config, workdir, mesh=mesh, progress=False, tell=fill_disk)
    file_size_limit(None)
    (result,) = told
    assert result.scores[0].plain.mAP > 0
    assert f"Cannot write {workdir.evaluation}" in caplog.text
    assert caplog.text.count("The checkpoint of step 5 could not be saved") == 1
    assert "Traceback" not in caplog.text


def test_a_training_set_alone(tiny_run, tmp_path, mesh):
    """Training images only: refused at once, unless evaluation is switched off."""
    for place, shot in enumerate(shot for shot in layouts.shots() if shot.split == "train"):
        path = tmp_path / "shop" / "train" / str(shot.identity) / f"{place}_c{shot.camera}.jpg"
        layouts.save(shot, path)
    options = {"train": "folders", "root": str(tmp_path / "shop"), "part_labels": "bands"}
    data = dataclasses.replace(tiny_run.config.data, **options)
    config = dataclasses.replace(tiny_run.config, data=data)
    workdir = WorkDirectory(tmp_path / "run")
    with pytest.raises(DataError, match=r"no query and no gallery images.*config\.data\.test=none"):
        train(config, workdir, mesh=mesh, progress=False)
    config = dataclasses.replace(config, data=dataclasses.replace(data, test="none"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = train(config, workdir, mesh=mesh, progress=False)
    assert (result.step, result.finished, result.scores, result.report) == (3, True, (), None)
    assert CheckpointReader(workdir.checkpoints).latest_step() == 3
    assert not workdir.evaluation.exists()
    assert not workdir.untrained.exists()


def test_both_placements_train_alike(tiny_run, tmp_path, mesh):
    data = dataclasses.replace(tiny_run.config.data, placement="stream")
    config = dataclasses.replace(tiny_run.config, data=data)
    split = open_training_set(config, progress=False).split
    ids = [np.arange(len(split))]
    streamed, resident = (
        next(iter(open_images(split, settings, parts=True, progress=False).batches(ids)))
        for settings in (data, tiny_run.config.data)
    )
    np.testing.assert_array_equal(streamed.parts, resident.parts)
    # TensorFlow's and Pillow's decoders may differ by a gray level here and there.
    np.testing.assert_allclose(streamed.images.astype(int), resident.images, atol=2)
    workdir = WorkDirectory(tmp_path / "stream")
    train(config, workdir, mesh=mesh, progress=False)
    for one, two in zip(runs.logged(workdir.path), runs.logged(tiny_run.workdir.path), strict=True):
        assert one.keys() == two.keys()
        if "total" in one:
            assert one["total"] == pytest.approx(two["total"], rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_run, tmp_path, mesh):
    # The first epoch's four steps change nothing, the fifth ruins the weights, the sixth sees it.
    optimizer = dataclasses.replace(
        tiny_run.config.optimizer,
        name="sgd",
        learning_rate=1e30,
        warmup_epochs=1,
        warmup_factor=0.0,
    )
    config = longer(tiny_run.config, max_steps=8, checkpoint_every_steps=1)
    config = dataclasses.replace(config, optimizer=optimizer)
    workdir = WorkDirectory(tmp_path)
    with pytest.raises(UserError, match=r"not finite at step 6 \(term: .*global_id") as caught:
        train(config, workdir, mesh=mesh, progress=False)
    assert f"the last good checkpoint is {workdir.checkpoints / '4'}." in str(caught.value)
    assert CheckpointReader(workdir.checkpoints).steps() == [4]
    assert (workdir.checkpoints / "5.damaged").is_dir()


def test_necks_that_have_died_are_named_once(tiny_run, tmp_path, mesh, monkeypatch, caplog):
    """Part 2's neck begins as weight decay would leave it."""
    begin = loop.starting_state

    def start(*arguments, **named):
        state = begin(*arguments, **named)
        necks = state.params["fusion"]["part_necks"]
        state.params["fusion"]["part_necks"] = {"scale": necks["scale"].at[2].set(1e-9)}
        return state

    monkeypatch.setattr(loop, "starting_state", start)
    config = longer(tiny_run.config, max_steps=3, checkpoint_every_steps=1)
    train(config, WorkDirectory(tmp_path), mesh=mesh, progress=False)
    assert caplog.text.count("the losses of single parts (torso) teach nothing") == 1


def test_a_start_that_fails_leaves_the_run_as_it_was(tiny_run, tmp_path, mesh):
    config, workdir = tiny_run.config, WorkDirectory(tmp_path)
    many = dataclasses.replace(config.data, identities_per_batch=16)
    with pytest.raises(DataError, match="a batch needs 16 identities"):
        train(dataclasses.replace(config, data=many), workdir, mesh=mesh, progress=False)
    few = dataclasses.replace(config.model, num_parts=6, use_adversarial=False)
    hiding = dataclasses.replace(config.occlusion, lower_parts=(5,))
    with pytest.raises(DataError, match=r"classes up to 7 .* the network has 6 parts"):
        train(
            dataclasses.replace(config, model=few, occlusion=hiding),
            workdir,
            mesh=mesh,
            progress=False,
        )
    assert not workdir.config.exists()

    before = tiny_run.workdir.config.read_text()
    wider = dataclasses.replace(config.model, parsing_features=16)
    with pytest.raises(UserError, match="is of another model"):
        train(
            dataclasses.replace(config, model=wider),
            tiny_run.workdir,
            mesh=mesh,
            progress=False,
            resume_with_changes=True,
        )
    assert tiny_run.workdir.config.read_text() == before


def test_another_configuration_or_run_is_refused(tiny_run, mesh):
    changed = dataclasses.replace(tiny_run.config, seed=1)
    with pytest.raises(UserError, match="seed: 0 → 1"):
        train(changed, tiny_run.workdir, mesh=mesh, progress=False)
    with tiny_run.workdir.lock(), pytest.raises(UserError, match=str(tiny_run.workdir.path)):
        train(tiny_run.config, tiny_run.workdir, mesh=mesh, progress=False)


def test_a_batch_that_devices_cannot_share_is_refused(tiny_run, tmp_path):
    three = make_mesh(jax.devices()[:3])
    with pytest.raises(UserError, match="multiple of 3"):
        train(tiny_run.config, WorkDirectory(tmp_path), mesh=three, progress=False)


def test_the_checkpoint_is_all_that_is_needed(tiny_run, mesh):
    trained = load_trained(tiny_run.workdir.path, mesh)
    assert trained.config == tiny_run.config
    assert trained.step == 3
    assert len(trained.identities) == 8
    assert trained.identities[0].startswith("synthetic_tiny/")
    with pytest.raises(UserError, match="no checkpoint"):
        load_trained(pathlib.Path("/nowhere"), mesh)
