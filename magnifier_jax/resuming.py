"""Whether a run may go on with a configuration, given the one that its checkpoint was made with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.config import Config
from magnifier_jax.workdir import WorkDirectory

# Fields that do not decide what is computed, only how often it is looked at or kept, and where
# the data is read from.
FREE_FIELDS = (
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


def check_resumable(
    workdir: WorkDirectory,
    config: Config,
    *,
    allow_changes: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Compares a configuration with that of the checkpoint that a run would go on from.

    A work directory without checkpoints takes any configuration: nothing has been learned in it.

    Args:
        workdir: The run.
        config: The configuration to go on with.
        allow_changes: Whether to go on where fields differ that decide the result.
        say: Told which fields differ, and what is ignored.

    Raises:
        UserError: Fields differ and `allow_changes` is false, or no checkpoint can be read.
    """
    reader = CheckpointReader(workdir.checkpoints)
    if reader.latest_step() is None:
        return
    found = differences(reader.read_metadata()["config"], config.to_mapping())
    changed = [text for name, text in found.items() if not _among(name, FREE_FIELDS)]
    if changed and not allow_changes:
        raise UserError(
            f"{workdir.path} holds a run with another configuration; differing fields: "
            + ", ".join(changed)
            + ". Give the same configuration, another work directory, or "
            "--resume_with_changes to go on with the new one."
        )
    if changed:
        say("Going on with changes: " + ", ".join(changed))
    ignored = [text for name, text in found.items() if _among(name, ["init"])]
    if ignored:
        say(f"Ignored, for the run goes on from its own checkpoint: {', '.join(ignored)}")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Compares nested mappings of JSON values.

    Returns:
        One line for every dotted field that differs, in their order, such as
        `{'optimizer.l2': 'optimizer.l2: 0.001 → 0.01'}`.
    """
    old, new = _flatten(before), _flatten(json.loads(json.dumps(after)))
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
