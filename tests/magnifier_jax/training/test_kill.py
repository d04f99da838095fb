"""What happens to a run of the public command that is killed, stopped, damaged or started twice."""

import dataclasses
import pathlib
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from magnifier_jax.checkpoints import CheckpointReader
from tests import command, runs

STEPS = 60
EVERY = 3  # steps between checkpoints
# What is going on when each of twenty runs is killed; see `Kills`.
KILLS = (*["start"] * 4, *["steps", "steps", "steps", "start"] * 3, "steps", *["end"] * 3)
TRAIN = (
    *command.TINY,
    # What survives does not depend on the branches, and a start is three times as fast.
    "--config.model.use_adversarial=False",
    "--config.model.use_fusion=False",
    "--config.model.use_parsing=False",
    f"--config.train.max_steps={STEPS}",
    "--config.train.epochs=100000",
    "--config.train.evaluate_every_epochs=8",
    "--config.train.log_every_steps=1",
    f"--config.train.checkpoint_every_steps={EVERY}",
)


@dataclasses.dataclass(frozen=True)
class Whole:
    """An undisturbed run.

    Attributes:
        workdir: Its work directory.
        start: Seconds before its first step: drawing, preparing, measuring the untrained network.
        end: Seconds after its last step: measuring, the last checkpoint, the report.
    """

    workdir: pathlib.Path
    start: float
    end: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Whole:
    workdir = tmp_path_factory.mktemp("kill") / "whole"
    times = [time.monotonic()]
    running = start(workdir)
    for step in (1, STEPS):
        running.wait_for(lambda step=step: reached(workdir) >= step)
        times.append(time.monotonic())
    done = running.result()
    times.append(time.monotonic())
    assert done.returncode == 0, done.stderr
    assert "mINP" in done.stdout
    return Whole(workdir, times[1] - times[0], times[3] - times[2])


@pytest.fixture(scope="module")
def folder(whole) -> pathlib.Path:
    """Holds `whole`, the work directory of an undisturbed run, and the data of all runs."""
    return whole.workdir.parent


def start(workdir, *more):
    arguments = (*TRAIN, *more, f"--workdir={workdir}")
    return command.start(*arguments, folder=workdir.parent, **command.QUICK)


def finish(workdir, *more):
    done = start(workdir, *more).result()
    assert done.returncode == 0, done.stderr
    return done


def reached(workdir):
    """The last step that has been logged."""
    return max((line["step"] for line in runs.logged(workdir)), default=0)


def names(workdir):
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def check_same(one, two):
    """Two work directories hold the same run, to the last bit."""
    assert runs.logged(one) == runs.logged(two)
    (step, mine), (again, other) = runs.stored(one), runs.stored(two)
    assert step == again
    jax.tree.map(np.testing.assert_array_equal, mine, other)
    assert (one / "evaluation.json").read_text() == (two / "evaluation.json").read_text()
    assert names(one) == names(two)


class Kills:
    """Waits for a random moment of a run: while it starts, between steps, or after the last.

    Later runs are faster than the undisturbed one, which compiled everything, so they teach how
    long they take.
    """

    def __init__(self, whole: Whole) -> None:
        self.random = np.random.default_rng(0)
        self.start, self.end = whole.start, whole.end
        # Later kills are of later steps, for a run needs to come that far.
        count = KILLS.count("steps")
        self.steps = iter(np.sort(self.random.choice(STEPS - 5, count, replace=False) + 1))

    def wait(self, kind: str, running: command.Running, workdir: pathlib.Path) -> None:
        begin, before = time.monotonic(), reached(workdir)

        def over(seconds: float, trains: bool) -> bool:
            """Whether so much time is over, or what was waited for."""
            elapsed = time.monotonic() - begin
            if trains and reached(workdir) > before:
                self.start = elapsed
                return True
            if running.process.poll() is not None:
                self.end = max(0.0, elapsed - self.start)
                return True
            return elapsed > seconds

        if latest(workdir) == STEPS or kind == "start":
            done = latest(workdir) == STEPS
            seconds = self.random.uniform(0, self.start + (self.end if done else 0))
            while not over(seconds, not done):
                time.sleep(0.005)
            return
        aim = STEPS if kind == "end" else min(max(int(next(self.steps)), before + 1), STEPS)
        running.wait_for(lambda: reached(workdir) >= aim)
        # Within a step, or while it saves; or while it measures and writes the report.
        time.sleep(self.random.uniform(0, self.end if kind == "end" else 0.1))


def latest(workdir):
    return CheckpointReader(workdir / "checkpoints").latest_step()


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(whole, tmp_path):
    workdir = tmp_path / "killed"  # With data of its own, for drawing and preparing die too.
    kills = Kills(whole)
    killed = 0
    for kind in KILLS:
        running = start(workdir)
        kills.wait(kind, running, workdir)
        running.process.kill()
        done = running.result()
        # After its last step a run may have been faster than the undisturbed one.
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        killed += done.returncode != 0
    assert killed >= 15
    finish(workdir)
    check_same(whole.workdir, workdir)


@pytest.mark.parametrize("damage", ["truncated", "deleted"])
def test_a_damaged_newest_checkpoint_costs_steps_and_no_bit(folder, damage):
    workdir = folder / damage
    shutil.copytree(folder / "whole", workdir)
    newest = workdir / "checkpoints" / str(STEPS)
    if damage == "truncated":
        files = [path for path in (newest / "variables").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.truncate(largest.stat().st_size // 2)
    else:
        shutil.rmtree(newest)
    done = finish(workdir)
    assert f"Resuming from step {STEPS - EVERY} of {workdir}." in done.stdout
    assert f"logged after step {STEPS - EVERY} are dropped" in done.stderr
    words = f"The newest checkpoint, of step {STEPS}, is missing"
    if damage == "truncated":
        words = f"The checkpoint {newest} cannot be read"
        shutil.rmtree(newest.with_name(f"{STEPS}.damaged"))
    assert words in done.stderr
    check_same(folder / "whole", workdir)


def test_a_finished_run_has_nothing_left_to_do(folder):
    workdir = folder / "finished"
    shutil.copytree(folder / "whole", workdir)
    assert "mINP" in finish(workdir).stdout
    check_same(folder / "whole", workdir)


def test_a_request_to_stop_is_heeded_and_a_second_run_refused(folder):
    workdir = folder / "stopped"
    longer = ("--config.train.max_steps=3000", "--config.train.checkpoint_every_steps=3000")
    running = start(workdir, *longer)
    running.wait_for(lambda: len(runs.logged(workdir)) >= 3)
    second = start(workdir, *longer).result()
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"error: The work directory {workdir} is in use by process" in second.stderr

    running.process.send_signal(signal.SIGTERM)
    done = running.result()
    assert done.returncode == 0, done.stderr
    step = CheckpointReader(workdir / "checkpoints").latest_step()
    assert f"Stopped at step {step:,} and saved. The same command resumes from there" in done.stdout
    assert runs.logged(workdir)[-1]["step"] == step

    last = f"--config.train.max_steps={step + 2}"
    changed = start(workdir, *longer, last).result()
    assert changed.returncode == 2
    assert f"train.max_steps: 3000 → {step + 2}" in changed.stderr
    assert "--resume_with_changes" in changed.stderr
    assert runs.logged(workdir)[-1]["step"] == step
    finish(workdir, *longer, last, "--resume_with_changes")
    log = runs.logged(workdir)
    assert log[-1]["step"] == step + 2
    end = min(step + 2, STEPS)  # Where one of the two runs is evaluated because it ends.
    assert [line for line in log if line["step"] < end] == [
        line for line in runs.logged(folder / "whole") if line["step"] < end
    ]
