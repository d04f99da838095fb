import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from input_pipeline.errors import UserError
from input_pipeline.files import write_json, write_text
from magnifier_jax.workdir import WorkDirectory, software_versions

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = {"seed": 1, "data": {"name": "synthetic", "size": [64, 32]}, "log": {"every": 10}}
HOLD = """
import pathlib, sys
from magnifier_jax.workdir import WorkDirectory
with WorkDirectory(pathlib.Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path):
    directory = WorkDirectory(tmp_path / "a" / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        refused = rf"{directory.path} is in use by process {process.pid} on .*: wait for it"
        with pytest.raises(UserError, match=refused), directory.lock():
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with directory.lock():
        assert directory.path.is_dir()


def test_the_lock_is_for_one_run_in_a_process_too(tmp_path):
    directory = WorkDirectory(tmp_path)
    with (
        directory.lock(),
        pytest.raises(UserError, match=f"process {os.getpid()}"),
        directory.lock(),
    ):
        pass
    with directory.lock():
        pass
    assert (tmp_path / ".lock").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    directory = WorkDirectory(tmp_path / "file" / "run")
    with pytest.raises(UserError, match=r"Cannot write .*: make room"):
        directory.lock().__enter__()


def test_the_configuration_is_kept_with_the_versions(tmp_path):
    directory = WorkDirectory(tmp_path)
    directory.write_config(CONFIG)
    record = json.loads(directory.config.read_text())
    assert record["config"] == CONFIG
    assert record["versions"] == software_versions()
    assert {"python", "jax", "flax", "orbax-checkpoint"} <= record["versions"].keys()


def test_writing_is_all_or_nothing(tmp_path, file_size_limit):
    path = tmp_path / "evaluation.json"
    write_json(path, {"mAP": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"mAP": float("nan")})
    file_size_limit(100)
    with pytest.raises(UserError, match=r"Cannot write .*evaluation\.json .*make room"):
        write_text(path, "x" * 1000)
    file_size_limit(None)
    assert json.loads(path.read_text()) == {"mAP": 0.5}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="Cannot write"):
        write_text(tmp_path / "missing" / "file", "text")
