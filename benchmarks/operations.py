"""What the operations of a compiled program read and write, from the text of its optimized HLO."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

# Bits of a type with no number in its name.
_BITS = {"pred": 8, "token": 0}
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_ARRAY_AND_LAYOUT = re.compile(rf"{_ARRAY.pattern}(\{{[^}}]*\}})?")
_NAME = re.compile(r"%([\w.\-]+)")
_COMPUTATION = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%([\w.\-]+) = ")
_CALLED = re.compile(r"\b(?:calls|body|to_apply|called_computation|computation)=%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|(?:true|false)_computation=(%[\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SOURCE = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_COMMENT = re.compile(r"/\*.*?\*/")

# A layout in the fast memory of a TPU says so.
_NEAR = "S(1)"
# They name memory, or wait for what another operation moves.
_FREE = {
    "add-dependency",
    "after-all",
    "bitcast",
    "constant",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
_READS_A_PART = ("slice", "dynamic-slice", "gather")


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a compiled program.

    Attributes:
        name: In the HLO.
        kind: Its opcode; of a fusion the opcode of its result too.
        result: Shape and type, as in the HLO but without the layout.
        source: The path in the traced program that it came from; '' if XLA made it.
        moved: Bytes that it reads and writes, as often as it runs.
    """

    name: str
    kind: str
    result: str
    source: str
    moved: float


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool


_Computation = dict[str, _Instruction]


def operations_of(text: str) -> tuple[Operation, ...]:
    """The operations of a program, from the one that moves most on.

    An operation that reads a slice of an array is counted with the slice, a loop's with its trips
    where XLA knows them. All branches of a choice count. On a TPU, arrays count with the padding of
    their tiles, and those in its fast memory (VMEM) do not: XLA's own count is the other way round.

    Args:
        text: `as_text()` of a compiled program of jax.

    Raises:
        ValueError: It is not.
    """
    computations, entry = _parse(text)
    found = _operations(computations, entry, times=1)
    return tuple(sorted(found, key=lambda operation: -operation.moved))


def _operations(
    computations: Mapping[str, _Computation], name: str, *, times: int
) -> Iterator[Operation]:
    computation = computations[name]
    for instruction in computation.values():
        if instruction.opcode in ("while", "conditional", "call", "async-start"):
            trips = _TRIPS.search(instruction.attributes)
            for inner in _called(instruction):
                yield from _operations(
                    computations, inner, times=times * (int(trips[1]) if trips else 1)
                )
        elif instruction.opcode not in _FREE and not instruction.opcode.endswith("-done"):
            source = _SOURCE.search(instruction.attributes)
            yield Operation(
                name=instruction.name,
                kind=_kind(instruction, computations),
                result=" ".join(f"{kind}[{shape}]" for kind, shape in _arrays(instruction.type)),
                source=source[1] if source else "",
                moved=times * _moved(instruction, computation, computations),
            )


def _kind(instruction: _Instruction, computations: Mapping[str, _Computation]) -> str:
    if instruction.opcode != "fusion":
        return instruction.opcode
    inner = computations[_called(instruction)[0]].values()
    heavy = [i.opcode for i in inner if i.opcode in ("convolution", "dot", "reduce", "scatter")]
    chosen = heavy[0] if heavy else next(i.opcode for i in inner if i.is_root)
    return f"fusion of {chosen}"


def _moved(
    instruction: _Instruction,
    computation: _Computation,
    computations: Mapping[str, _Computation],
) -> float:
    """Bytes of one run."""
    sizes = [_bytes(computation[name].type) for name in instruction.operands]
    if instruction.opcode in ("copy-start", "slice-start"):
        # The type is that of the copy, the original and a token; of a slice, the original first.
        first, second, *_ = (found[0] for found in _ARRAY_AND_LAYOUT.finditer(instruction.type))
        if instruction.opcode == "copy-start":
            return _bytes(first) + _bytes(second)
        return _bytes(second) + (0 if _NEAR in first else _bytes(second.replace(_NEAR, "")))
    if instruction.opcode.endswith("-start"):
        return 2 * sum(sizes)
    written = _bytes(instruction.type)
    if instruction.opcode in _READS_A_PART:
        return 2 * written
    if instruction.opcode == "dynamic-update-slice":
        return 2 * sizes[1]
    if instruction.opcode != "fusion":
        return written + sum(sizes)
    inner = computations[_called(instruction)[0]]
    parameters = {int(i.operands[0]): i.name for i in inner.values() if i.opcode == "parameter"}
    users = collections.defaultdict(list)
    for user in inner.values():
        for operand in user.operands:
            users[operand].append(user)
    for index, name in parameters.items():
        sizes[index] = min(sizes[index], _read(name, users, inner))
    root = next(i for i in inner.values() if i.is_root)
    if root.opcode == "dynamic-update-slice":
        written = min(written, _bytes(inner[root.operands[1]].type))
    return written + sum(sizes)


def _read(
    name: str, users: Mapping[str, Sequence[_Instruction]], inner: Mapping[str, _Instruction]
) -> float:
    """What a fusion reads of a parameter."""
    total = 0.0
    for user in users.get(name, ()):
        if user.opcode in _READS_A_PART and user.operands[0] == name:
            total += _bytes(user.type)
        elif user.opcode == "bitcast":
            total += _read(user.name, users, inner)
        elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == name):
            return math.inf
    return total


def _called(instruction: _Instruction) -> list[str]:
    found = _CALLED.findall(instruction.attributes)
    for several, one in _BRANCHES.findall(instruction.attributes):
        found += _NAME.findall(several or one)
    return found


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    """The computations by name, and the name of the one that is run."""
    computations: dict[str, _Computation] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if not line[:1].isspace():
            if found := _COMPUTATION.match(line):
                current = found[2]
                computations[current] = {}
                entry = current if found[1] else entry
        elif found := _INSTRUCTION.match(line):
            instruction = _instruction(found[2], line[found.end() :], is_root=bool(found[1]))
            computations[current][instruction.name] = instruction
    if not entry:
        raise ValueError("The text is not that of a compiled program.")
    return computations, entry


def _instruction(name: str, rest: str, *, is_root: bool) -> _Instruction:
    """From what follows `name =`: `type opcode(operands), attributes`."""
    rest = _COMMENT.sub("", rest)
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    kind = rest[:end]
    opcode, _, arguments = rest[end:].strip().partition("(")
    end = _closing("(" + arguments) - 1
    inside = arguments[: end - 1]
    operands = (inside,) if opcode == "parameter" else tuple(_NAME.findall(inside))
    return _Instruction(name, kind, opcode, operands, arguments[end:], is_root)


def _closing(text: str) -> int:
    """The position after the parenthesis that closes the first."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return index + 1
    raise ValueError(f"Parentheses do not match: {text[:60]}")


def _arrays(kind: str) -> list[tuple[str, str]]:
    return _ARRAY.findall(kind)


def _bytes(kind: str) -> float:
    """Of a type: with the padding of a TPU's tiles, without what is in its fast memory."""
    total = 0.0
    for array in _ARRAY_AND_LAYOUT.finditer(kind):
        name, shape, layout = array.groups(default="")
        if _NEAR not in layout:
            number = re.search(r"\d+", name)
            bits = _BITS[name] if name in _BITS else int(number[0]) if number else 0
            sizes = [int(size) for size in shape.split(",") if size]
            total += math.prod(_padded(sizes, layout)) * bits / 8
    return total


def _padded(sizes: Sequence[int], layout: str) -> list[int]:
    """From the slowest dimension on, the last ones rounded up to the first tile of `layout`."""
    found = re.match(r"\{([\d,]+):T\(([\d,]+)\)", layout)
    if found is None:
        return list(sizes)
    order, tile = ([int(n) for n in text.split(",")] for text in found.groups())
    placed = [sizes[axis] for axis in reversed(order)]
    tile = [1] * (len(placed) - len(tile)) + tile[-len(placed) :]
    return [-(-size // step) * step for size, step in zip(placed, tile, strict=True)]
