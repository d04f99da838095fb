import dataclasses
import json

import jax
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.devices import make_mesh
from magnifier_jax.evaluation.run import measure_run
from magnifier_jax.export import choose_settings
from magnifier_jax.export.formats import write_weights
from magnifier_jax.export.function import make_descriptor_function
from magnifier_jax.workdir import WorkDirectory
from tests import layouts


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:2])


@pytest.fixture(scope="module")
def looked(tiny_run, mesh, tmp_path_factory):
    """The tiny run measured on two other datasets, which hold no training images."""
    root = tmp_path_factory.mktemp("others")
    for name, kind in (("shop", "folders"), ("table", "csv")):
        for place, shot in enumerate(layouts.shots()):
            if shot.split != "train":
                path = root / name / shot.split / str(shot.identity) / f"{place}_c{shot.camera}.jpg"
                layouts.save(shot, path)
        if kind == "csv":
            paths = sorted((root / name).rglob("*.jpg"))
            rows = [
                f"{path.relative_to(root / name)},{path.parent.name},"
                f"{path.stem.split('_c')[1]},{path.parts[-3]}"
                for path in paths
            ]
            text = "\n".join(["path,identity,camera,split", *rows])
            (root / name / "dataset.csv").write_text(text)
    given = with_data(tiny_run.config, test="folders@shop,csv@table", root=str(root))
    return given, measure_run(tiny_run.workdir, given=given, mesh=mesh, progress=False)


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def in_copy(found, tmp_path, *, step=3):
    """The evaluation, as that of an empty work directory whose run measured this step."""
    workdir = WorkDirectory(tmp_path / "run")
    workdir.path.mkdir()
    if step is not None:
        workdir.evaluation.write_text(json.dumps({"step": step, "mAP": 0.25}))
    return dataclasses.replace(found, workdir=workdir)


def test_weights_are_measured_like_the_run_that_they_are_of(looked, tiny_run, mesh, tmp_path):
    given, run = looked
    function = make_descriptor_function(run.trained, choose_settings("safetensors"))
    path = tmp_path / "handed on.safetensors"
    write_weights(function, path)
    found = measure_run(
        WorkDirectory(tmp_path / "numbers"),
        network=path,
        given=given,
        test="folders@shop",
        mesh=mesh,
        progress=False,
    )
    assert [score.name for score in found.scores] == ["shop"]
    assert found.scores[0].plain.mAP == pytest.approx(run.scores[0].plain.mAP, abs=1e-6)
    assert found.save() == tmp_path / "numbers" / "evaluation-shop.json"


def test_several_test_sets_without_training_images(looked, tmp_path):
    found = in_copy(looked[1], tmp_path)
    assert [score.name for score in found.scores] == ["shop", "table"]
    assert found.scores[0].plain.mAP == pytest.approx(found.scores[1].plain.mAP, abs=1e-6)
    before = found.workdir.evaluation.read_bytes()
    path = found.save()
    assert path == found.workdir.path / "evaluation-shop+table.json"
    record = json.loads(path.read_text())
    assert (record["step"], record["mAP"]) == (3, found.scores[0].plain.mAP)
    assert found.workdir.evaluation.read_bytes() == before
    # The same look has the same file, and another set of the same name another one.
    assert found.save() == path
    moved = with_data(found.config, root="/elsewhere")
    assert dataclasses.replace(found, config=moved).save().name == "evaluation-shop+table-2.json"
    assert found.save() == path


def test_the_own_set_is_the_runs_own_file(tiny_run, mesh, tmp_path):
    found = measure_run(tiny_run.workdir, mesh=mesh, progress=False)
    assert found.scores[0].plain.mAP == pytest.approx(tiny_run.result.scores[0].plain.mAP)
    assert found.untrained == tiny_run.result.untrained
    same = in_copy(found, tmp_path, step=3)
    assert same.save() == same.workdir.evaluation
    with same.workdir.lock():  # As while the run is in progress.
        assert same.save().name == "evaluation-synthetic_tiny.json"
    same.workdir.evaluation.write_text(json.dumps({"step": 2}))
    assert same.save().name == "evaluation-synthetic_tiny.json"
    same.workdir.evaluation.write_text("[" * 100_000)
    assert same.save().name == "evaluation-synthetic_tiny.json"
    same.workdir.evaluation.unlink()
    assert same.save() == same.workdir.evaluation
    other = dataclasses.replace(found.config.evaluate, camera_filter=False)
    changed = dataclasses.replace(same, config=dataclasses.replace(found.config, evaluate=other))
    assert changed.save().name == "evaluation-synthetic_tiny.json"


def test_an_output_of_ones_own(looked, tmp_path):
    found = in_copy(looked[1], tmp_path)
    path = tmp_path / "deep" / "numbers.json"
    assert found.save(str(path)) == path
    assert json.loads(path.read_text())["test_sets"][1]["test_set"] == "table"
    with pytest.raises(UserError, match="exists already"):
        found.save(str(path))
    found.save(str(path), force=True)


def test_a_report_beside_its_numbers(looked, tmp_path, mesh):
    found = in_copy(looked[1], tmp_path)
    report = found.save_report(found.save(), mesh=mesh)
    assert report == found.workdir.path / "report-shop+table.html"
    assert "shop" in report.read_text()


def test_nothing_to_measure_on(tiny_run, mesh):
    given = with_data(tiny_run.config, test="none")
    with pytest.raises(UserError, match="'none': name a test set"):
        measure_run(tiny_run.workdir, given=given, mesh=mesh, progress=False)
