"""Who a person is, which camera took an image, and what is junk: decided here, for everyone.

Readers, embedding, search, retrieval, galleries and training all ask this module, so that one name
means one person and one camera wherever it comes from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

JUNK = -1
"""The identity of bad detections in Market-1501: counted, and otherwise as if not there."""

UNKNOWN_CAMERA = -1
"""A camera that is not known. It equals no camera, not even another unknown one."""

LARGEST = 2**31 - 1
"""The largest number that an identity or a camera can have."""

_JUNK = re.compile(r"[-\N{MINUS SIGN}]0*1(\.0*)?")


def is_junk(identity: object) -> bool:
    """Whether an identity is that of bad detections, in every way in which −1 can be written.

    Args:
        identity: A number, or text such as `-1`, `-0001` or `-1.0`; bytes are read as UTF-8.
    """
    if isinstance(identity, bytes):
        identity = identity.decode("utf-8", "replace")
    if isinstance(identity, str):
        return _JUNK.fullmatch(one_spelling(identity).strip()) is not None
    return bool(identity == JUNK)


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
