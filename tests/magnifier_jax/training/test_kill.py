"""What happens to a run of the public command that is killed, stopped, damaged or started twice."""

import pathlib
import shutil
import signal
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from magnifier_jax.checkpoints import CheckpointReader
from tests import command, forks, runs

pytestmark = pytest.mark.slow

STEPS = 12
EVERY = 3  # steps between checkpoints
# The moments at which one run is killed again and again, as `killed_run.py` names them.
KILLS = (
    ("change", "3 */bounding_box_train/*"),  # It draws,
    ("change", "2 */bounding_box_test/*"),
    ("change", "2 */prepared/*/checksums.json"),  # prepares,
    ("change", "1 */untrained.json"),  # and has measured the untrained network.
    ("log", "1"),
    ("save", "3"),
    ("log", "5"),
    ("change", "1 */checkpoints/.newest.json.*"),  # It is on disk, and not noted yet.
    ("change", "1 */evaluation.json"),
    ("save", "9"),
    ("log", "11"),
    ("save", "12"),
    ("change", "1 */evaluation.json"),  # It is done,
    ("change", "1 */report.html"),  # and has only to show it.
)
TRAIN = (
    *command.TINY,
    # What survives does not depend on the branches, and a start is three times as fast.
    "--config.model.use_adversarial=False",
    "--config.model.use_fusion=False",
    "--config.model.use_parsing=False",
    f"--config.train.max_steps={STEPS}",
    "--config.train.epochs=100000",
    "--config.train.evaluate_every_epochs=2",
    "--config.train.log_every_steps=1",
    f"--config.train.checkpoint_every_steps={EVERY}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[pathlib.Path]:
    """Holds `whole`, the work directory of an undisturbed run, and the data of all runs."""
    folder = tmp_path_factory.mktemp("kill")
    with pytest.MonkeyPatch.context() as patch:
        # A process that dies while it keeps a program leaves one that others could not read.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        arguments = (*TRAIN, f"--workdir={folder / 'whole'}")
        done = command.run(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
        assert "mINP" in done.stdout
        with forks.prepared():
            yield folder


def start(workdir, *more, **options):
    arguments = (*more, *TRAIN) if "module" in options else (*TRAIN, *more)
    return command.fork(*arguments, f"--workdir={workdir}", folder=workdir.parent, **options)


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


def test_a_run_that_is_killed_at_every_turn_ends_with_the_same_bits(folder, tmp_path):
    workdir = tmp_path / "killed"  # With data of its own, for drawing and preparing die too.
    module = "tests.magnifier_jax.training.killed_run"
    for kill in KILLS:
        done = start(workdir, *kill, module=module).result()
        assert done.returncode == -signal.SIGKILL, (kill, done.stdout, done.stderr)
    finish(workdir)
    check_same(folder / "whole", workdir)


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
