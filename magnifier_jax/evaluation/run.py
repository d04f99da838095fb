"""Measuring a run's network again, on its own test sets or on others.

Nothing that the run wrote is replaced by looking at something else: `evaluation.json` stays what
the run measured, and every other look has a file of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import claim_output, read_json, reading, write_json
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.config import Config
from magnifier_jax.datasets import TestSet, list_sets, specs_to_test
from magnifier_jax.devices import make_mesh, together
from magnifier_jax.embedding.exported import load_weights
from magnifier_jax.embedding.network import Trained, load_trained
from magnifier_jax.evaluation.evaluate import Evaluator, Ranked, Score, evaluation_record
from magnifier_jax.evaluation.report.report import write_report
from magnifier_jax.training.untrained import read_untrained
from magnifier_jax.workdir import WorkDirectory

_LONGEST_NAME = 60  # characters


@dataclasses.dataclass(frozen=True, eq=False)
class RunEvaluation:
    """What came of measuring a run's network.

    Attributes:
        workdir: The run.
        trained: The network.
        config: Its configuration, with the data and measures of this evaluation.
        test_sets: What it was measured on.
        scores: How well, by test set.
        untrained: How well before its training, where that is known.
        ranked: What the evaluation of the first test set left, for a report.
    """

    workdir: WorkDirectory
    trained: Trained
    config: Config
    test_sets: tuple[TestSet, ...]
    scores: tuple[Score, ...]
    untrained: tuple[Score, ...]
    ranked: Ranked

    @property
    def is_own(self) -> bool:
        """Whether the run itself measures the same, in the same way."""
        return _measured(self.config) == _measured(self.trained.config)

    def save(self, output: str = "", *, force: bool = False) -> pathlib.Path:
        """Writes the numbers as JSON.

        Args:
            output: The file; where it is not given, `evaluation.json` if that holds the same
                measurement of the same step, or nothing, and the run is not in progress; otherwise
                `evaluation-<test sets>.json` in the work directory.
            force: Whether `output` may replace a file.

        Returns:
            The file.

        Raises:
            UserError: It exists and `force` is not given, or it cannot be written.
        """
        record = evaluation_record(self.scores, step=self.trained.step, untrained=self.untrained)
        if output:
            with claim_output(output, force=force) as path:
                write_json(path, record)
            return path
        with self._locked() as free:
            if (
                free
                and self.is_own
                and _step_of(self.workdir.evaluation) in (None, self.trained.step)
            ):
                write_json(self.workdir.evaluation, record)
                return self.workdir.evaluation
        source = _measured(self.config)["data"]
        for number in itertools.count(1):
            path = self.workdir.path / f"evaluation-{self._name(number)}.json"
            with claim_output(path, force=True):
                if _source_of(path) in (None, source):
                    write_json(path, {**record, "data": source})
                    return path
        raise AssertionError("counting never ends")

    def save_report(self, numbers: pathlib.Path, *, mesh: Mesh | None = None) -> pathlib.Path:
        """Writes the page that goes with the file that `save` wrote.

        Args:
            numbers: What `save` returned.
            mesh: The devices; None is all of them.

        Returns:
            `report.html` beside `evaluation.json`, `report-shop.html` beside
            `evaluation-shop.json`, `other.html` beside `other.json`.
        """
        name = numbers.stem.replace("evaluation", "report", 1)
        return write_report(
            self.workdir,
            dataclasses.replace(self.trained, config=self.config),
            scores=self.scores,
            ranked=self.ranked,
            untrained=self.untrained,
            mesh=mesh,
            output=numbers.with_name(f"{name}.html"),
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether no run is in progress in the work directory, which is kept so in the block."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.workdir.lock())
            except UserError:
                yield False
                return
            yield True

    def _name(self, number: int) -> str:
        names = "+".join(score.name for score in self.scores)
        short = re.sub(r"[^\w.+-]+", "-", names)[:_LONGEST_NAME]
        return short if number == 1 else f"{short}-{number}"


def measure_run(
    workdir: WorkDirectory,
    *,
    network: pathlib.Path | None = None,
    given: Config | None = None,
    test: str = "",
    which: Which = "latest",
    mesh: Mesh | None = None,
    progress: bool = True,
) -> RunEvaluation:
    """Measures the network of a run; the run may be in progress.

    Args:
        workdir: The run.
        network: What `load` takes, for a network that is not the run's; what comes of it is then
            written to `workdir`. None is the run's own.
        given: Names other data and measures than the network's own.
        test: Test sets instead of those, as `config.data.test` names them.
        which: `latest`, `best` (by mAP), or a step.
        mesh: The devices; None is all of them.
        progress: Whether to show progress bars.

    Raises:
        UserError: There is no checkpoint that can be read, or no test set is named.
        DataError: The data cannot be used.
    """
    mesh = mesh or make_mesh()
    if network is None:
        trained = load_trained(workdir.path, mesh, which=which)
    else:
        trained = load_weights(network, mesh)
    config = trained.config if given is None else _with_data_of(trained.config, given)
    if test:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, test=test))
    show = progress and jax.process_index() == 0
    with together():
        if not specs_to_test(config):
            raise UserError(
                "config.data.test is 'none': name a test set, as in --config=FILE "
                "--config.data.test=market1501"
            )
        sets = list_sets(config, train=False, progress=show).open(progress=show)[1]
    evaluate = Evaluator(config, trained.model, sets, mesh, progress=show)
    scores = evaluate(trained.variables)
    assert evaluate.first is not None
    untrained = read_untrained(workdir, config)
    return RunEvaluation(workdir, trained, config, sets, scores, untrained, evaluate.first)


def _with_data_of(config: Config, given: Config) -> Config:
    """The checkpoint's configuration, looking at the data that the given one names."""
    before, after = config.to_mapping(), given.to_mapping()
    data = {**before["data"], **after["data"], "image_size": config.data.image_size}
    return Config.from_mapping({**before, "data": data, "evaluate": after["evaluate"]}, stored=True)


def _measured(config: Config) -> dict[str, Any]:
    """What decides which numbers an evaluation gives, for one network."""
    tests = ",".join(specs_to_test(config))
    measures = {**config.to_mapping()["evaluate"], "batch_size": None}
    return {"data": {"test": tests, "root": config.data.root}, "evaluate": measures}


def _step_of(path: pathlib.Path) -> int | None:
    """The step of a record; None where there is no file, and −1 where it cannot be read."""
    if not path.exists():
        return None
    try:
        with reading(path, what="record of an evaluation"):
            return int(read_json(path, what="record of an evaluation")["step"])
    except DataError:
        return -1


def _source_of(path: pathlib.Path) -> Any:
    """The data that a record was measured on; None where there is no record to keep."""
    try:
        with reading(path, what="record of an evaluation"):
            return read_json(path, what="record of an evaluation").get("data")
    except DataError:
        return None
