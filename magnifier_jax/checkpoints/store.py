"""Saving checkpoints while training continues, and keeping the ones that matter."""

import contextlib
import json
import logging
import math
import pathlib
import shutil
import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import read_json, reading, write_json
from magnifier_jax.checkpoints import reader
from magnifier_jax.checkpoints.integrity import sealed
from magnifier_jax.checkpoints.quiet import collect_abandoned, quiet_storage

PyTree = Any

_UNFINISHED = "*.orbax-checkpoint-tmp*"
_NEWEST = "newest.json"
_REMOVAL_ATTEMPTS = 10
_REMOVAL_PAUSE = 0.1  # Seconds.

_logger = logging.getLogger(__name__)


class CheckpointStore(reader.CheckpointReader):
    """Saves and restores the checkpoints of one training run; to be used in a `with` block.

    The newest `keep_latest` checkpoints and the one with the highest score are kept. Saving is
    asynchronous: the arrays are copied to the host and written while training continues. A save
    that fails is reported, its remains are removed, and the checkpoints before it stay; leaving
    the `with` block, or `wait`, raises if that was the last one.

    Damaged checkpoints that `restore` had to pass over are renamed to `<step>.damaged`, so that
    the run can save that step again. `newest.json` names the step that was saved last, so that a
    later run notices if its checkpoint is gone. In a run of several processes each of them makes
    every call.
    """

    def __init__(self, directory: pathlib.Path, *, keep_latest: int = 2) -> None:
        """Opens the folder, making it where needed and removing interrupted saves.

        Raises:
            UserError: There are checkpoints but all of them are damaged.
        """
        super().__init__(directory)
        self._keep_latest = keep_latest
        self._saving: int | None = None
        self._failure: tuple[int, str] | None = None
        self._damaged: list[int] = []
        self._quiet = contextlib.ExitStack()
        self._move_unlistable()
        self._remove_unfinished()
        self._report_missing()
        self._manager = self._new_manager()

    def __enter__(self) -> Self:
        self._quiet.enter_context(quiet_storage())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._settle(say=kind is not None)
        finally:
            with self._quiet, contextlib.suppress(Exception):  # `_settle` reported a failed save.
                self._manager.close()
        if kind is None:
            self._raise_failure()

    def save(
        self,
        step: int,
        *,
        variables: PyTree,
        optimizer: PyTree,
        metadata: Mapping[str, Any],
        score: float | None = None,
    ) -> bool:
        """Starts to save a checkpoint, after waiting for the one before.

        The arrays may be donated as soon as this returns.

        Args:
            step: The number of updates that the state has seen.
            variables: Tree of arrays that inference needs.
            optimizer: Tree of arrays that only training needs.
            metadata: A JSON object with all that is needed to rebuild the model.
            score: What decides on the best checkpoint, higher being better; None if not evaluated.

        Returns:
            Whether a save was started; False where this step is stored already.
        """
        if score is not None and not math.isfinite(score):
            raise ValueError(f"the score of step {step} is {score}")
        metadata = json.loads(json.dumps(metadata, allow_nan=False))
        self._settle()
        if step in self.steps():
            return False
        self._failure = None
        trees = {reader.VARIABLES: variables}
        if jax.tree.leaves(optimizer):
            trees[reader.OPTIMIZER] = optimizer
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        if self._is_primary():
            metadata = sealed(metadata, trees, score=score)
        items[reader.METADATA] = ocp.args.JsonSave(metadata)
        metrics = None if score is None else {reader.SCORE: float(score)}
        failure = None
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)
        except (OSError, ValueError, RuntimeError) as error:
            failure = reader.reason(error)
        if failure is not None:
            self._recover(step, failure)
            return False
        self._saving = step
        return True

    def wait(self) -> None:
        """Blocks until the save in progress is on disk.

        Raises:
            UserError: The last save failed.
        """
        self._settle()
        self._raise_failure()

    def restore(
        self, *, variables: PyTree, optimizer: PyTree = None, which: reader.Which = "latest"
    ) -> reader.Restored:
        """Restores as `CheckpointReader.restore`, then moves damaged ones out of the way."""
        self._settle()
        self._damaged.clear()
        restored = super().restore(variables=variables, optimizer=optimizer, which=which)
        if self._damaged:
            self._set_aside(self._damaged)
            self._manager.reload()
        return restored

    def set_aside_from(self, step: int) -> None:
        """Renames the checkpoints of a step and later ones to `<step>.damaged`.

        For those that are whole but hold numbers from which a run cannot continue.
        """
        self._settle()
        self._set_aside([stored for stored in self.steps() if stored >= step])
        self._manager.reload()

    def _new_manager(self) -> ocp.CheckpointManager:
        def score(metrics: Mapping[str, float]) -> float:
            return metrics[reader.SCORE]

        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(self._keep_latest),
                checkpoint_managers.BestN(
                    get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=score, best_mode="max", preservation_policy=keep
        )
        names = (reader.VARIABLES, reader.OPTIMIZER, reader.METADATA)
        return ocp.CheckpointManager(self.directory, options=options, item_names=names)

    def _settle(self, *, say: bool = True) -> None:
        """Waits for the save in progress, and says if it failed, unless that is to be raised."""
        step, self._saving = self._saving, None
        if step is None:
            return
        failure = None
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            failure = reader.reason(error)
        if failure is not None:
            self._recover(step, failure, say=say)
            return
        self._record_newest()

    def _recover(self, step: int, why: str, *, say: bool = True) -> None:
        """Goes back to the state before a save that failed.

        The error itself is gone by now: it would keep the abandoned tasks of the storage library
        alive until the process ends, when each of them prints a traceback that nothing can silence.
        """
        self._failure = (step, why)
        with contextlib.suppress(Exception):  # It repeats the error that is being handled.
            self._manager.close()
        del self._manager
        collect_abandoned()
        self._remove_unfinished()
        self._manager = self._new_manager()
        if say:
            _logger.warning("%s", self._describe_failure(step, why))

    def _describe_failure(self, step: int, why: str) -> str:
        latest = self.latest_step()
        kept = "there is none before it" if latest is None else f"that of step {latest} is kept"
        return (
            f"The checkpoint of step {step} could not be saved to {self.directory}, {kept}. Make "
            f"room on the disk or check its permissions. ({why})"
        )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            step, why = self._failure
            self._failure = None
            raise UserError(self._describe_failure(step, why))

    def _report_damaged(self, step: int, why: str) -> None:
        super()._report_damaged(step, why)
        self._damaged.append(step)

    def _move_unlistable(self) -> None:
        """Moves away checkpoints with a damaged score, over which the manager would stumble."""
        failures: dict[int, str] = {}
        steps = self.steps()
        for step in steps:
            try:
                self._read_score(step)
            except (OSError, ValueError) as error:
                failures[step] = reader.reason(error)
                self._report_damaged(step, failures[step])
        if failures and len(failures) == len(steps):
            raise self._nothing_readable(failures)
        self._set_aside(failures)

    def _set_aside(self, steps: Collection[int]) -> None:
        for step in steps:
            folder = self._folder(step)
            aside = folder.with_name(f"{step}.damaged")
            _logger.warning("An older checkpoint is used instead; %s becomes %s.", folder, aside)
            if self._is_primary():
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
        if steps:
            self._record_newest()
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints")

    def _record_newest(self) -> None:
        """Notes which checkpoint is the newest; a full disk leaves the note as it was."""
        if self._is_primary():
            with contextlib.suppress(UserError):
                write_json(self.directory / _NEWEST, {"step": self.latest_step()})

    def _report_missing(self) -> None:
        """Says if the checkpoint that was saved last is not there any more."""
        path = self.directory / _NEWEST
        try:
            with reading(path, what="note of the newest checkpoint"):
                newest = int(read_json(path, what="note of the newest checkpoint")["step"])
        except DataError:  # It only helps to notice what is missing.
            return
        latest = self.latest_step()
        if self._is_primary() and newest > (latest or 0):
            instead = "the run starts anew" if latest is None else f"that of step {latest} is used"
            _logger.warning(
                "The newest checkpoint, of step %s, is missing in %s: %s.",
                newest,
                self.directory,
                instead,
            )

    def _remove_unfinished(self) -> None:
        """Removes what an interrupted or failed save has left.

        Threads of a failed save may still be writing, so a folder can come back once or twice.
        """
        if not self._is_primary():
            return
        for _ in range(_REMOVAL_ATTEMPTS):
            unfinished = list(self.directory.glob(_UNFINISHED))
            for path in unfinished:
                shutil.rmtree(path, ignore_errors=True)
            if not unfinished:
                return
            time.sleep(_REMOVAL_PAUSE)

    def _is_primary(self) -> bool:
        return jax.process_index() == 0
