"""Reading checkpoints: which there are, what they carry, and their arrays.

A checkpoint is a folder named by its step, with the items

* `variables`: what inference needs, parameters and batch statistics;
* `optimizer`: what only training needs;
* `metadata`: a JSON object that says how to rebuild the model around the variables, with a checksum
  of itself and one of every array;
* `metrics`: the score that decides which checkpoint is best, where it is known.
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import orbax.checkpoint as ocp

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import read_json, reading
from input_pipeline.identities.spelling import whole_number
from magnifier_jax.checkpoints import matching
from magnifier_jax.checkpoints.integrity import check_arrays, check_list, check_score, unsealed
from magnifier_jax.checkpoints.quiet import collect_abandoned, quiet_storage

VARIABLES = "variables"
OPTIMIZER = "optimizer"
METADATA = "metadata"
METRICS = "metrics"
SCORE = "score"

_REASON_LENGTH = 160

PyTree = Any
Which = int | Literal["latest", "best"]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held.

    Attributes:
        step: The number of updates that the state had seen.
        variables: Tree of arrays, structured and sharded as asked for.
        optimizer: The same for the optimizer state, or None where it was not asked for.
        metadata: The JSON object saved beside the arrays.
    """

    step: int
    variables: PyTree
    optimizer: PyTree
    metadata: Mapping[str, Any]


class CheckpointReader:
    """Reads the checkpoints of a folder and never changes it.

    A reader may be used while a training run is saving into the same folder: unfinished saves
    are not listed.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = pathlib.Path(directory).absolute()

    def steps(self) -> Sequence[int]:
        """Returns the steps of all complete checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        folders = (path for path in self.directory.iterdir() if _is_step(path.name))
        return sorted(int(path.name) for path in folders if path.is_dir())

    def latest_step(self) -> int | None:
        """Returns the newest step, or None where nothing has been saved."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Returns the step of the highest score (the newer of equals), or None without scores."""
        scored = [
            (score, step) for step in self.steps() if (score := self._score(step)) is not None
        ]
        return max(scored)[1] if scored else None

    def read_metadata(self, which: Which = "latest") -> Mapping[str, Any]:
        """Returns the JSON object saved beside the arrays; needs no knowledge of the model.

        Raises:
            UserError: There is no such checkpoint, or none that can be read.
        """
        failures: dict[int, str] = {}
        for step in self._candidates(which):
            try:
                return self._metadata(step)[0]
            except (OSError, ValueError) as error:
                failures[step] = reason(error)
                self._report_damaged(step, failures[step])
        raise self._nothing_readable(failures)

    def restore(
        self, *, variables: PyTree, optimizer: PyTree = None, which: Which = "latest"
    ) -> Restored:
        """Restores the arrays of a checkpoint, bit for bit.

        A damaged checkpoint is reported and the next one is taken: the one before for `latest`,
        the one with the next highest score for `best`. A step given as a number is the only one
        tried.

        Args:
            variables: Tree of `jax.ShapeDtypeStruct`; every leaf is placed by its `sharding`,
                or on the first local device where it has none.
            optimizer: The same for the optimizer state, or None to leave it unread.
            which: 'latest', 'best', or a step.

        Raises:
            UserError: There is no such checkpoint, none can be read, or one can be read but its
                tensors are not those asked for; then every one that differs is named.
        """
        failures: dict[int, str] = {}
        for step in self._candidates(which):
            with quiet_storage():
                try:
                    return self._restore_step(step, variables=variables, optimizer=optimizer)
                except UserError:
                    raise
                except Exception as error:
                    failures[step] = reason(error)
                collect_abandoned()
            self._report_damaged(step, failures[step])
        raise self._nothing_readable(failures)

    def _restore_step(self, step: int, *, variables: PyTree, optimizer: PyTree) -> Restored:
        metadata, integrity = self._metadata(step)
        targets = {VARIABLES: variables}
        if jax.tree.leaves(optimizer):  # Plain gradient descent has no state, so none is stored.
            targets[OPTIMIZER] = optimizer
        stored = {item: self._stored_tensors(step, item) for item in targets}
        check_list(stored, integrity)
        matching.check_same_tensors(targets, stored, where=str(self._folder(step)))
        items = {item: self._arrays(step, item, target) for item, target in targets.items()}
        check_arrays(items, integrity)
        return Restored(
            step=step,
            variables=items[VARIABLES],
            optimizer=items.get(OPTIMIZER, optimizer),
            metadata=metadata,
        )

    def _candidates(self, which: Which) -> Sequence[int]:
        """The steps to try, the one asked for first."""
        steps = self.steps()
        if not steps:
            raise UserError(f"No checkpoint in {self.directory}: train first, or give its folder.")
        if which == "latest":
            return steps[::-1]
        if which == "best":
            scores = {step: self._score(step) for step in steps}
            if all(score is None for score in scores.values()):
                raise UserError(
                    f"No checkpoint in {self.directory} has been evaluated yet, so that none is "
                    "the best: take the latest, or wait for the run's next evaluation."
                )
            lowest = float("-inf")
            return sorted(
                steps,
                key=lambda s: (lowest if (score := scores[s]) is None else score, s),
                reverse=True,
            )
        if which not in steps:
            known = ", ".join(str(step) for step in steps)
            raise UserError(f"No checkpoint of step {which} in {self.directory}; it has {known}.")
        return [which]

    def _folder(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _score(self, step: int) -> float | None:
        try:
            return self._read_score(step)
        except (OSError, ValueError):
            return None

    def _read_score(self, step: int) -> float | None:
        path = self._folder(step) / METRICS
        if not path.is_dir():
            return None
        with reading(path, what="score of a checkpoint"):
            score = float(_read_object(path / METRICS)[SCORE])
            if not math.isfinite(score):
                raise ValueError(f"it is {score}")
        integrity = None
        with contextlib.suppress(DataError):
            integrity = self._metadata(step)[1]
        check_score(score, integrity)
        return score

    def _metadata(self, step: int) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """The JSON object, and the checksums of the arrays; None in older checkpoints."""
        return unsealed(_read_object(self._folder(step) / METADATA / METADATA))

    def _stored_tensors(self, step: int, item: str) -> PyTree:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            stored = checkpointer.metadata(self._folder(step) / item).item_metadata
        if stored is None:
            raise ValueError(f"the list of tensors in {item} is damaged")
        return stored.tree

    def _arrays(self, step: int, item: str, target: PyTree) -> PyTree:
        default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or default
            ),
            target,
        )
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            return checkpointer.restore(
                self._folder(step) / item, args=ocp.args.StandardRestore(placed)
            )

    def _report_damaged(self, step: int, why: str) -> None:
        _logger.warning("The checkpoint %s cannot be read: %s", self._folder(step), why)

    def _nothing_readable(self, failures: Mapping[int, str]) -> UserError:
        tried = ", ".join(str(step) for step in failures)
        return UserError(
            f"No readable checkpoint in {self.directory} (tried step {tried}): restore the folder "
            "from a copy, or train into another work directory."
        )


def _is_step(name: str) -> bool:
    """Whether a folder is called as one of a step is; steps are numbers of 32 bits."""
    number = whole_number(name)
    return number is not None and name == str(number)


def identities_in(metadata: Mapping[str, Any], *, where: pathlib.Path) -> tuple[str, ...]:
    """Name of each training identity, in the order of the classifiers.

    Args:
        metadata: What a checkpoint holds beside its arrays.
        where: The checkpoint's folder, for the message.

    Raises:
        UserError: There are none, so the metadata is damaged or not of a network.
    """
    names = metadata.get("identities")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"The metadata of the checkpoint in {where} lists no identities: restore the folder "
            "from a copy."
        )
    return tuple(names)


def reason(error: BaseException) -> str:
    """Shortens an error to one line; the cause comes last in those of the storage library."""
    text = " ".join(str(error).split())
    return text if len(text) <= _REASON_LENGTH else "…" + text[-_REASON_LENGTH:]


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    """Reads without the storage library, which waits for the other processes of a run."""
    value = read_json(path, what="part of a checkpoint", checksum=True)
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a sound part of a checkpoint (no JSON object).")
    return value
