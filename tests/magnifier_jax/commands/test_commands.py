"""`magnifier COMMAND`, and the older calls that equal it."""

import os
import subprocess
import sys

import pytest

import magnifier_jax
from magnifier_jax.commands import COMMANDS, main
from tests.command import ROOT

HELP = """
import sys, time
from magnifier_jax.commands import main
try:
    sys.exit(main(sys.argv[1:]))
finally:
    print("HEAVY", sorted({"jax", "tensorflow", "flax"} & set(sys.modules)))
"""


def run(*arguments, code=None, encoding="utf-8"):
    start = ["-c", code] if code else ["-m", "magnifier_jax"]
    return subprocess.run(
        [sys.executable, *start, *arguments], capture_output=True, encoding=encoding, cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding}, check=False,
    )  # fmt: skip


def test_help_lists_every_command_at_once():
    done = run("--help", code=HELP)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    for name, (_, summary) in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert summary in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_fast_and_in_kebab_case(name):
    done = run(name, "--help", code=HELP)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "HEAVY []" in done.stdout
    assert f"usage: magnifier {name}" in done.stdout
    options = [word for word in done.stdout.split() if word.startswith("--")]
    assert options
    assert not [word for word in options if "_" in word and not word.startswith("--config.")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embd"], "did you mean embed?"),
        (["--nope"], "unrecognized arguments: --nope"),
        (["search"], "required: --gallery, --query"),
        (["embed", "--workdir=a", "--images=b", "--output=c.txt"], "must end with .npz"),
        (["rank", "--query=a\x1b[31m\n.npz", "--gallery=b.npz"], "there is no file a"),
        (["export", "--workdir=/nowhere", "--format=onx", "--output=m"], "did you mean 'onnx'"),
        (["train", "--config=market"], "there is no file market"),
        (["train", "--confg=market1501"], "confg"),
        (["evaluate", "--workdir=/nowhere/run"], "/nowhere/run"),
        (["prepare", "--dataset=market1501", "--root=~nosuchuser"], "no such user"),
        (["labels", "nope", "a", "b"], "nope"),
        (["draw", "--preset=nope", "--root=x"], "nope"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert lines[0].isprintable()
    assert said in lines[0]


def test_without_a_command_the_commands_are_shown(capsys):
    assert main([]) == 2
    assert "magnifier COMMAND" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == magnifier_jax.__version__


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("magnifier_jax.embed", "embed"),
        ("magnifier_jax.search", "search"),
        ("magnifier_jax.export", "export"),
        ("magnifier_jax.retrieval", "rank"),
        ("input_pipeline.prepare", "prepare"),
        ("input_pipeline.part_labels", "labels"),
        ("input_pipeline.synthetic", "draw"),
    ],
)
def test_the_older_calls_still_work(module, name):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"usage: magnifier {name}" in done.stdout
