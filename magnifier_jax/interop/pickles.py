"""Reads the pickles inside PyTorch's files without running anything that they ask for.

Unpickling runs whatever functions a pickle names. Here a small interpreter knows the instructions
that build plain data, and a closed table of the names that PyTorch's tensors need; any other
instruction or name is refused before anything happens. Nothing is ever imported or called by name.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable, Iterable
from typing import IO, Any

import ml_dtypes
import numpy as np

_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "ComplexDoubleStorage": np.dtype(np.complex128),
}
_TENSOR_TYPES = {
    **{name: np.dtype(name) for name in ("float16", "float32", "float64", "complex64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "complex128")},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "bool": np.dtype(np.bool_),
}


class PickleRefusedError(Exception):
    """The pickle is broken or wants more than data and tensors."""


@dataclasses.dataclass(frozen=True)
class StorageType:
    """The type of a storage's numbers; None for one that is bytes."""

    dtype: np.dtype | None


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor whose numbers have not been read yet.

    Attributes:
        storage: Whatever `read_pickle`'s caller made of the storage's persistent id.
        offset: First element, in elements of the storage.
        shape: Size of each axis.
        strides: Elements between neighbors on each axis.
        dtype: Type, if not the storage's.
    """

    storage: Any
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype | None = None


class Opaque:
    """Stands for an object that checkpoints hold beside tensors and that nobody needs."""


@dataclasses.dataclass(frozen=True)
class _Function:
    """A name that a pickle may call, and our own function that answers."""

    answer: Callable[..., Any]


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any, dtype: np.dtype | None = None
) -> Tensor:
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise PickleRefusedError("a tensor has an impossible shape")
    return Tensor(storage, offset, tuple(shape), tuple(strides), dtype)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(dtype, np.dtype):
        raise PickleRefusedError("a tensor has an unknown type")
    return _tensor(storage, offset, shape, strides, dtype=dtype)


def _first(value: Any, *_: Any) -> Any:
    return value


def _rebuilt(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    return _call(function, arguments)


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    pairs = [(key, value) for key, value in items]
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


def _check_keys(keys: Iterable[Any]) -> None:
    """Lets only flat values be hashed: Python crashes when it hashes a deeply nested tuple."""
    for key in keys:
        flat = key if type(key) is tuple else (key,)
        if not all(isinstance(item, _FLAT) for item in flat):
            raise PickleRefusedError("it has a key that is no plain value")


def _opaque(*_: Any) -> Opaque:
    return Opaque()


# What training scripts save beside the tensors: settings, schedules, scores of NumPy.
_IGNORED = (
    ("argparse", "Namespace"),
    ("collections", "Counter"),
    ("datetime", "datetime"),
    ("pathlib", "PosixPath"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *((module, kind) for module in ("builtins", "__builtin__") for kind in ("dict", "list")),
    *((module, kind) for module in ("builtins", "__builtin__") for kind in ("int", "float")),
    *((module, kind) for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")),
)
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Function(_dictionary),
    ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Function(_typed_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): _Function(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): _Function(_rebuilt),
    ("torch.nn.parameter", "Parameter"): _Function(_first),
    ("torch", "Tensor"): Opaque(),
    ("torch", "Size"): _Function(_first),
    ("torch", "device"): _Function(_opaque),
    ("torch.storage", "UntypedStorage"): StorageType(None),
    **{("torch", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{("torch.cuda", name): StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{("torch", name): dtype for name, dtype in _TENSOR_TYPES.items()},
    ("collections", "defaultdict"): _Function(lambda *_: {}),
    **{name: _Function(_opaque) for name in _IGNORED},
}


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Function) or not isinstance(arguments, tuple):
        raise PickleRefusedError("it calls something that is no function")
    try:
        return function.answer(*arguments)
    except (TypeError, ValueError) as error:
        raise PickleRefusedError("a function gets impossible arguments") from error


def read_pickle(stream: IO[bytes], *, storage: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Reads one pickle, up to its end and no byte further.

    Args:
        stream: Where the pickle begins.
        storage: Makes of a persistent id (what PyTorch writes for a tensor's numbers) what
            `Tensor.storage` then holds.

    Returns:
        Plain data with `Tensor` for tensors and `Opaque` for harmless objects.

    Raises:
        PickleRefusedError: It is broken, or wants more than data and tensors.
    """
    machine = _Machine(storage)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        return machine.result()
    except PickleRefusedError:
        raise
    except _BROKEN as error:
        raise PickleRefusedError("it is broken or cut off") from error


_STORAGE_FIELDS = 5  # "storage", type, name, device, count of numbers
_FLAT = (str, bytes, int, float, type(None))
# What instructions bring about that do not fit together.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        "BYTEARRAY8",
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))


class _Machine:
    """The stack that a pickle's instructions work on."""

    def __init__(self, storage: Callable[[tuple[Any, ...]], Any]) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self._stack
        return value

    def step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NOTHING:
            return
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name in _PUTS:
            self._memo[int(argument)] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[int(argument)])
        else:
            method = getattr(self, f"_do_{name.lower()}", None)
            if method is None:
                raise PickleRefusedError(f"it uses the instruction {name}")
            method(argument)

    def _pop(self, count: int) -> list[Any]:
        if count > len(self._stack) - (self._marks[-1] if self._marks else 0):
            raise PickleRefusedError("it is broken or cut off")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefusedError("it asks for a name that is no text")
        if (module, name) not in _NAMES:
            raise PickleRefusedError(f"it asks for `{module}.{name}`")
        self._stack.append(_NAMES[module, name])

    def _do_mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_pop(self, _: Any) -> None:
        self._pop(1)

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _do_list(self, _: Any) -> None:
        self._stack.append(self._pop_to_mark())

    def _do_dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._stack.append({})
        self._update(items)

    def _do_append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def _do_appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise PickleRefusedError("it appends to something that is no list")
        self._stack[-1].extend(items)

    def _do_additems(self, _: Any) -> None:
        items = self._pop_to_mark()
        if type(self._stack[-1]) is not set:
            raise PickleRefusedError("it adds to something that is no set")
        _check_keys(items)
        self._stack[-1].update(items)

    def _do_setitem(self, _: Any) -> None:
        self._update(self._pop(2))

    def _do_setitems(self, _: Any) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not dict:
            raise PickleRefusedError("it sets items of something that is no dictionary")
        _check_keys(items[::2])
        self._stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _do_global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def _do_stack_global(self, _: Any) -> None:
        self._name(*self._pop(2))

    def _do_reduce(self, _: Any) -> None:
        function, arguments = self._pop(2)
        self._stack.append(_call(function, arguments))

    def _do_newobj(self, _: Any) -> None:
        self._do_reduce(_)

    def _do_build(self, _: Any) -> None:
        # The state that follows a dictionary (a `state_dict`'s versions) or a stand-in is not kept.
        target, _state = self._pop(2)
        if not isinstance(target, (dict, Opaque)):
            raise PickleRefusedError("it sets the state of something that has none")
        self._stack.append(target)

    def _do_binpersid(self, _: Any) -> None:
        (identity,) = self._pop(1)
        if not isinstance(identity, tuple) or not identity or identity[0] != "storage":
            raise PickleRefusedError("it refers to something that is no tensor")
        if len(identity) < _STORAGE_FIELDS or not isinstance(identity[2], str):
            raise PickleRefusedError("a storage has no name")
        self._stack.append(self._storage(identity[1:]))
