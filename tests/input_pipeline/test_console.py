import argparse
import os
import pathlib
import subprocess
import sys
import warnings

import pytest

from input_pipeline import console
from input_pipeline.errors import DataError, FilesError, Problem, UserError

ROOT = pathlib.Path(__file__).parents[2]


def outcome(work, capsys):
    status = console.run(work, argparse.Namespace())
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def raising(error):
    def work(options):
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("Choose another."), "error: Choose another.\n"),
        (DataError("a\x1b[31m\nb"), "error: a\\x1b[31m\\nb\n"),
        (FilesError("Go", [Problem(pathlib.Path("a\nb"), "is bad")]), "error: a\\nb: is bad. Go\n"),
        (OSError(28, "No space left", "/full"), "error: /full: No space left\n"),
        (MemoryError(), "error: there is not enough memory: give it less"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\n1 GB"), "error: RESOURCE_EXHAUSTED"),
    ],
)  # fmt: skip
def test_what_a_person_can_mend_is_one_line_and_status_2(error, said, capsys):
    status, out, err = outcome(raising(error), capsys)
    assert status == 2
    assert not out
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        console.run(lambda options: 1 / 0, argparse.Namespace())


def test_an_interruption_is_status_130(capsys):
    assert outcome(raising(KeyboardInterrupt()), capsys) == (130, "", "interrupted\n")


def test_success_is_status_0_and_a_warning_one_line(capsys):
    def work(options):
        for _ in range(3):
            warnings.warn("the descriptors\nhave collapsed", UserWarning, stacklevel=1)
        print("done")

    assert outcome(work, capsys) == (0, "done\n", "warning: the descriptors\\nhave collapsed\n")


def parser():
    made = console.Parser(prog="magnifier work")
    made.add_argument("--batch-size", type=console.positive, default=1)
    made.add_argument("--no-parts", action="store_true")
    made.add_argument("--flip-all", action=argparse.BooleanOptionalAction)
    made.add_argument("--kept_name")
    return made


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "3", "--no-parts", "--no-flip-all"],
        ["--batch_size", "3", "--no_parts", "--no_flip_all"],
        ["--batch_size=3", "--no_parts", "--no-flip_all"],
    ],
)
def test_the_old_spelling_of_options_is_understood(arguments):
    found = parser().parse_args(arguments)
    assert (found.batch_size, found.no_parts, found.flip_all) == (3, True, False)


def test_the_old_spelling_is_not_shown_and_changes_no_values():
    assert "batch_size" not in parser().format_help()
    found = parser().parse_args(["--kept_name", "a_b", "--batch-size=2"])
    assert found.kept_name == "a_b"


@pytest.mark.parametrize(
    "arguments", [["--batch-size=0"], ["--batch-size", "x"], ["--nope"], ["--nope\n\x1b[31m"]]
)
def test_a_mistake_in_the_options_is_one_line_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.strip().isprintable()
    assert "`magnifier work --help`" in error


def run(code, *, encoding="utf-8", shell=None):
    script = "import sys, argparse\nfrom input_pipeline import console\n" + code
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    environment["PYTHONUTF8"] = "0"
    if shell is None:
        return subprocess.run(command, capture_output=True, env=environment, cwd=ROOT, check=False)
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {shell}', sys.executable, script],
        capture_output=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_text_reaches_any_terminal(encoding):
    done = run(
        "def work(options):\n"
        "    print('─ 3 × 4 → 朱 \\udcff')\n"
        "    print('─ ×', file=sys.stderr)\n"
        "sys.exit(console.run(work, argparse.Namespace()))",
        encoding=encoding,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert text.startswith(("─ 3 × 4 → 朱", "- 3 x 4 -> ", "- 3 × 4 -> "))
    assert "\\udcff" in text


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "def work(options):\n"
        "    for i in range(200_000):\n"
        "        print('line', i)\n"
        "sys.exit(console.run(work, argparse.Namespace()))"
    )
    done = run(code, shell='| head -1; exit "${PIPESTATUS[0]}"')
    assert done.stdout == b"line 0\n"
    assert done.stderr == b""
    assert done.returncode == 0
    one_line = "sys.exit(console.run(lambda options: print('x'), argparse.Namespace()))"
    done = run(one_line, shell='| true; exit "${PIPESTATUS[0]}"')
    assert (done.returncode, done.stderr) == (0, b"")
