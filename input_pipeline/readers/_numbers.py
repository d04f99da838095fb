"""Numbers for identities and cameras that the user calls by names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def number_names(names: Iterable[str]) -> Mapping[str, int]:
    """Gives every name a number.

    Names that are all different whole numbers keep their value; otherwise the names count from 0
    in alphabetical order.
    """
    ordered = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in ordered):
        values = {name: int(name) for name in ordered}
        if len(set(values.values())) == len(values):
            return values
    return {name: number for number, name in enumerate(ordered)}
