"""The state that a run begins with: random weights, those of another network, or its own."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh

from input_pipeline.errors import UserError, in_short
from input_pipeline.readers import parse_spec, split_specs
from magnifier_jax import weights
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.checkpoints.reader import identities_in
from magnifier_jax.config import Config
from magnifier_jax.datasets import Listing
from magnifier_jax.devices import put_replicated
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.interop import (
    Imported,
    ImportReport,
    backbone_from_torch,
    from_torch_state_dict,
    read_torch_file,
)
from magnifier_jax.model import MagnifierNet, classifies_identities
from magnifier_jax.model.collapse import collapsed_necks, revived
from magnifier_jax.training.manifest import Manifest, compare, compare_people
from magnifier_jax.training.step import TrainState, initial_state
from magnifier_jax.workdir import WorkDirectory

# Fields that do not decide what is computed, only how often it is looked at or kept, and where
# the data is read from.
FREE_FIELDS = (
    "data.allow_outside",
    "data.placement",
    "data.prepared",
    "data.root",
    "data.test",
    "data.workers",
    "evaluate",
    "init",
    "name",
    "train.checkpoint_every_steps",
    "train.evaluate_every_epochs",
    "train.keep_checkpoints",
    "train.log_every_steps",
)
_ABSENT = "(absent)"
_IMAGES = "training_images"  # Key in a checkpoint's metadata.


def _say_nothing(text: str) -> None:
    pass


def starting_state(
    config: Config,
    model: MagnifierNet,
    mesh: Mesh,
    *,
    identities: Sequence[str],
    say: Callable[[str], None],
) -> TrainState:
    """Random weights, in part replaced as `config.init` says.

    Args:
        config: The configuration.
        model: Its network.
        mesh: The devices.
        identities: Name of each identity, in the order of the classifiers.
        say: Told what was taken and what was not.

    Raises:
        UserError: A file is not there, cannot be read or does not fit.
    """
    state = initial_state(config, model, mesh)
    prefix = config.init.prefix
    if config.init.backbone:
        path = _existing(config.init.backbone, field="backbone")
        imported = backbone_from_torch(read_torch_file(path, prefix=prefix), model.backbone)
        say(_report(path, imported.report))
        state = _replace(state, imported.variables, mesh)
    if config.init.checkpoint:
        path = _existing(config.init.checkpoint, field="checkpoint")
        if path.is_dir():
            imported = _from_workdir(path, state, mesh, identities=identities, say=say)
        else:
            imported = from_torch_state_dict(read_torch_file(path, prefix=prefix), model)
            filled = traverse_util.flatten_dict(imported.variables)
            if any(classifies_identities(name) for name in filled):
                say(
                    f"{path} does not name its identities: its classifiers are taken for those of "
                    f"the {len(identities)} identities of {config.data.train}, in this order."
                )
        say(_report(path, imported.report))
        params = imported.variables["params"]
        if dead := collapsed_necks(params):
            say(f"Weight decay has taken the necks of {', '.join(dead)}, which begin anew.")
        state = _replace(state, {**imported.variables, "params": revived(params)}, mesh)
    return state


def _existing(text: str, *, field: str) -> pathlib.Path:
    path = weights.find(text)
    if not path.exists():
        hint = f", and of networks that come with the package there is {', '.join(weights.names())}"
        raise UserError(f"config.init.{field}: there is no {path}{hint}.")
    return path


def _from_workdir(
    path: pathlib.Path,
    state: TrainState,
    mesh: Mesh,
    *,
    identities: Sequence[str],
    say: Callable[[str], None],
) -> Imported:
    """The variables of a work directory that fit; in classifiers, those of people known by name."""
    trained = load_trained(path, mesh, which="latest")
    stored = traverse_util.flatten_dict(jax.device_get(trained.variables))
    wanted = traverse_util.flatten_dict(state.variables)
    places = {name: place for place, name in enumerate(trained.identities)}
    known = [name for name in identities if name in places]
    dropped = []
    for name in stored.keys() & wanted.keys():
        array, target = stored[name], wanted[name]
        classifies = classifies_identities(name)
        if array.shape[: -1 if classifies else None] != target.shape[: -1 if classifies else None]:
            raise UserError(
                f"{path}: {'/'.join(name)} has shape {list(array.shape)}, but the network needs "
                f"{list(target.shape)}: the checkpoint is of another network."
            )
        if not classifies or tuple(identities) == trained.identities:
            continue
        if known:
            rows = np.array(jax.device_get(target))
            here = [place for place, person in enumerate(identities) if person in places]
            rows[..., here] = array[..., [places[person] for person in known]]
            stored[name] = rows
        else:
            dropped.append(f"{'/'.join(name)}: {array.shape[-1]} instead of {target.shape[-1]}")
            del stored[name]
    if tuple(identities) != trained.identities:
        others = len(identities) - len(known)
        say(
            f"Of the {len(identities)} identities {len(known)} are known to {path} by name and "
            f"keep their classifiers; {others} start afresh."
        )
    report = ImportReport(
        unused=tuple("/".join(name) for name in stored.keys() - wanted.keys()),
        unfilled=tuple("/".join(name) for name in wanted.keys() - stored.keys()),
        dropped=tuple(dropped),
    )
    fitting = {name: array for name, array in stored.items() if name in wanted}
    return Imported(traverse_util.unflatten_dict(fitting), report)


def _replace(state: TrainState, variables: Mapping[str, Any], mesh: Mesh) -> TrainState:
    merged = traverse_util.flatten_dict(state.variables)
    for name, array in traverse_util.flatten_dict(dict(variables)).items():
        merged[name] = put_replicated(np.asarray(array, merged[name].dtype), mesh)
    return state.with_variables(traverse_util.unflatten_dict(merged))


def _report(path: pathlib.Path, report: ImportReport) -> str:
    return f"Weights from {path}.\n{report}".rstrip()


def check_resumable(
    workdir: WorkDirectory,
    config: Config,
    *,
    allow_changes: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Compares a configuration with that of the checkpoint that a run would resume from.

    A work directory without checkpoints takes any configuration: nothing has been learned in it.

    Args:
        workdir: The run.
        config: The configuration to resume with.
        allow_changes: Whether to resume where fields differ that decide the result.
        say: Told which fields differ, and what is ignored.

    Raises:
        UserError: Fields differ and `allow_changes` is false, or no checkpoint can be read.
    """
    reader = CheckpointReader(workdir.checkpoints)
    if reader.latest_step() is None:
        return
    metadata = reader.read_metadata()
    before = Config.from_mapping(metadata.get("config", {}), stored=True)
    found = differences(before.to_mapping(), config.to_mapping())
    # Where the data lies decides nothing, for people and images are compared one by one.
    if _IMAGES in metadata and _kinds(before.data.train) == _kinds(config.data.train):
        found.pop("data.train", None)
    changed = [text for name, text in found.items() if not _among(name, FREE_FIELDS)]
    if changed and not allow_changes:
        raise UserError(
            f"{workdir.path} holds a run with another configuration; differing fields: "
            + ", ".join(changed)
            + ". Give the same configuration, another work directory, or "
            "--resume_with_changes to resume with the new one."
        )
    if changed:
        say("Resuming with changes: " + ", ".join(changed))
    ignored = [text for name, text in found.items() if _among(name, ["init"])]
    if ignored:
        say(f"Ignored, for the run resumes from its own checkpoint: {', '.join(ignored)}")


def _kinds(specs: str) -> list[tuple[str, str]]:
    """Reader and variant of each dataset, without the folder."""
    return [(spec.name, spec.variant) for spec in map(parse_spec, split_specs(specs))]


def check_same_people(workdir: WorkDirectory, listing: Listing) -> None:
    """Compares the training identities with those of the checkpoint that a run would resume from.

    They are compared by name. Checkpoints that were written before names were known have numbers,
    which are compared as such.

    Args:
        workdir: The run.
        listing: The datasets of its configuration.

    Raises:
        UserError: They differ; the message says who is new and who is gone.
    """
    reader = CheckpointReader(workdir.checkpoints)
    if reader.latest_step() is None:
        return
    metadata = reader.read_metadata()
    before = _manifest_of(metadata)
    if before is None:
        stored = identities_in(metadata, where=workdir.checkpoints)
        if stored == listing.identities(by_number=True):
            return
        found = compare_people(stored, listing.identities())
    else:
        found = compare(before, listing.manifest()).people
    if found:
        raise UserError(
            f"{workdir.path} has learned other people than those of {listing.config.data.train}: "
            f"{in_short(found)}. Restore the data, or give another --workdir, which may start from "
            f"these weights by --config.init.checkpoint={workdir.path}"
        )


def check_same_images(
    workdir: WorkDirectory,
    now: Manifest,
    *,
    part_labels: bool = True,
    allow_changes: bool = False,
    say: Callable[[str], None] = _say_nothing,
) -> None:
    """Compares the training images with those of the checkpoint that a run would resume from.

    Args:
        workdir: The run.
        now: The training images that there are.
        part_labels: Whether part labels are compared too.
        allow_changes: Whether to resume where images differ.
        say: Told which differ, where that is allowed.

    Raises:
        UserError: They differ and `allow_changes` is false.
    """
    reader = CheckpointReader(workdir.checkpoints)
    if reader.latest_step() is None:
        return
    before = _manifest_of(reader.read_metadata())
    if before is None:
        return
    found = compare(before, now, part_labels=part_labels).images
    if found and not allow_changes:
        raise UserError(
            f"{workdir.path} was trained on other images: {in_short(found)}. Restore the data, "
            "give another work directory, or --resume_with_changes to resume with what there is."
        )
    if found:
        say(f"Resuming with changed images: {in_short(found)}")


def training_record(manifest: Manifest) -> dict[str, Any]:
    """What a checkpoint's metadata holds of the training images."""
    return {_IMAGES: manifest.to_json()}


def _manifest_of(metadata: Mapping[str, Any]) -> Manifest | None:
    """The training images that a checkpoint names; None in those that are older than that."""
    if _IMAGES not in metadata:
        return None
    try:
        return Manifest.from_json(metadata[_IMAGES])
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The checkpoint's list of training images is damaged: {error}") from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Compares nested mappings of JSON values.

    Returns:
        One line for every dotted field that differs, in their order, such as
        `{'optimizer.l2': 'optimizer.l2: 0.001 → 0.01'}`.
    """
    old, new = (_flatten(json.loads(json.dumps(tree))) for tree in (before, after))
    return {
        name: f"{name}: {_show(old, name)} → {_show(new, name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    }


def _among(name: str, fields: Sequence[str]) -> bool:
    return any(name == field or name.startswith(field + ".") for field in fields)


def _flatten(tree: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Turns nested mappings into one with dotted names; empty mappings stay as values."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, prefix=f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _show(fields: Mapping[str, Any], name: str) -> str:
    return json.dumps(fields[name], ensure_ascii=False) if name in fields else _ABSENT
