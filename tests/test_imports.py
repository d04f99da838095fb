"""What can be imported where TensorFlow is not installed."""

import os
import pathlib
import pkgutil
import subprocess
import sys

import magnifier_jax

ROOT = pathlib.Path(__file__).parents[1]
BLOCKED = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "torch", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
print(len(sys.argv) - 1)
"""


def modules(package):
    yield package.__name__
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield module.name


def test_every_module_imports_without_tensorflow():
    names = list(modules(magnifier_jax))
    assert len(names) > 20
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED, *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(len(names))
