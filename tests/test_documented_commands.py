"""The commands that the documentation shows exist, and so do their options."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

import configs
from input_pipeline.part_labels.commands import COMMANDS as LABEL_COMMANDS
from magnifier_jax.commands import COMMANDS, main

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documented() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every `magnifier` command in a block of commands."""
    for page in PAGES:
        for language, block in FENCED.findall(page.read_text("utf-8")):
            if language in ("", "bash", "sh"):
                for line in block.replace("\\\n", " ").splitlines():
                    found = re.match(r"(?:magnifier|python -m magnifier_jax) (.+)", line)
                    if found:
                        yield page.name, ["magnifier", *shlex.split(found[1], comments=True)]


SHOWN = list(documented())


def test_commands_are_found() -> None:
    assert {"train", "embed", "search", "export"} <= {words[1] for _, words in SHOWN}


def command_in(words: list[str]) -> tuple[str, ...]:
    """The command, and the one below it where it has some of its own."""
    _, command, first, *_ = [*words, ""]
    return (command, first) if command == "labels" and first in LABEL_COMMANDS else (command,)


@pytest.mark.parametrize("command", sorted({command_in(words) for _, words in SHOWN}))
def test_options_exist(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command[0] in COMMANDS
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", capsys.readouterr().out))
    for page, words in SHOWN:
        if command_in(words) == command:
            given = {word.partition("=")[0] for word in words if re.match("--[a-z]", word)}
            unknown = {option for option in given if not option.startswith("--config.")} - known
            assert not unknown, f"{page}: {' '.join(words)}"


def test_configurations_exist() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"--config[ =](?:configs/)?(\w+)", text)) - {"FILE"}
    assert {"quickstart", "market1501"} <= named <= set(configs.names())


def test_the_two_commands() -> None:
    """Others rely on these lines as they are."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for line in (
        "python -m pip install -e '.[test]' -c constraints.txt"
        " && python -m magnifier_jax.main --config configs/quickstart.py",
        "python -m pytest -n 2",
    ):
        assert f"```\n{line}\n```" in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
