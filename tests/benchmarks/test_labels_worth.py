"""The benchmark of part labels, with a command that stands in for training."""

import json
import pathlib
import subprocess

import pytest

from benchmarks import labels_worth


def test_each_run_is_trained_once_and_the_table_has_means(tmp_path, monkeypatch, capsys):
    scores = {("drawn", 0): 0.25, ("drawn", 1): 0.5, ("bands", 0): 0.125, ("bands", 1): 0.25}
    trained = []

    def command(arguments, **options):
        kind, seed = pathlib.Path(arguments[arguments.index("--workdir") + 1]).name.split("-")
        assert f"--config.data.part_labels={kind}" in arguments
        assert f"--config.seed={seed}" in arguments
        assert arguments[-1] == "--config.train.epochs=1"
        trained.append((kind, int(seed)))
        workdir = tmp_path / f"{kind}-{seed}"
        workdir.mkdir()
        record = {"mAP": scores[kind, int(seed)], "cmc": [0.5, 1.0]}
        (workdir / "evaluation.json").write_text(json.dumps(record))
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(labels_worth.subprocess, "run", command)
    arguments = ["--output", str(tmp_path), "--seeds", "2", "--config.train.epochs=1"]
    labels_worth.main([*arguments, "--labels", "drawn,bands"])
    labels_worth.main([*arguments, "--labels", "drawn,bands,exact", "--table"])
    assert sorted(trained) == sorted(scores)
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("| drawn | 37.5 | 50.0 | 25.0, 50.0 |") == 2
    assert lines.count("| bands | 18.8 | 50.0 | 12.5, 25.0 |") == 2
    assert lines[-1] == "| exact | | | no run |"


def test_a_run_that_fails_ends_the_benchmark(tmp_path, monkeypatch):
    def command(arguments, **options):
        return subprocess.CompletedProcess(arguments, 2)

    monkeypatch.setattr(labels_worth.subprocess, "run", command)
    with pytest.raises(SystemExit) as caught:
        labels_worth.main(["--output", str(tmp_path), "--labels", "pose"])
    assert caught.value.code == 2
