"""Settings that are declared once: type, default, range and meaning, as fields of dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from input_pipeline.errors import UserError

Section = TypeVar("Section")

_KEY = "setting"
_SHOWN = 100  # characters of a value in a message
_LONGEST_TEXT = 4096
_LONGEST_TUPLE = 1000


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of a field beside its type and default.

    Attributes:
        comment: What it means, in full sentences.
        low: The least value, or the least of each value of a tuple.
        high: The largest.
        holds: Whether a value within the bounds makes sense.
        need: What a value has to be, as the end of "must be …".
        choices: The texts that it can be; empty for any.
        added: Whether older configurations lack it, which have its default then.
    """

    comment: str
    low: float | None = None
    high: float | None = None
    holds: Callable[[Any], bool] | None = None
    need: str = ""
    choices: tuple[str, ...] = ()
    added: bool = False

    def complaint(self, value: Any) -> str | None:
        """What a value of the right type has to be instead, or None where it is right."""
        items = value if isinstance(value, tuple) else (value,)
        if len(items) > _LONGEST_TUPLE:
            return f"{_LONGEST_TUPLE} values or fewer"
        for item in items:
            if isinstance(item, str):
                if "\0" in item or len(item) > _LONGEST_TEXT:
                    return f"text of up to {_LONGEST_TEXT} characters"
            elif not isinstance(item, bool) and (text := self._out_of_bounds(item)):
                return text
        if self.holds is not None and not self.holds(value):
            return self.need
        return None

    def _out_of_bounds(self, number: float) -> str | None:
        if self.low is not None and number < self.low:
            return self.need or f"{self.low} or more"
        if self.high is not None and number > self.high:
            return self.need or f"{self.high} or less"
        return None


def setting(default: Any, comment: str, **details: Any) -> Any:
    """A field of a section; the details are those of `Setting`."""
    return dataclasses.field(default=default, metadata={_KEY: Setting(comment, **details)})


def about(comment: str) -> dict[str, Any]:
    """The metadata of a field that holds a section of settings."""
    return {_KEY: Setting(comment)}


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """What a field was declared with."""
    found = field.metadata[_KEY]
    assert isinstance(found, Setting)
    return found


def read_section(kind: type[Section], mapping: Any, path: str) -> Section:
    """Makes a section from nested mappings, and checks every field by itself.

    Args:
        kind: A dataclass whose fields are settings or sections.
        mapping: Values by name; tuples may be lists.
        path: What the section is called in messages.

    Raises:
        UserError: A field is unknown, missing, of another type, or out of bounds.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{path} must hold fields, not {shown(mapping)}.")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in mapping:
        if name not in fields:
            raise UserError(f"{path}.{name} does not exist{suggest(str(name), fields)}")
    values = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _read(hints[name], mapping[name], f"{path}.{name}", field=field)
        elif not setting_of(field).added:
            raise UserError(f"{path}.{name} is missing.")
    return kind(**values)


def table(kind: type, path: str = "config") -> Iterator[tuple[str, str, str]]:
    """Full name, default and comment of every field, sections included, in their order."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, known = f"{path}.{field.name}", setting_of(field)
        if dataclasses.is_dataclass(hints[field.name]):
            yield name, "", known.comment
            yield from table(typing.cast(type, hints[field.name]), name)
        else:
            yield name, repr(field.default), known.comment


def suggest(name: str, known: Iterable[str]) -> str:
    """`", did you mean X?"` where one of the known names is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """A value as messages show it; long ones are cut."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits.
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _read(hint: Any, value: Any, path: str, *, field: dataclasses.Field[Any]) -> Any:
    if dataclasses.is_dataclass(hint):
        return read_section(typing.cast(type, hint), value, path)
    known = setting_of(field)
    typed = _typed(hint, value, path)
    if known.choices and typed not in known.choices:
        raise _no_choice(known.choices, typed, path)
    need = known.complaint(typed)
    if need is not None:
        raise UserError(f"{path} is {shown(value)} but must be {need}.")
    return typed


def _typed(hint: Any, value: Any, path: str) -> Any:
    """The value as the type says; lists become tuples, whole numbers become decimal ones."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not isinstance(value, str) or value not in choices:
            raise _no_choice(choices, value, path)
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, (tuple, list)):
            raise UserError(f"{path} must be a tuple, not {shown(value)}.")
        kinds = typing.get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise UserError(f"{path} must hold {len(kinds)} values, not {shown(value)}.")
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(_typed(kind, item, f"{path}[{i}]") for i, (kind, item) in pairs)
    if hint is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not hint:
        raise UserError(f"{path} must be {_name(hint)}, not {shown(value)}.")
    if hint is float and not math.isfinite(value):
        raise UserError(f"{path} must be a finite number, not {shown(value)}.")
    return value


def _no_choice(choices: Iterable[str], value: Any, path: str) -> UserError:
    choices = tuple(choices)
    hint = suggest(str(value)[:_SHOWN], choices)
    return UserError(f"{path} is {shown(value)} but must be one of {', '.join(choices)}{hint}")


def _name(hint: type) -> str:
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    return words.get(hint, hint.__name__)
