"""Which names are one, which number each gets, and which are nearly the same."""

from __future__ import annotations

import decimal
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from input_pipeline.errors import in_short
from input_pipeline.identities.unknown import JUNK, is_junk

LARGEST = 2**31 - 1
"""The largest number that an identity or a camera can have in a dataset."""


def whole_number(text: str) -> int | None:
    """The number that plain digits say, or None where it is no number or too large."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > len(str(LARGEST)):
        return None
    number = int(text)
    return number if number <= LARGEST else None


def one_spelling(name: str) -> str:
    """The name in Unicode's composed form: computers write `é` as one letter or as two."""
    return unicodedata.normalize("NFC", name)


def number_names(names: Iterable[str]) -> Mapping[str, int]:
    """Gives every name a number.

    Names that are all different whole numbers of up to 2³¹ − 1 keep their value; otherwise the
    names count from 0 in alphabetical order. Names of junk become `JUNK`, and decide nothing.
    """
    given = set(names)
    junk = {name: JUNK for name in given if is_junk(name)}
    ordered = sorted(given - set(junk))
    values = {name: number for name in ordered if (number := whole_number(name)) is not None}
    if len(set(values.values())) != len(ordered):
        values = {name: number for number, name in enumerate(ordered)}
    return {**values, **junk}


def near_spellings(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that count as different and may well be meant as one.

    These are numbers of one value (`4`, `0004`, `4.0`), and names that differ only in capitals,
    blanks or the width of their letters.
    """
    groups: dict[object, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        groups[_gist(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _gist(name: str) -> object:
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        number = decimal.Decimal(text.replace("_", "\0"))
    except decimal.InvalidOperation:
        return text
    return number if number.is_finite() else text


def near_spelling_notices(names: Iterable[str], *, kind: str = "identities") -> list[str]:
    """Says which names count as different though they may well be meant as one."""
    groups = near_spellings(name for name in names if not is_junk(name))
    if not groups:
        return []
    named = in_short([", ".join(map(repr, group)) for group in groups], most=3)
    return [f"different {kind} with almost the same name: {named}. Write each in one way"]
