"""Fixtures for the tests of what a run writes, and of what is done with a trained network."""

import dataclasses
import math
import os
import pathlib
import pickle
import resource
import shutil
import signal

import filelock
import jax
import pytest

from configs import quickstart
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.training.loop import TrainingResult, train
from magnifier_jax.workdir import WorkDirectory


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """A finished run of the smallest network; only to be read, for all tests share it.

    Attributes:
        workdir: Its work directory, with checkpoints of steps 2 and 3.
        config: Its configuration.
        dataset: Folder of the synthetic pedestrians that it was trained and measured on.
        result: What training returned.
    """

    workdir: WorkDirectory
    config: Config
    dataset: pathlib.Path
    result: TrainingResult


def tiny_config(root: pathlib.Path) -> Config:
    """The configuration of `tiny_run`, with its data under `root`."""
    config = quickstart.get_config()
    config.name = "tiny"
    config.data.train = "synthetic:tiny"
    config.data.root = str(root)
    config.data.prepared = str(root / "prepared")
    config.data.identities_per_batch = 4
    config.data.images_per_identity = 2
    config.model.backbone = "tiny"
    config.model.parsing_features = 8
    config.train.max_steps = 3
    config.train.log_every_steps = 1
    config.train.checkpoint_every_steps = 2
    config.evaluate.batch_size = 16
    return Config.from_mapping(config.to_dict())


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> TinyRun:
    """A trained network, its work directory and its images."""
    root = shared_folder(tmp_path_factory) / "tiny_run"
    config, trained, made = tiny_config(root), WorkDirectory(root / "workdir"), root / "result"
    # The first worker that needs it trains it. Each has a copy, for a work directory has a lock.
    with filelock.FileLock(f"{root}.lock"):
        if not made.exists():
            # As many devices as in other tests of training, which share what is compiled.
            result = train(config, trained, mesh=make_mesh(jax.devices()[:2]), progress=False)
            made.write_bytes(pickle.dumps(result))
        result = pickle.loads(made.read_bytes())
        workdir = WorkDirectory(tmp_path_factory.mktemp("tiny_run") / "workdir")
        shutil.copytree(trained.path, workdir.path)
    return TinyRun(workdir, config, root / "synthetic_tiny", result)


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The temporary folder of this run of the tests, which all of its workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def file_size_limit():
    """Lets the operating system refuse to write more than a few bytes to any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    # Nor could compiled programs be kept, and other tests would find half of them.
    shortest = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", math.inf)
    yield limit
    limit(None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)
    signal.signal(signal.SIGXFSZ, handler)
