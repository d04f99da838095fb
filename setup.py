"""Packaging of magnifier_jax."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "magnifier_jax/__init__.py").read_text())

setup(
    name="magnifier_jax",
    version=VERSION.group(1),
    description="MagnifierNet, semantic-aware person re-identification, in JAX and Flax",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11",
    packages=find_packages(include=["magnifier_jax*", "input_pipeline*", "configs*"]),
    install_requires=[
        "absl-py",
        "array_record",
        "filelock>=3.16",
        "flax>=0.12",
        # TFDS needs it and does not say so.
        "importlib_resources",
        "jax>=0.10",
        "jaxlib>=0.10",
        "ml-collections>=1.1",
        "ml_dtypes>=0.5",
        "numpy>=2.0",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pillow>=11",
        "safetensors>=0.5",
        "scipy>=1.14",
        # For tf.data only; it never sees an accelerator.
        "tensorflow-cpu>=2.20; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "tensorflow>=2.20; sys_platform != 'linux' or platform_machine != 'x86_64'",
        "tensorboardX>=2.6",
        "tensorflow-datasets>=4.9.10",
        "tqdm>=4.66",
    ],
    extras_require={
        "gpu": ["jax[cuda13]>=0.10"],
        # For NVIDIA drivers before 580.
        "gpu-cuda12": ["jax[cuda12]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        "mat": ["h5py>=3.11", "scipy>=1.14"],
        # For the tests and benchmarks that compare with PyTorch; they are skipped without it.
        "torch": ["torch>=2.6"],
        "export": ["onnx>=1.18", "onnxruntime>=1.20"],
        "test": [
            "h5py>=3.11",
            "hypothesis>=6.100",
            "ipykernel>=6.29",
            "mypy>=1.15",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "onnx>=1.18",
            "onnxruntime>=1.20",
            "pytest>=8.3",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            "scipy>=1.14",
            "types-tqdm",
        ],
    },
)
