"""Accelerators that XLA can compile for where there is none."""

from __future__ import annotations

import dataclasses
import importlib.util
import os

import jax
from jax.experimental import topologies

# Of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
_SHARE_OF_JAX = 0.75


class CannotCompileError(RuntimeError):
    """jax cannot compile for an accelerator here, whatever the program."""


@dataclasses.dataclass(frozen=True)
class Tpu:
    """A TPU by the names of its groups of four and of eight, and the bytes of its memory."""

    four: str
    eight: str
    memory: int

    @property
    def room(self) -> float:
        """Bytes that jax can have."""
        return self.memory

    def describe(self, devices: int) -> list[jax.Device]:
        """Devices to compile for, as many as the group has.

        Raises:
            CannotCompileError: libtpu is not installed, or cannot be used.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise CannotCompileError("jax has no compiler for it here: pip install -e '.[tpu]'")
        # Without these libtpu asks the network which machine this is.
        os.environ["TPU_SKIP_MDS_QUERY"] = "1"
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        name = self.four if devices <= 4 else self.eight
        try:
            return list(topologies.get_topology_desc(name, "tpu").devices)
        except RuntimeError as error:
            raise CannotCompileError(f"jax cannot compile for {name}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU by what its data sheet and CUDA's occupancy tables say.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability, major and minor.
        cores: Streaming multiprocessors.
        memory: Bytes.
        bandwidth: Of the memory, bytes a second.
        clock: Boost clock, GHz.
        cache: Level 2, bytes.
        shared: Shared memory of a multiprocessor, bytes; a block may have 1 KiB less.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    memory: int
    bandwidth: float
    clock: float
    cache: int
    shared: int

    @property
    def room(self) -> float:
        """Bytes that jax takes of the memory."""
        return _SHARE_OF_JAX * self.memory

    def describe(self, devices: int) -> list[jax.Device]:
        """Devices to compile for.

        Raises:
            CannotCompileError: jax's plugin for CUDA is not installed, or cannot be used.
        """
        try:
            found = topologies.get_topology_desc(
                self.name, "cuda", target_config=self._target(), topology=f"1x1x{devices}"
            )
        except NotImplementedError as error:
            reason = "jax has no compiler for it here: pip install -e '.[gpu]'"
            raise CannotCompileError(reason) from error
        except RuntimeError as error:
            raise CannotCompileError(f"jax cannot compile for {self.name}: {error}") from error
        return list(found.devices)

    def _target(self) -> str:
        """XLA's `GpuTargetConfigProto` as text."""
        major, minor = self.capability
        # The instructions of Hopper alone, which XLA's own kernels use.
        extension = "feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
        versions = "major: 9 minor: 12 patch: 0"
        return f"""
            platform_name: "CUDA"
            device_description_str: "{self.name}"
            dnn_version_info {{ {versions} }}
            runtime_version {{ major: 13 minor: 0 patch: 0 }}
            gpu_device_info {{
                name: "{self.name}"
                device_vendor: "NVIDIA Corporation"
                cuda_compute_capability {{ major: {major} minor: {minor} {extension} }}
                core_count: {self.cores}
                device_memory_size: {self.memory}
                memory_bandwidth: {self.bandwidth:.0f}
                clock_rate_ghz: {self.clock}
                l2_cache_size: {self.cache}
                shared_memory_per_core: {self.shared}
                shared_memory_per_block_optin: {self.shared - 1024}
                shared_memory_per_block: 49152
                fpus_per_core: {128 if major >= 9 else 64}
                threads_per_warp: 32
                threads_per_block_limit: 1024
                threads_per_core_limit: 2048
                thread_dim_limit_x: 1024
                thread_dim_limit_y: 1024
                thread_dim_limit_z: 64
                block_dim_limit_x: 2147483647
                block_dim_limit_y: 65535
                block_dim_limit_z: 65535
                registers_per_core_limit: 65536
                registers_per_block_limit: 65536
                device_address_bits: 64
                driver_version: "13.0.0"
                runtime_version: "13.0.0"
                compile_time_toolkit_version: "13.0.0"
                dnn_version: "9.12.0"
            }}
        """


ACCELERATORS: dict[str, Tpu | Gpu] = {
    "v5e": Tpu(four="v5e:2x2", eight="v5e:2x4", memory=16 * 2**30),
    "v6e": Tpu(four="v6e:2x2", eight="v6e:2x4", memory=32 * 2**30),
    "a100": Gpu(
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        cores=108,
        memory=80 * 2**30,
        bandwidth=2.039e12,
        clock=1.41,
        cache=40 * 2**20,
        shared=164 * 2**10,
    ),
    "h100": Gpu(
        name="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        memory=80 * 2**30,
        bandwidth=3.352e12,
        clock=1.98,
        cache=50 * 2**20,
        shared=228 * 2**10,
    ),
    "h200": Gpu(
        name="NVIDIA H200",
        capability=(9, 0),
        cores=132,
        memory=141 * 2**30,
        bandwidth=4.8e12,
        clock=1.98,
        cache=50 * 2**20,
        shared=228 * 2**10,
    ),
}
