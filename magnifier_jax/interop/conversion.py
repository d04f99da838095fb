"""Moves whole networks and backbones between PyTorch's `state_dict` and our variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.interop.torch_names import Layout, Link, backbone_links, counter_names, links
from magnifier_jax.model import Backbone, BackboneSpec, MagnifierNet

Variables = dict[str, Any]

# What wrappers of modules put before every name: DataParallel, and torch.compile.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
_COUNTER = "num_batches_tracked"
# Tensors that every network, and every ResNet, has once.
_NETWORK, _BACKBONE = "base.model.conv1.weight", "layer1.0.conv1.weight"
_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What an import left over.

    Attributes:
        unused: Names of PyTorch tensors that no variable takes.
        unfilled: Variables that got no tensor, as `params/fusion/neck/scale`.
        dropped: Identity classifiers of another identity count, each as `name: K instead of K'`.
            Their variables are among `unfilled`.
    """

    unused: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line per kind of remainder; empty when everything was used and filled."""
        return "\n".join(
            f"{title} ({len(names)}): {', '.join(names)}."
            for title, names in (
                ("Dropped, made for other identities", self.dropped),
                ("Tensors not used", self.unused),
                ("Variables not filled", self.unfilled),
            )
            if names
        )


@dataclasses.dataclass(frozen=True)
class Imported:
    """Variables made of PyTorch tensors.

    Attributes:
        variables: `params` and `batch_stats`, nested by module; NumPy arrays of the network's
            `param_dtype`. Variables that were not filled are absent.
        report: What was left over on either side.
        num_batches_tracked: Training steps that PyTorch's batch norms counted, 0 if unknown.
    """

    variables: Variables
    report: ImportReport
    num_batches_tracked: int = 0

    def over(self, initial: Mapping[str, Any]) -> Variables:
        """Takes every imported variable, and what was not filled from `initial`."""
        return _overlay(initial, self.variables)


def from_torch_state_dict(state: Mapping[str, np.ndarray], model: MagnifierNet) -> Imported:
    """Turns the tensors of an original MagnifierNet into variables.

    Args:
        state: PyTorch names to arrays in PyTorch's layouts. The names may follow any one prefix,
            such as `DataParallel`'s `module.` or Lightning's `model.`.
        model: The network to fill. Branches that it lacks leave tensors unused, branches that
            the tensors lack stay unfilled, and identity classifiers of another identity count
            are dropped; the report says so.

    Raises:
        UserError: A tensor's shape does not fit, its numbers are undefined, no tensor belongs to
            the network, or there are several networks.
    """
    state = _without_wrapper(_of_one_network(state))
    table = list(links(model))
    wanted = _shapes(_network_variables(model))
    dropped = list(_other_identity_counts(state, table, wanted))
    gone = {name for name, _ in dropped}
    known = {name for name in counter_names(model) if name in state}
    usable = {name: array for name, array in state.items() if name not in gone | known}
    variables, report = _fill(usable, table, wanted, dtype=model.param_dtype)
    if not variables:
        raise UserError(f"No tensor is named like one of MagnifierNet's: {_some(state)}.")
    report = dataclasses.replace(report, dropped=tuple(f"{name}: {why}" for name, why in dropped))
    steps = max((int(state[name]) for name in known), default=0)
    return Imported(variables, report, steps)


def to_torch_state_dict(
    variables: Mapping[str, Any], model: MagnifierNet, *, num_batches_tracked: int = 0
) -> dict[str, np.ndarray]:
    """Turns variables into tensors under the original's names; inverts `from_torch_state_dict`.

    Args:
        variables: `params` and `batch_stats` of the network.
        model: The network.
        num_batches_tracked: Training steps, for the counter that each PyTorch norm keeps.

    Returns:
        Names to contiguous arrays in PyTorch's layouts, in the order of the original's modules.

    Raises:
        UserError: A variable is missing, or its shape does not fit.
    """
    state: dict[str, np.ndarray] = {}
    for link in links(model):
        array = np.asarray(_look_up(variables, link))
        if link.index is not None:
            array = array[link.index]
        if link.layout is not Layout.SAME:
            array = array.transpose(np.argsort(link.layout.value))
        state[link.torch] = np.ascontiguousarray(array)
        if link.torch.endswith(".running_var"):
            counter = link.torch.removesuffix("running_var") + _COUNTER
            state[counter] = np.asarray(num_batches_tracked, np.int64)
    return state


def backbone_from_torch(state: Mapping[str, np.ndarray], spec: BackboneSpec) -> Imported:
    """Turns a ResNet's tensors, by torchvision's or timm's names, into a backbone's variables.

    Args:
        state: PyTorch names to arrays. The names may follow any one prefix, such as `module.`,
            `backbone.` or the original MagnifierNet's `base.model.`.
        spec: The backbone to fill.

    Returns:
        float32 variables, under `backbone` as in the whole network. Tensors outside the
        backbone, such as the classifier `fc`, are reported as unused.

    Raises:
        UserError: The tensors are not those of such a ResNet, of which none may be missing, or
            their numbers are undefined.
    """
    prefixes = _prefixes(state, _BACKBONE)
    if not prefixes:
        raise UserError(
            f"Expected the tensors of a ResNet, named as by torchvision or timm, but `{_BACKBONE}` "
            f"is missing: {_some(state)}."
        )
    table = list(backbone_links(spec, prefix=_only(prefixes)))
    wanted = _shapes(_backbone_variables(spec))
    counters = {name for name in state if name.endswith("." + _COUNTER)}
    usable = {name: array for name, array in state.items() if name not in counters}
    variables, report = _fill(usable, table, wanted, dtype=jnp.float32)
    if report.unfilled:
        raise UserError(
            f"The tensors are those of another ResNet than the one asked for: nothing fills "
            f"{_some(report.unfilled)}."
        )
    return Imported(variables, report)


def _prefixes(state: Mapping[str, np.ndarray], anchor: str) -> list[str]:
    """What stands before a name that every such network has once."""
    return [
        name.removesuffix(anchor) for name in state if name == anchor or name.endswith(f".{anchor}")
    ]


def _only(prefixes: Sequence[str]) -> str:
    if len(prefixes) > 1:
        names = [f"`{prefix.rstrip('.')}`" if prefix else "no prefix" for prefix in prefixes]
        raise UserError(
            f"The file holds {len(prefixes)} networks, below {', '.join(names)}: choose one with "
            "init.prefix (`prefix` of `read_torch_file`)."
        )
    return prefixes[0]


def _of_one_network(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The tensors with the network's own names, whatever it is a part of."""
    prefixes = _prefixes(state, _NETWORK)
    if not prefixes:
        return state
    prefix = _only(prefixes)
    others = {name: array for name, array in state.items() if not name.startswith(prefix)}
    own = {
        name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)
    }
    return {**others, **own}


def _without_wrapper(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    while True:
        for prefix in _WRAPPER_PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): array for name, array in state.items()}
                break
        else:
            return state


def _network_variables(model: MagnifierNet) -> Mapping[str, Any]:
    stride = model.backbone.trunk_stride
    images = jax.ShapeDtypeStruct((1, 2 * stride, stride, 3), jnp.float32)
    return jax.eval_shape(
        lambda key, images: model.init(key, images, train=False), jax.random.key(0), images
    )


def _backbone_variables(spec: BackboneSpec) -> Mapping[str, Any]:
    images = jax.ShapeDtypeStruct((1, 2 * spec.trunk_stride, spec.trunk_stride, 3), jnp.float32)
    tree = jax.eval_shape(
        lambda key, images: Backbone(spec).init(key, images, train=False),
        jax.random.key(0),
        images,
    )
    return {collection: {"backbone": branch} for collection, branch in tree.items()}


def _shapes(variables: Mapping[str, Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    return {tuple(key.key for key in path): leaf.shape for path, leaf in leaves}


def _torch_shape(link: Link, wanted: Mapping[tuple[str, ...], tuple[int, ...]]) -> tuple[int, ...]:
    shape = wanted[link.collection, *link.path]
    if link.index is not None:
        shape = shape[1:]
    if link.layout is Layout.SAME:
        return shape
    return tuple(shape[axis] for axis in np.argsort(link.layout.value))


def _other_identity_counts(
    state: Mapping[str, np.ndarray],
    table: Iterable[Link],
    wanted: Mapping[tuple[str, ...], tuple[int, ...]],
) -> Iterator[tuple[str, str]]:
    """Names of the classifier tensors that differ in the number of identities alone."""
    for link in table:
        if not link.torch.startswith("classifier") or link.torch not in state:
            continue
        found, fits = state[link.torch].shape, _torch_shape(link, wanted)
        if len(found) == len(fits) and found[0] != fits[0] and found[1:] == fits[1:]:
            yield link.torch, f"{found[0]} instead of {fits[0]}"


def _fill(
    state: Mapping[str, np.ndarray],
    table: Iterable[Link],
    wanted: Mapping[tuple[str, ...], tuple[int, ...]],
    *,
    dtype: Any,
) -> tuple[Variables, ImportReport]:
    groups: dict[tuple[str, ...], list[Link]] = {}
    for link in table:
        groups.setdefault((link.collection, *link.path), []).append(link)
    variables: Variables = {}
    used: set[str] = set()
    for path, group in groups.items():
        if not all(link.torch in state for link in group):
            continue
        arrays = [
            _ours(state[link.torch], link, _torch_shape(link, wanted), dtype=dtype)
            for link in group
        ]
        array = arrays[0] if group[0].index is None else np.stack(arrays)
        _put(variables, path, np.ascontiguousarray(array))
        used.update(link.torch for link in group)
    filled = {path for path, group in groups.items() if group[0].torch in used}
    return variables, ImportReport(
        unused=tuple(name for name in state if name not in used),
        unfilled=tuple("/".join(path) for path in wanted if path not in filled),
    )


def _ours(array: np.ndarray, link: Link, shape: tuple[int, ...], *, dtype: Any) -> np.ndarray:
    if array.shape != shape:
        raise UserError(
            f"Tensor `{link.torch}` has shape {list(array.shape)}, but the network needs "
            f"{list(shape)}: the checkpoint is of another network."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(
            f"Tensor `{link.torch}` has type {array.dtype}: weights are floating-point numbers, "
            "and quantized ones have to be converted back first."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # Said below, by name.
        array = array.astype(dtype)
    undefined = array.size - np.count_nonzero(np.isfinite(array))
    if undefined:
        raise UserError(
            f"Tensor `{link.torch}` holds {undefined:,} numbers that are infinite or undefined, of "
            f"{array.size:,}: its training diverged, or the file is damaged."
        )
    return array if link.layout is Layout.SAME else array.transpose(link.layout.value)


def _look_up(variables: Mapping[str, Any], link: Link) -> Any:
    node: Any = variables
    for key in (link.collection, *link.path):
        if key not in node:
            path = "/".join((link.collection, *link.path))
            raise UserError(f"Variable {path} is missing: the variables are of another network.")
        node = node[key]
    return node


def _put(tree: Variables, path: tuple[str, ...], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Variables:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = _overlay(below[key], value) if nested else value
    return merged


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "there are no tensors at all"
