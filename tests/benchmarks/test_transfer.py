"""The table of the transfer benchmark."""

from benchmarks.ablation import Result
from benchmarks.transfer import table


def test_gains_are_over_the_first_row():
    found = {
        "baseline": [Result(20.0, 30.0, 5.0), Result(22.0, 34.0, 5.0)],
        "color": [Result(30.0, 41.0, 5.0), Result(29.0, 40.0, 5.0)],
    }
    _, base, color = table(found).splitlines()
    assert base.split() == ["baseline", "21.0", "+0.0", "32.0", "20.0,", "22.0"]
    assert color.split() == ["color", "29.5", "+8.5", "40.5", "30.0,", "29.0"]
