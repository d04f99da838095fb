"""The ablation benchmark, with a command that stands in for training."""

import json
import subprocess

import pytest

from benchmarks import ablation


def run(tmp_path, monkeypatch, command):
    monkeypatch.setattr(ablation.subprocess, "run", command)
    extra = ["--config.train.epochs=2"]
    return ablation.run("configs/ablation.py:sab", tmp_path / "sab-1", seed=1, extra=extra)


def finishing(tmp_path, mAP, *, ends=True, status=0):
    """A command that writes an evaluation, and the report too if it comes to its end."""
    workdir = tmp_path / "sab-1"

    def command(arguments, **options):
        assert arguments[-1] == "--config.train.epochs=2"
        assert f"--workdir={workdir}" in " ".join(arguments).replace("--workdir ", "--workdir=")
        workdir.mkdir(exist_ok=True)
        record = {"mAP": mAP, "cmc": [0.25], "untrained": [{"mAP": 0.125}]}
        (workdir / "evaluation.json").write_text(json.dumps(record))
        if ends:
            (workdir / "report.html").write_text("")
        return subprocess.CompletedProcess(arguments, status)

    return command


def test_what_is_there_already_is_measured_again(tmp_path, monkeypatch):
    for mAP in (0.5, 0.75):
        found = run(tmp_path, monkeypatch, finishing(tmp_path, mAP))
        assert found == ablation.Result(100 * mAP, 25.0, 12.5)


def test_a_run_that_was_stopped_or_refused_is_no_result(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, finishing(tmp_path, 0.5))
    with pytest.raises(SystemExit, match="was stopped before its end"):
        run(tmp_path, monkeypatch, finishing(tmp_path, 0.5, ends=False))
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, monkeypatch, finishing(tmp_path, 0.5, status=2))
    assert caught.value.code == 2
