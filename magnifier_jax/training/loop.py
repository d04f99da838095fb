"""The training loop: one straight way from a configuration to a work directory."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.sampler import IdentitySampler
from magnifier_jax.checkpoints import CheckpointStore
from magnifier_jax.config import Config
from magnifier_jax.datasets import TestSet, TrainingSet, list_sets
from magnifier_jax.devices import check_divides, make_mesh, put_replicated, together
from magnifier_jax.embedding.network import Trained, checkpoint_metadata
from magnifier_jax.evaluation import Evaluator, Score, evaluation_record
from magnifier_jax.evaluation.report.report import write_report
from magnifier_jax.model import MagnifierNet
from magnifier_jax.model.collapse import describe_collapse
from magnifier_jax.training.interruption import watch_for_stop
from magnifier_jax.training.log import RunLog
from magnifier_jax.training.state import (
    check_resumable,
    check_same_images,
    check_same_people,
    starting_state,
    training_record,
)
from magnifier_jax.training.step import Metrics, TrainState, abstract_state, build_model, steps_from
from magnifier_jax.training.untrained import read_untrained, write_untrained
from magnifier_jax.workdir import WorkDirectory

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        step: Training steps done.
        finished: False if it was asked to stop before its end.
        scores: The last evaluation, empty if it stopped before one.
        untrained: The evaluation before the first step; empty where it is not known or measured
            otherwise.
        report: The page that shows it, where there is one.
    """

    step: int
    finished: bool
    scores: tuple[Score, ...]
    untrained: tuple[Score, ...]
    report: pathlib.Path | None = None


def train(
    config: Config,
    workdir: WorkDirectory,
    *,
    resume_with_changes: bool = False,
    mesh: Mesh | None = None,
    progress: bool = True,
    tell: Callable[[TrainingResult], None] | None = None,
) -> TrainingResult:
    """Trains a network, or resumes where the work directory's run stopped.

    Args:
        config: Everything that decides the run.
        workdir: Where everything goes.
        resume_with_changes: Whether a run may resume with another configuration than it had, or
            with other images of the same people.
        mesh: The devices; None is all of them.
        progress: Whether to show progress bars.
        tell: Called with the result of a finished run as soon as it is known: before its last
            checkpoint is on disk and its report is written, which a full disk may prevent.

    Raises:
        UserError: Something configured cannot work, another run holds the work directory, its
            checkpoints are of another configuration, or a loss is not finite.
        DataError: The data cannot be used.
    """
    mesh = mesh or make_mesh()
    check_divides(
        config.data.identities_per_batch * config.data.images_per_identity,
        mesh,
        field="config.data.identities_per_batch × images_per_identity",
    )
    show = progress and jax.process_index() == 0
    say = print if show else _say_nothing
    with contextlib.ExitStack() as stack:
        with together():
            stack.enter_context(workdir.lock())
            check_resumable(workdir, config, allow_changes=resume_with_changes, say=say)
            data, test_sets = _open(
                config, workdir, allow_changes=resume_with_changes, say=say, progress=show
            )
            sampler = IdentitySampler(
                data.labels[data.learned],
                identities_per_batch=config.data.identities_per_batch,
                images_per_identity=config.data.images_per_identity,
                seed=config.seed,
            )
        model = build_model(config, num_identities=len(data.identities))
        store = CheckpointStore(workdir.checkpoints, keep_latest=config.train.keep_checkpoints)
        run = Run(
            config=config,
            workdir=workdir,
            mesh=mesh,
            model=model,
            data=data,
            sampler=sampler,
            test_sets=test_sets,
            store=stack.enter_context(store),
            evaluate=Evaluator(config, model, test_sets, mesh, progress=show),
            progress=show,
            tell=tell or _tell_nothing,
        )
        return run.run()


def _open(
    config: Config,
    workdir: WorkDirectory,
    *,
    allow_changes: bool,
    say: Callable[[str], None],
    progress: bool,
) -> tuple[TrainingSet, tuple[TestSet, ...]]:
    """The data, once it is known to be what the run has learned from so far."""
    listing = list_sets(config, progress=progress)
    check_same_people(workdir, listing)
    # Part labels may still have to be converted, so the images are compared before them.
    check_same_images(workdir, listing.manifest(), part_labels=False, allow_changes=allow_changes)
    data, test_sets = listing.open(progress=progress)
    assert data is not None
    check_same_images(workdir, data.manifest, allow_changes=allow_changes, say=say)
    return data, test_sets


def _say_nothing(text: str) -> None:
    pass


def _tell_nothing(result: TrainingResult) -> None:
    pass


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The pieces that one run works with."""

    config: Config
    workdir: WorkDirectory
    mesh: Mesh
    model: MagnifierNet
    data: TrainingSet
    sampler: IdentitySampler
    test_sets: tuple[TestSet, ...]
    store: CheckpointStore
    evaluate: Evaluator
    progress: bool
    tell: Callable[[TrainingResult], None]

    def run(self) -> TrainingResult:
        """Trains to the end, or until asked to stop."""
        settings = self.config.train
        last = self.sampler.first_step(settings.epochs, at_most=settings.max_steps or None)
        state = self._start()
        self.workdir.write_config(self.config.to_mapping())
        first = int(state.step)
        untrained = self._untrained(state)
        with RunLog(self.workdir, resume_step=first) as log, watch_for_stop() as should_stop:
            loop = _Loop(self, log, first, last, untrained)
            state, result = loop.run(state, should_stop)
            if not result.finished:
                return result
            self.tell(result)
            return dataclasses.replace(result, report=self._report(state, result, log))

    def _report(
        self, state: TrainState, result: TrainingResult, log: RunLog
    ) -> pathlib.Path | None:
        """Writes the page that shows what came of the run, where it was measured."""
        if self.evaluate.first is None:
            return None
        trained = Trained(
            self.config, self.model, state.variables, self.data.identities, result.step
        )
        return write_report(
            self.workdir,
            trained,
            scores=result.scores,
            untrained=result.untrained,
            ranked=self.evaluate.first,
            mesh=self.mesh,
            log=log,
        )

    def _start(self) -> TrainState:
        """The state to start from: the latest checkpoint's, or a new one."""
        if self.store.latest_step() is None:
            say = print if self.progress else _say_nothing
            return starting_state(
                self.config, self.model, self.mesh, identities=self.data.identities, say=say
            )
        target = abstract_state(self.config, self.model, self.mesh)
        restored = self.store.restore(variables=target.variables, optimizer=target.optimizer)
        if self.progress:
            print(f"Resuming from step {restored.step:,} of {self.workdir.path}.")
        step = put_replicated(np.int32(restored.step), self.mesh)
        return TrainState.restored(step, restored.variables, restored.optimizer)

    def _untrained(self, state: TrainState) -> tuple[Score, ...]:
        """How good the network was before its first step, to compare with."""
        if not self.test_sets:
            return ()
        if int(state.step):
            return read_untrained(self.workdir, self.config)
        scores = self.evaluate(state.variables)
        with _reporting():
            if jax.process_index() == 0:
                write_untrained(self.workdir, self.config, scores)
        return scores


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Lets a run continue where a result cannot be written, as on a full disk, and says so."""
    try:
        yield
    except UserError as error:
        _logger.warning("%s", error)


@dataclasses.dataclass(eq=False)
class _Loop:
    """Steps, and what happens between them."""

    run_: Run
    log: RunLog
    first: int
    last: int
    untrained: tuple[Score, ...]
    scores: tuple[Score, ...] = ()
    said: str = ""

    def run(
        self, state: TrainState, should_stop: Callable[[int], bool]
    ) -> tuple[TrainState, TrainingResult]:
        run = self.run_
        steps = steps_from(
            self.first,
            config=run.config,
            model=run.model,
            data=run.data,
            sampler=run.sampler,
            mesh=run.mesh,
            progress=run.progress,
        )
        done = self.first
        finished = True
        pending: tuple[int, Metrics] | None = None
        with _Progress(self, show=run.progress) as bar:
            while done < self.last:
                epoch = put_replicated(np.int32(run.sampler.epoch(done)), run.mesh)
                state, metrics = next(steps)(state, epoch)
                done += 1
                # The step before is looked at while this one runs, so that devices never wait.
                if pending is not None:
                    self._note(*pending, bar)
                pending = (done, metrics)
                evaluate = self._is_evaluation(done)
                stop = should_stop(done) and done < self.last
                if evaluate or stop or done % run.config.train.checkpoint_every_steps == 0:
                    self._note(*pending, bar)
                    pending = None
                    self._keep(state, done, evaluate=evaluate)
                if stop:
                    finished = False
                    break
        if not self.scores and finished and run.test_sets:
            # The run was over already, and its log is complete.
            self.scores = run.evaluate(state.variables)
            self._record(done)
        return state, TrainingResult(done, finished, self.scores, self.untrained)

    def _is_evaluation(self, done: int) -> bool:
        if done == self.last:
            return True
        every = self.run_.config.train.evaluate_every_epochs
        sampler = self.run_.sampler
        epoch = sampler.epoch(done)
        return bool(every) and epoch % every == 0 and done == sampler.first_step(epoch)

    def _note(self, step: int, metrics: Metrics, bar: _Progress) -> None:
        """Checks and logs the metrics of a step."""
        total = float(metrics["total"])
        if not math.isfinite(total):
            raise self._not_finite(step, jax.device_get(metrics))
        bar.advance(step, total)
        if step % self.run_.config.train.log_every_steps == 0 or step == self.last:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            epoch = self.run_.sampler.epoch(step - 1)
            self.log.log(step, {"epoch": epoch, **values, "images_per_second": bar.rate()})

    def _not_finite(self, step: int, metrics: Mapping[str, Any]) -> UserError:
        """Leaves a good checkpoint as the latest one, and says what happened."""
        terms = [name for name, value in metrics.items() if not np.isfinite(value)]
        terms = [name for name in terms if name != "total"] or ["total"]
        store = self.run_.store
        with contextlib.suppress(UserError):
            store.wait()
        # The step after a checkpoint shows whether its numbers were still sound.
        store.set_aside_from(step - 1)
        good = store.latest_step()
        kept, again = "there is no good checkpoint before it", "start again"
        if good is not None:
            kept = f"the last good checkpoint is {store.directory / str(good)}"
            again = "resume from there with --resume_with_changes"
        return UserError(
            f"The loss is not finite at step {step} (term: {', '.join(terms)}); {kept}. Lower "
            "config.optimizer.learning_rate or lengthen its warm-up, check the images, and "
            f"{again}."
        )

    def _keep(self, state: TrainState, done: int, *, evaluate: bool) -> None:
        run = self.run_
        score = None
        if evaluate and run.test_sets:
            self.scores = self._measure(state, done)
            score = float(np.mean([found.plain.mAP for found in self.scores]))
        run.store.save(
            done,
            variables=state.variables,
            optimizer=state.optimizer,
            metadata={
                **checkpoint_metadata(run.config, run.data.identities),
                **training_record(run.data.manifest),
            },
            score=score,
        )
        if score is not None:
            self._record(done)
        self._tell_of_collapse(state)

    def _tell_of_collapse(self, state: TrainState) -> None:
        """Warns of necks that have died since the last time."""
        text = describe_collapse(state.variables["params"])
        if text and text != self.said and jax.process_index() == 0:
            _logger.warning("%s", text)
        self.said = text

    def _measure(self, state: TrainState, done: int) -> tuple[Score, ...]:
        scores = self.run_.evaluate(state.variables)
        for found in scores:
            plain = found.plain
            values = {"mAP": plain.mAP, "mINP": plain.mINP, "rank1": plain.at(1)}
            self.log.log(done, {f"{found.name}/{name}": value for name, value in values.items()})
        return scores

    def _record(self, done: int) -> None:
        """Writes `evaluation.json`, after the checkpoint, which matters more on a full disk."""
        with _reporting():
            if jax.process_index() == 0:
                record = evaluation_record(self.scores, step=done, untrained=self.untrained)
                write_json(self.run_.workdir.evaluation, record)


class _Progress:
    """The progress bar, and the speed since the last look at it."""

    def __init__(self, loop: _Loop, *, show: bool) -> None:
        data = loop.run_.config.data
        self._batch = data.identities_per_batch * data.images_per_identity
        self._bar = tqdm.tqdm(
            total=loop.last * self._batch,
            initial=loop.first * self._batch,
            desc="Training",
            unit="img",
            disable=not show,
            dynamic_ncols=True,
        )
        self._bar.set_postfix_str("compiling")
        self._step = self._mark_step = loop.first
        self._mark = time.perf_counter()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, step: int, loss: float) -> None:
        self._bar.set_postfix(step=step, loss=f"{loss:.2f}", refresh=False)
        self._bar.update((step - self._step) * self._batch)
        self._step = step

    def rate(self) -> float:
        """Images a second since the last call."""
        now = time.perf_counter()
        rate = (self._step - self._mark_step) * self._batch / max(now - self._mark, 1e-9)
        self._mark, self._mark_step = now, self._step
        return round(rate, 2)
