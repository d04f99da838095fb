import json
import shutil

import pytest

from magnifier_jax.commands import report as command
from magnifier_jax.evaluation.robustness.regions import standard_regions
from magnifier_jax.evaluation.robustness.results import (
    Figures,
    Hidden,
    NetworkRobustness,
    Robustness,
)


def robustness(name, loss):
    hidden = [
        Hidden(region.name, region.kind.value, 1.0, 0.3, {"whole": Figures(0.5 - loss, 0.4)})
        for region in standard_regions()
    ]
    network = NetworkRobustness(name, 3, {"whole": Figures(0.5, 0.6)}, tuple(hidden), {})
    return Robustness("synthetic_tiny", "query", 0, "the dataset's part labels", (network,))


@pytest.fixture
def runs(tiny_run, tmp_path):
    """Two work directories that can be written into."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        shutil.copytree(tiny_run.workdir.path, folder)
    return folders


def test_runs_are_compared_on_one_page(runs, tmp_path, capsys):
    for folder, loss in zip(runs, (0.1, 0.2), strict=True):
        record = robustness(folder.name, loss).to_mapping()
        (folder / "robustness.json").write_text(json.dumps(record))
    output = tmp_path / "both.html"
    assert command.main([*map(str, runs), "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    text = output.read_text("utf-8")
    assert text.count("<td>first</td>") == text.count("<td>second</td>") >= 1
    assert "Total loss" in text
    assert "bottom third" in text
    assert "−10.0 (80% kept)" in text
    assert "−20.0 (60% kept)" in text
    assert 'src="http' not in text


def test_a_run_shows_what_was_measured_since(runs, capsys):
    record = robustness("first", 0.1).to_mapping()
    (runs[0] / "robustness.json").write_text(json.dumps(record))
    (runs[0] / "report.html").unlink()
    before = (runs[0] / "evaluation.json").read_bytes()
    assert command.main([str(runs[0])]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (runs[0] / "report.html").read_text("utf-8")
    assert "<h2>Robustness</h2>" in text
    assert "<h2>Why these match</h2>" in text
    assert (runs[0] / "evaluation.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FIRST", "FIRST"], "twice"),
        (["FIRST", "nowhere"], "nowhere"),
        (["FIRST", "--output", "a.html"], "--output"),
        (["FIRST", "EMPTY"], "evaluation.json"),
        (["FIRST", "SECOND", "--output", "CONFIG"], "exists already"),
    ],
)
def test_the_command_says_what_is_wrong(runs, tmp_path, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    places = {"FIRST": str(runs[0]), "EMPTY": str(tmp_path / "empty")}
    places |= {"SECOND": str(runs[1]), "CONFIG": str(runs[0] / "config.json")}
    assert command.main([places.get(text, text) for text in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
