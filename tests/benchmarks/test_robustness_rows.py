"""The table of the ablation's robustness, of figures that are there already."""

import json
import sys

import pytest

from benchmarks import robustness
from magnifier_jax.evaluation.robustness.look_alikes import Confusions
from magnifier_jax.evaluation.robustness.regions import standard_regions
from magnifier_jax.evaluation.robustness.results import (
    Figures,
    Hidden,
    NetworkRobustness,
    Robustness,
)


def write(folder, clean, loss):
    """A finished run whose every region costs `loss` of mAP."""
    folder.mkdir(parents=True)
    hidden = tuple(
        Hidden(region.name, region.kind.value, 1.0, 0.3, {"whole": Figures(clean - loss, 0.0)})
        for region in standard_regions()
    )
    confusions = Confusions(10, 5, 4, 0.5, {}, {}, 0.25, 0.5, ())
    network = NetworkRobustness(
        folder.name, 3, {"whole": Figures(clean, 0.0)}, hidden, {"whole": confusions}
    )
    found = Robustness("set", "query", 0, "labels", (network,))
    (folder / "robustness.json").write_text(json.dumps(found.to_mapping()))
    (folder / "report.html").write_text("")


def test_rows_are_means_over_seeds(tmp_path, monkeypatch, capsys):
    write(tmp_path / "baseline-0", 0.5, 0.25)
    write(tmp_path / "baseline-1", 0.3, 0.15)
    write(tmp_path / "all-0", 0.6, 0.15)
    (tmp_path / "sab-0").mkdir()  # Not finished.
    monkeypatch.setattr(sys, "argv", ["robustness.py", "--runs", str(tmp_path)])
    robustness.main()
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if "whole descriptor" in line)
    assert "baseline (2)" in header
    assert "all (1)" in header
    assert "sab" not in header
    torso = next(line for line in lines if line.startswith("torso"))
    assert "20.0 (-20.0, 50%)" in torso
    assert "45.0 (-15.0, 75%)" in torso
    mean = next(line for line in lines if line.startswith("mean: box"))
    assert "20.0 (-20.0, 50%)" in mean
    alike = next(line for line in lines if line.split()[:2] == ["all", "whole"])
    assert alike.split()[2:] == ["50.0", "80.0", "10.0", "25.0"]


def test_without_finished_runs_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["robustness.py", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"ablation\.py first"):
        robustness.main()
