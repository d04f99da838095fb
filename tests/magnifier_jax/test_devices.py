import os
import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import devices

ROOT = pathlib.Path(__file__).parents[2]
COMPILE = """
import jax
from magnifier_jax.devices import enable_compilation_cache
enable_compilation_cache()
print(jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((4, 4))).sum())
"""
# A block is filled twice, in a thread of its own as XLA's are, and its page faults are counted.
FILL_TWICE = """
import resource, threading
from magnifier_jax.devices import keep_freed_memory
keep_freed_memory()
faults = []
def fill():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        b"x" * (64 << 20)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=fill)
thread.start()
thread.join()
print(*faults)
"""


class Chip:
    """A device of another host, as far as its place in the mesh is concerned."""

    def __init__(self, process_index, number):
        self.process_index, self.id = process_index, number


def test_the_mesh_goes_process_by_process():
    # Two hosts of four chips on a slice whose numbers run along rows across both.
    chips = [Chip(number // 2 % 2, number) for number in (0, 1, 2, 3, 4, 5, 6, 7)]
    ordered = devices.by_process(chips)
    assert [(chip.process_index, chip.id) for chip in ordered] == [
        *((0, number) for number in (0, 1, 4, 5)),
        *((1, number) for number in (2, 3, 6, 7)),
    ]
    assert list(devices.make_mesh().devices) == jax.devices()


def test_batches_keep_their_order():
    mesh = devices.make_mesh()
    batch = {"ids": np.arange(16), "images": np.arange(16 * 3).reshape(16, 3)}
    on_devices = devices.put_batch(batch, mesh)
    assert on_devices["ids"].sharding.is_equivalent_to(devices.split_over(mesh), 1)
    found = devices.fetch(on_devices)
    jax.tree.map(np.testing.assert_array_equal, found, batch)


def test_batches_that_cannot_be_shared_are_refused():
    mesh = devices.make_mesh(jax.devices()[:3])
    with pytest.raises(UserError, match=r"batch_size gives batches of 8.*multiple of 3"):
        devices.check_divides(8, mesh, field="batch_size")
    devices.check_divides(9, mesh, field="batch_size")


def kernel_gradient(images, kernel):
    def total(kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return jnp.sin(y).sum()

    return jax.grad(total)(kernel)


def test_options_of_a_training_step_change_only_who_computes_it(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # It may hold other flags, but not that choice.
    options = devices.training_options(devices.make_mesh())
    assert list(options) == ["xla_cpu_experimental_ynn_fusion_type"]
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 16, 8, 64)).astype(np.float32)
    kernel = (rng.normal(size=(3, 3, 64, 64)) / 24).astype(np.float32)
    chosen = jax.jit(kernel_gradient, compiler_options=options).lower(images, kernel).compile()
    # No library's computation contains a convolution.
    computations = chosen.as_text().split("\n\n")
    assert any(" convolution(" in text for text in computations if text.startswith("ENTRY"))
    plain = jax.jit(kernel_gradient)(images, kernel)
    np.testing.assert_allclose(chosen(images, kernel), plain, rtol=1e-4, atol=1e-3)


def test_accelerators_and_other_choices_get_no_options(monkeypatch):
    chip = types.SimpleNamespace(platform="gpu")
    assert devices.training_options(types.SimpleNamespace(devices=np.array([chip]))) == {}
    mesh = devices.make_mesh()
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=reduce")
        assert devices.training_options(mesh) == {}
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    # A jaxlib that has given up the experiment.
    monkeypatch.setattr(devices, "_LIBRARY", "xla_cpu_no_such_option")
    devices._has_library.cache_clear()
    assert devices.training_options(mesh) == {}
    devices._has_library.cache_clear()


def test_one_process_fails_with_its_own_error():
    with devices.together():
        done = True
    assert done
    with pytest.raises(UserError, match="mine"), devices.together():
        raise UserError("mine")


def test_incomplete_addresses_of_processes_are_refused(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES"):
        devices.start_distributed()


@pytest.mark.parametrize("own", [False, True], ids=["default", "environment"])
def test_programs_are_kept_where_the_environment_says(own, tmp_path):
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    del environment["JAX_COMPILATION_CACHE_DIR"]
    if own:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "own")
    subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, check=True)
    folders = {tmp_path / "cache" / "magnifier_jax" / "xla": not own, tmp_path / "own": own}
    for folder, expected in folders.items():
        assert any(folder.glob("*")) == expected


def page_faults(**environment):
    finished = subprocess.run(
        [sys.executable, "-c", FILL_TWICE],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in finished.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another malloc")
def test_freed_memory_is_kept_for_the_next_step_on_cpus_only():
    pages = (64 << 20) // os.sysconf("SC_PAGESIZE")
    first, second = page_faults(JAX_PLATFORMS="cpu")
    assert first > 0.9 * pages
    assert second < 0.01 * pages
    # What is given back has to be fetched again.
    _, second = page_faults(JAX_PLATFORMS="cuda,cpu")
    assert second > 0.9 * pages


@pytest.mark.parametrize(
    ("chosen", "plugins", "expected"),
    [
        ("cpu", ["cuda"], True),
        (None, [], True),
        (None, ["cuda"], False),
        ("cuda,cpu", [], False),
        ("tpu", [], False),
    ],
)
def test_a_machine_with_plugins_may_have_an_accelerator(monkeypatch, chosen, plugins, expected):
    monkeypatch.setattr(devices.importlib.metadata, "entry_points", lambda group: plugins)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    assert devices._only_cpu(chosen) is expected
