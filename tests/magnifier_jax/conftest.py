"""Fixtures for the tests of what a run writes, and of what is done with a trained network."""

import contextlib
import dataclasses
import pathlib
import resource
import signal

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


@contextlib.contextmanager
def compiling_quickly():
    """For small programs, compiling takes nearly all of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def quick_compiling(tmp_path_factory):
    """Lets a module compile quickly, and leaves the user's cache of compiled programs alone."""
    with pytest.MonkeyPatch.context() as patch, compiling_quickly():
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("xla")))
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> TinyRun:
    """A trained network, its work directory and its images."""
    root = tmp_path_factory.mktemp("tiny_run")
    config = tiny_config(root)
    workdir = WorkDirectory(root / "workdir")
    with compiling_quickly():
        # As many devices as in other tests of training, which share what is compiled.
        result = train(config, workdir, mesh=make_mesh(jax.devices()[:2]), progress=False)
    return TinyRun(workdir, config, root / "synthetic_tiny", result)


@pytest.fixture
def file_size_limit():
    """Lets the operating system refuse to write more than a few bytes to any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)
