"""Filters over what a gallery knows of its images, such as `camera != 3 and time >= '2026-11-29'`.

    filter = term {("and" | "or") term}      term = "not" term | "(" filter ")" | test
    test   = column ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
           | column ["not"] "in" "(" value {"," value} ")"
           | column ["not"] "between" value "and" value
           | column ["not"] "like" text
           | column "is" ["not"] "null"

A filter can come from a stranger, so that nothing but this reaches the store: no functions, which
can take all memory, no arithmetic, no second statement. It is read here, checked against the types
of the columns, and written anew. As in SQL, a test of a value that is not known is neither true nor
false, and `and` binds tighter than `or`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from input_pipeline.console import choose
from input_pipeline.errors import UserError

Kind = Literal["text", "whole number", "number", "time", "true or false"]
"""What a column holds."""

_MOST_CHARACTERS = 20_000
_MOST_DEPTH = 40
_WORDS = {"and", "or", "not", "in", "between", "like", "is", "null", "true", "false"}
_OPERATORS = ("<=", ">=", "<>", "!=", "=", "<", ">")
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')
    |(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<name>[^\W\d]\w*|"[^"]+"|`[^`]+`)
    |(?P<sign><=|>=|<>|!=|=|<|>|\(|\)|,))""",
    re.VERBOSE,
)
_HELP = "write it as \"camera != 3 and time >= '2026-11-29T09:00'\""


@dataclasses.dataclass(frozen=True)
class Test:
    """One test of one column.

    Attributes:
      column: What is tested.
      operator: A comparison, or `in`, `between`, `like` or `null`.
      values: What it is compared with, as Python values of the column's kind.
      negated: Whether the opposite is wanted.
    """

    column: str
    operator: str
    values: tuple[Any, ...]
    negated: bool = False


@dataclasses.dataclass(frozen=True)
class Joined:
    """Terms joined by `and` or `or`; or one term by `not`."""

    operator: Literal["and", "or", "not"]
    terms: tuple[Node, ...]


Node = Test | Joined


@dataclasses.dataclass(frozen=True)
class Filter:
    """A filter that was read and checked.

    Attributes:
      root: Its outermost term.
    """

    root: Node

    @classmethod
    def read(cls, text: str, kinds: Mapping[str, Kind]) -> Filter:
        """Reads a filter.

        Args:
          text: What a person wrote.
          kinds: The columns that there are, and what they hold.

        Raises:
          UserError: if it is no filter, or does not fit the columns.
        """
        if len(text) > _MOST_CHARACTERS:
            raise UserError(f"the filter is longer than {_MOST_CHARACTERS:,} characters")
        return cls(_Reader(text, kinds).whole())

    def sql(self) -> str:
        """The filter for a store: SQL with nothing of the original text but names and values."""
        return _sql(self.root)

    def matches(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Which rows it lets through.

        Args:
          columns: [N] each, as objects; None for what is not known.
        """
        return _truth(self.root, columns)[0]


# --- Reading --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int


class _Reader:
    """Reads a filter from left to right."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        self._text, self._kinds = text, kinds
        self._tokens = list(_tokens(text))
        self._next = 0

    def whole(self) -> Node:
        if not self._tokens:
            raise UserError(f"the filter is empty; {_HELP}")
        found = self._any(0)
        if self._next < len(self._tokens):
            raise self._refusal("'and', 'or' or the end")
        return found

    def _any(self, depth: int) -> Node:
        terms = [self._all(depth)]
        while self._take("or"):
            terms.append(self._all(depth))
        return terms[0] if len(terms) == 1 else Joined("or", tuple(terms))

    def _all(self, depth: int) -> Node:
        terms = [self._term(depth)]
        while self._take("and"):
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else Joined("and", tuple(terms))

    def _term(self, depth: int) -> Node:
        if depth > _MOST_DEPTH:
            raise UserError(f"the filter has more than {_MOST_DEPTH} parentheses in each other")
        if self._take("not"):
            return Joined("not", (self._term(depth + 1),))
        if self._take("("):
            found = self._any(depth + 1)
            self._need(")")
            return found
        return self._test()

    def _test(self) -> Test:
        column = self._column()
        token = self._peek()
        if token is not None and token.text in _OPERATORS:
            self._next += 1
            operator = "!=" if token.text == "<>" else token.text
            return Test(column, operator, (self._value(column),))
        if self._take("is"):
            negated = self._take("not")
            self._need("null")
            return Test(column, "null", (), negated)
        negated = self._take("not")
        if self._take("in"):
            self._need("(")
            values = [self._value(column)]
            while self._take(","):
                values.append(self._value(column))
            self._need(")")
            return Test(column, "in", tuple(values), negated)
        if self._take("between"):
            low = self._value(column)
            self._need("and")
            return Test(column, "between", (low, self._value(column)), negated)
        if self._take("like"):
            if self._kinds[column] != "text":
                raise UserError(
                    f"{column} is a {self._kinds[column]} and cannot be compared by like"
                )
            return Test(column, "like", (self._value(column),), negated)
        raise self._refusal("a comparison such as = or in")

    def _column(self) -> str:
        token = self._peek()
        if token is None or token.kind != "name" or token.text.casefold() in _WORDS:
            raise self._refusal("a column")
        self._next += 1
        name = token.text.strip('"`')
        if name in self._kinds:
            return name
        return choose(name, sorted(self._kinds), what="column")

    def _value(self, column: str) -> Any:
        token = self._peek()
        word = "" if token is None else token.text.casefold()
        if token is None or (
            token.kind not in ("text", "number") and word not in ("true", "false")
        ):
            raise self._refusal("a value, text in single quotes")
        self._next += 1
        value = token.text[1:-1].replace("''", "'") if token.kind == "text" else token.text
        try:
            return as_kind(value, self._kinds[column])
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{column} is a {self._kinds[column]}, so it cannot be compared with {value!r}"
            ) from error

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.kind not in ("name", "sign") or token.text.casefold() != text:
            return False
        self._next += 1
        return True

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._refusal(repr(text))

    def _refusal(self, wanted: str) -> UserError:
        token = self._peek()
        found = "at its end" if token is None else f"at {self._text[token.place :][:40]!r}"
        return UserError(f"the filter cannot be read {found}, where {wanted} should be; {_HELP}")


def _tokens(text: str) -> Iterator[_Token]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise UserError(f"the filter cannot be read at {text[place:].lstrip()[:40]!r}; {_HELP}")
        yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
        place = found.end()


def as_kind(value: Any, kind: Kind) -> Any:
    """A value, or the text of one, as what a column holds.

    Raises:
      ValueError: if it is nothing of the kind.
    """
    if kind == "text":
        return str(value)
    if kind == "time":
        return as_time(value)
    if kind == "true or false":
        known: Mapping[Any, bool] = {"true": True, "false": False, True: True, False: False}
        key = value.casefold() if isinstance(value, str) else bool(value)
        if key not in known:
            raise ValueError(f"{value!r} is neither true nor false")
        return known[key]
    if kind == "number":
        number = float(value)
        if not np.isfinite(number):
            raise ValueError(f"{value!r} is not finite")
        return number
    whole = int(value) if not isinstance(value, float) or value.is_integer() else None
    if whole is None or not -(2**63) <= whole < 2**63:
        raise ValueError(f"{value!r} is no whole number of 64 bits")
    return whole


def as_time(value: Any) -> datetime.datetime:
    """A moment in UTC; without a time zone it counts as UTC.

    Args:
      value: A time of Python or NumPy, or ISO 8601 text such as `2026-11-29T09:00:00+01:00`.

    Raises:
      ValueError: if it is none.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        raise ValueError(f"{value!r} is no time")
    if value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)
    return value.astimezone(datetime.UTC)


# --- Writing for a store --------------------------------------------------------------------------


def _sql(node: Node) -> str:
    if isinstance(node, Joined):
        if node.operator == "not":
            return f"NOT ({_sql(node.terms[0])})"
        return f" {node.operator.upper()} ".join(f"({_sql(term)})" for term in node.terms)
    column = f"`{node.column}`"
    negated = "NOT " if node.negated else ""
    values = [_literal(value) for value in node.values]
    if node.operator == "null":
        return f"{column} IS {negated}NULL"
    if node.operator == "in":
        return f"{column} {negated}IN ({', '.join(values)})"
    if node.operator == "between":
        return f"{column} {negated}BETWEEN {values[0]} AND {values[1]}"
    if node.operator == "like":
        return f"{column} {negated}LIKE {values[0]}"
    return f"{column} {node.operator} {values[0]}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return f"timestamp '{value.isoformat(timespec='microseconds')}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


# --- Applying to arrays ---------------------------------------------------------------------------


def _truth(
    node: Node, columns: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a node is true, and where it is false; neither where a value is not known."""
    if isinstance(node, Test):
        return _tested(node, columns[node.column])
    found = [_truth(term, columns) for term in node.terms]
    if node.operator == "not":
        return found[0][1], found[0][0]
    every, some = functools.partial(np.all, axis=0), functools.partial(np.any, axis=0)
    true, false = ([pair[side] for pair in found] for side in (0, 1))
    if node.operator == "and":
        return np.asarray(every(true)), np.asarray(some(false))
    return np.asarray(some(true)), np.asarray(every(false))


def _tested(test: Test, values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    known = np.array([value is not None for value in values.tolist()], bool)
    if test.operator == "null":
        true = known if test.negated else ~known
        return true, ~true
    passes = _passes(test)
    true = np.zeros(len(values), bool)
    true[known] = [passes(value) for value in values[known].tolist()]
    false = known & ~true
    return (false, true) if test.negated else (true, false)


def _passes(test: Test) -> Callable[[Any], bool]:
    first = test.values[0]
    if test.operator == "in":
        return set(test.values).__contains__
    if test.operator == "between":
        return lambda value: bool(first <= value <= test.values[1])
    if test.operator == "like":
        pattern = _like(first)
        return lambda value: pattern.fullmatch(value) is not None
    compare: Mapping[str, Callable[[Any], bool]] = {
        "=": lambda value: value == first,
        "!=": lambda value: value != first,
        "<": lambda value: value < first,
        "<=": lambda value: value <= first,
        ">": lambda value: value > first,
        ">=": lambda value: value >= first,
    }
    return compare[test.operator]


def _like(pattern: str) -> re.Pattern[str]:
    r"""A pattern of SQL, where % is any text and _ any character, unless \ is before it.

    What follows a % is looked for once, from left to right, so that no text takes long.
    """
    pieces, escaped = [""], False
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        if char == "%" and not escaped:
            pieces.append("")
        else:
            pieces[-1] += "." if char == "_" and not escaped else re.escape(char)
        escaped = False
    if len(pieces) == 1:
        return re.compile(pieces[0], re.DOTALL)
    inner = "".join(f"(?>.*?{piece})" for piece in pieces[1:-1])
    return re.compile(f"{pieces[0]}{inner}.*{pieces[-1]}", re.DOTALL)
