"""Numbers in names and lists, and numbers for what the user calls by names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

LARGEST = 2**31 - 1
"""The largest number that an identity or a camera can have."""


def whole_number(text: str) -> int | None:
    """The number that plain digits say, or None where it is no number or too large."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= LARGEST else None


def one_spelling(name: str) -> str:
    """The name in Unicode's composed form: computers write `é` as one letter or as two."""
    return unicodedata.normalize("NFC", name)


def number_names(names: Iterable[str]) -> Mapping[str, int]:
    """Gives every name a number.

    Names that are all different whole numbers of up to 2³¹ − 1 keep their value; otherwise the
    names count from 0 in alphabetical order.
    """
    ordered = sorted(set(names))
    values = {name: number for name in ordered if (number := whole_number(name)) is not None}
    if len(set(values.values())) == len(ordered):
        return values
    return {name: number for number, name in enumerate(ordered)}
