"""One run in two real processes, which talk over the loopback device."""

import json
import pathlib
import signal
import socket
from collections.abc import Iterator

import pytest

from magnifier_jax.checkpoints import CheckpointReader
from tests import command, forks, runs

pytestmark = pytest.mark.slow

TRAIN = (
    *command.TINY,
    "--config.train.max_steps=3",
    "--config.train.log_every_steps=1",
    "--config.train.checkpoint_every_steps=2",
)


def start_two(*arguments, folder):
    """Starts a command in two processes with two devices each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        command.fork(
            *arguments,
            folder=folder,
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(index),
        )
        for index in (0, 1)
    ]


def leaves(found, path=""):
    """Every value of a JSON object by where it stands."""
    if isinstance(found, (dict, list)):
        pairs = found.items() if isinstance(found, dict) else enumerate(found)
        return {k: v for key, value in pairs for k, v in leaves(value, f"{path}/{key}").items()}
    return {path: found}


def record(workdir):
    return leaves(json.loads((workdir / "evaluation.json").read_text()))


def check_near(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        if isinstance(value, str):
            assert value == two[name], name
        else:
            assert value == pytest.approx(two[name], rel=1e-5, abs=1e-5), name


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> Iterator[None]:
    with forks.prepared(devices=2):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Holds `one` and `two`: the work directories of the same run in one and in two processes."""
    folder = tmp_path_factory.mktemp("processes")
    one = (*TRAIN, f"--workdir={folder / 'one'}")
    whole = command.run(*one, folder=folder, devices=4)
    assert whole.returncode == 0, whole.stderr
    for running in start_two(*TRAIN, f"--workdir={folder / 'two'}", folder=folder):
        done = running.result()
        assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_train_like_one(folder):
    one, two = runs.logged(folder / "one"), runs.logged(folder / "two")
    assert [line["step"] for line in one] == [1, 2, 3, 3]
    assert len(one) == len(two)
    for mine, other in zip(one, two, strict=True):
        check_near(mine, other)
    check_near(record(folder / "one"), record(folder / "two"))


def test_two_processes_evaluate_like_one(folder):
    before = record(folder / "two")
    (folder / "two" / "evaluation.json").unlink()
    first, second = start_two("--mode=evaluate", f"--workdir={folder / 'two'}", folder=folder)
    assert first.result().returncode == second.result().returncode == 0, first.stderr.read_text()
    assert "mINP" in first.result().stdout
    assert "mINP" not in second.result().stdout
    check_near(record(folder / "two"), before)


def test_a_request_to_stop_one_stops_all_at_the_same_step(folder):
    workdir = folder / "stopped"
    endless = ("--config.train.max_steps=3000", "--config.train.epochs=3000")
    both = start_two(*TRAIN, *endless, f"--workdir={workdir}", folder=folder)
    both[0].wait_for(lambda: len(runs.logged(workdir)) >= 2)
    both[1].process.send_signal(signal.SIGINT)  # Which it passes on to jax as SIGTERM.
    codes = [running.result().returncode for running in both]
    assert codes == [0, 0], both[0].stderr.read_text() + both[1].stderr.read_text()
    step = CheckpointReader(workdir / "checkpoints").latest_step()
    assert f"Stopped at step {step} and saved." in both[0].result().stdout
    assert runs.logged(workdir)[-1]["step"] == step


def test_what_one_process_cannot_do_stops_both_at_once(folder):
    changed = ("--config.seed=1", f"--workdir={folder / 'two'}")
    both = start_two(*TRAIN, *changed, folder=folder)
    assert [running.result().returncode for running in both] == [2, 2]
    assert "seed: 0 → 1" in both[0].result().stderr
