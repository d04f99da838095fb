"""Tables of text."""

import io

import pytest

from magnifier_jax.tables import encodable, table


def ascii_stream():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def test_columns_are_aligned():
    text = table(["", "mAP", "rank-1"], [["market", "9.1", "100.0"], ["a", "12.0", "3.5"]])
    assert text.splitlines() == [
        "─" * 20,
        "         mAP  rank-1",
        "─" * 20,
        "market   9.1   100.0",
        "a       12.0     3.5",
        "─" * 20,
    ]


def test_columns_may_be_aligned_to_the_left_and_rules_left_out():
    text = table(["name", "who"], [["x.jpg", "Zoë"]], left=(0, 1), rules=False)
    assert text == "name   who\nx.jpg  Zoë"


def test_wide_letters_take_two_columns_and_combining_marks_none():
    text = table(["", "n"], [["東京", "1"], ["Zoe\u0308", "22"]], rules=False)
    assert text.splitlines() == ["       n", "東京   1", "Zoe\u0308   22"]


def test_terminals_without_the_letters_get_others():
    text = table(["size", "n"], [["3 × 4", "1"], ["é", "2"]], stream=ascii_stream())
    assert text.splitlines() == [
        "--------",
        "size   n",
        "--------",
        "3 x 4  1",
        "\\xe9   2",
        "--------",
    ]
    assert encodable("a → b …", ascii_stream()) == "a -> b ..."
    assert encodable("─", io.StringIO()) == "─"


def test_names_cannot_break_the_table():
    assert table(["a"], [["x\ny\x1b[31m"]], rules=False).splitlines() == ["a", "x\\ny\\x1b[31m"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        table(["a", "b"], [["1"]])
