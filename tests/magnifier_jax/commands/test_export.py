import json

import pytest

from magnifier_jax.commands.export import main


def test_projection_is_fitted_on_the_training_set(tiny_run, tmp_path, capsys):
    output = tmp_path / "m.onnx"
    options = ["--workdir", str(tiny_run.workdir.path), "--format", "onnx", "--dimension", "8"]
    assert main([*options, "--output", str(output), "--checkpoint", "best"]) == 0
    said = capsys.readouterr().out
    assert "8 numbers hold" in said
    assert "batches of 1 and 5 in onnxruntime" in said
    card = json.loads((tmp_path / "m.onnx.json").read_text())
    assert card["output"]["dimension"] == 8
    assert card["output"]["projected_from"] == 256
    assert 0 < card["output"]["explained_variance"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format=torch", "--layout=NHWC"], "--layout=NHWC does not go with --format=torch"),
        (["--format=torch", "--dimension=8"], "--dimension does not go with --format=torch"),
        (["--format=onnx", "--dimension=0"], "--dimension is 0 but must be a whole number"),
        (["--format=onnx", "--branches=globl"], "did you mean 'global'?"),
        (["--format=safetensors"], "use .safetensors for that format"),
    ],
)
def test_mistakes_are_one_line(tiny_run, tmp_path, capsys, options, message):
    workdir = str(tiny_run.workdir.path)
    assert main(["--workdir", workdir, *options, "--output", str(tmp_path / "m.bin")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_a_missing_work_directory(tmp_path, capsys):
    options = ["--workdir", str(tmp_path / "no"), "--format=torch"]
    assert main([*options, "--output", str(tmp_path / "m.pth")]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
