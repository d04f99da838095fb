"""Errors are one printable line, and name every file once."""

import pathlib

import pytest

from input_pipeline.errors import (
    DataError,
    FilesError,
    MagnifierError,
    Problem,
    UserError,
    combined,
    in_short,
    printable,
    problems_of,
    reason_of,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë — 北京 × ─ 𝒳", "Zoë — 北京 × ─ 𝒳"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\u202eb\u2028c", r"a\u202eb\u2028c"),  # Turned around, and another line break.
        ("\udcff\x00", r"\udcff\x00"),  # A name that is not UTF-8.
        ("no\u00a0break", "no\u00a0break"),
        ("", ""),
    ],
)
def test_text_from_files_is_printed_without_its_control_characters(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown
    assert str(UserError(text)) == shown
    shown.encode("utf-8")


def test_details_follow_on_lines_of_their_own():
    error = UserError("two differ:", details=["a\nb", "c"])
    assert str(error).split("\n") == ["two differ:", r"  a\nb", "  c"]


def test_all_errors_have_one_root():
    for kind in (UserError, DataError):
        assert issubclass(kind, MagnifierError)
    assert issubclass(FilesError, DataError)
    assert issubclass(MagnifierError, ValueError)


def problem(name: str, what: str = "is empty") -> Problem:
    return Problem(pathlib.Path(name), what)


def test_an_error_on_files_names_the_first_of_them():
    assert str(FilesError("", [problem("a")])) == "a: is empty"
    many = [problem(f"{i:02}") for i in range(8)]
    error = FilesError("replace them", many)
    assert str(error).startswith("8 files cannot be used: 00: is empty; 01: is empty; ")
    assert str(error).endswith("04: is empty; and 3 more. replace them")
    assert error.problems == tuple(many)


def test_errors_are_combined_with_every_file_once():
    one = FilesError("", [problem("b"), problem("a")])
    two = FilesError("", [problem("b"), problem("c", "a\x1b[0m")])
    assert [str(p.path) for p in problems_of([one, two, DataError("x")])] == ["a", "b", "c"]
    assert str(combined([one, two])) == (
        "3 files cannot be used: a: is empty; b: is empty; c: a\\x1b[0m"
    )
    both = combined([DataError("no labels"), one, DataError("no labels")])
    assert str(both) == "no labels; 2 files cannot be used: a: is empty; b: is empty"
    assert str(combined([DataError("x")])) == "x"


def test_the_first_few_are_named_and_the_rest_counted():
    assert in_short([]) == ""
    assert in_short(["a", "b"], most=2) == "a; b"
    assert in_short(["a", "b", "c", "d"], most=2) == "a; b; and 2 more"


def test_what_others_raise_is_one_line():
    assert reason_of(RuntimeError("bad\n  header\t at 7 ")) == "bad header at 7"
    assert reason_of(KeyError()) == "KeyError"
