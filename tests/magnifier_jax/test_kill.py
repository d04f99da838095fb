"""What happens to a run of the public command that is killed, stopped, damaged or started twice."""

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
KILLS = 20
TRAIN = (
    *command.TINY,
    f"--config.train.max_steps={STEPS}",
    "--config.train.epochs=100000",
    "--config.train.evaluate_every_epochs=8",
    "--config.train.log_every_steps=1",
    "--config.train.checkpoint_every_steps=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Holds `whole`, the work directory of an undisturbed run."""
    folder = tmp_path_factory.mktemp("kill")
    done = finish(folder / "whole")
    assert "mINP" in done.stdout
    return folder


def start(workdir, *more):
    arguments = (*TRAIN, *more, f"--workdir={workdir}")
    return command.start(*arguments, folder=workdir.parent, **command.QUICK)


def finish(workdir, *more):
    done = start(workdir, *more).result()
    assert done.returncode == 0, done.stderr
    return done


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


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(folder):
    workdir = folder / "killed"
    reader = CheckpointReader(workdir / "checkpoints")
    random = np.random.default_rng(0)
    moments = np.sort(random.choice(np.arange(1, STEPS * 6 // 10), KILLS, replace=False))
    for number, moment in enumerate(moments):
        before = reader.latest_step() or 0
        running = start(workdir)
        if number % 10 == 9:
            time.sleep(random.uniform(0, 5))  # While it starts.
        else:
            aim = max(int(moment), before + 1)
            running.wait_for(lambda aim=aim: (reader.latest_step() or 0) >= aim)
            if number % 2:
                running.wait_for(lambda: any(reader.directory.glob("*.orbax-checkpoint-tmp*")))
            else:
                time.sleep(random.uniform(0, 0.1))
        running.process.kill()
        assert running.result().returncode == -signal.SIGKILL
    assert 0 < reader.latest_step() < STEPS
    finish(workdir)
    check_same(folder / "whole", workdir)


@pytest.mark.parametrize("damage", ["truncated", "partly deleted", "deleted"])
def test_a_damaged_newest_checkpoint_costs_a_step_and_no_bit(folder, damage):
    workdir = folder / damage.replace(" ", "_")
    shutil.copytree(folder / "whole", workdir)
    newest = workdir / "checkpoints" / str(STEPS)
    if damage == "truncated":
        files = [path for path in (newest / "variables").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.truncate(largest.stat().st_size // 2)
    else:
        shutil.rmtree(newest / "optimizer" if damage == "partly deleted" else newest)
    done = finish(workdir)
    assert f"Going on from step {STEPS - 1} of {workdir}." in done.stdout
    words = f"logged after step {STEPS - 1} are dropped"
    if damage != "deleted":
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
    longer = ("--config.train.max_steps=100000", "--config.train.checkpoint_every_steps=100000")
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
    assert f"Stopped at step {step:,} and saved. The same command goes on from there" in done.stdout
    assert runs.logged(workdir)[-1]["step"] == step

    last = f"--config.train.max_steps={step + 2}"
    changed = start(workdir, *longer, last).result()
    assert changed.returncode == 2
    assert f"train.max_steps: 100000 → {step + 2}" in changed.stderr
    assert "--resume_with_changes" in changed.stderr
    assert runs.logged(workdir)[-1]["step"] == step
    finish(workdir, *longer, last, "--resume_with_changes")
    log = runs.logged(workdir)
    assert log[-1]["step"] == step + 2
    end = min(step + 2, STEPS)  # Where one of the two runs is evaluated because it ends.
    assert [line for line in log if line["step"] < end] == [
        line for line in runs.logged(folder / "whole") if line["step"] < end
    ]
