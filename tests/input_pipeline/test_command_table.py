import sys
import types

import pytest

from input_pipeline.command_table import CommandTable

TABLE = CommandTable(
    program="zoo",
    description="Animals.",
    commands={"feed": ("feeding_of_the_zoo", "feed an animal"), "sing": ("no.such", "sing")},
    kind="thing to do",
    more=" Or go home.",
    version="1.2.3",
)


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the command `feed` was called with; it returns 7."""
    calls: list[list[str]] = []
    module = types.ModuleType("feeding_of_the_zoo")
    module.main = lambda arguments: calls.append(list(arguments)) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "feeding_of_the_zoo", module)
    return calls


def test_a_command_gets_the_words_after_it_and_gives_the_status(fed, monkeypatch):
    assert TABLE.main(["feed", "--version", "-h"]) == 7
    monkeypatch.setattr(sys, "argv", ["zoo", "feed", "lion"])
    assert TABLE.main() == 7
    assert fed == [["--version", "-h"], ["lion"]]


def test_an_unknown_command_is_one_line(capsys):
    assert TABLE.main(["fed", "--much"]) == 2
    assert capsys.readouterr().err == "error: There is no thing to do 'fed', did you mean feed?\n"


def test_help_names_the_commands_and_imports_none(capsys):
    assert TABLE.main([]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("usage: zoo COMMAND [OPTIONS]\n\nAnimals.\n")
    assert "commands:\n  feed  feed an animal\n  sing  sing\n" in shown
    assert shown.endswith("`zoo COMMAND --help` says more. Or go home.\n")


def test_the_version_is_an_option_where_there_is_one(capsys):
    with pytest.raises(SystemExit) as end:
        TABLE.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == "1.2.3\n"
