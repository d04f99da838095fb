"""Installs magnifier_jax into the runtime of a notebook, from the folder that this file is in.

    python colab/install.py

Colab comes with many packages, TensorFlow and jax among them. What is there and good enough stays
as it is; what is missing or too old is installed in the version that the tests passed with.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[1]
CUDA13_DRIVER = 580  # the first driver that runs CUDA 13
_TPU_DEVICES = ("dev/accel0", "dev/vfio/0")
_PLUGINS = {"cuda12": "jax-cuda12-plugin", "cuda13": "jax-cuda13-plugin", "tpu": "libtpu"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What pip is to do.

    Attributes:
        remove: Distributions that would be in the way.
        requirements: What is missing or too old.
        constraints: Versions for those and for what they need.
    """

    remove: tuple[str, ...]
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]


def choose_extras(
    *, root: pathlib.Path = pathlib.Path("/"), driver: int | None = None
) -> tuple[str, ...]:
    """The extras of our package for the hardware of this machine.

    Args:
        root: Where `dev` is.
        driver: Major version of the NVIDIA driver, None without one.
    """
    if driver is not None:
        return ("export", "gpu" if driver >= CUDA13_DRIVER else "gpu-cuda12")
    if any((root / device).exists() for device in _TPU_DEVICES):
        return ("export", "tpu")
    return ("export",)


def nvidia_driver() -> int | None:
    """Major version of the NVIDIA driver, None where there is no such GPU."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def make_plan(
    requirements: Iterable[str],
    constraints: Iterable[str],
    installed: Mapping[str, str],
    *,
    extras: Sequence[str],
) -> Plan:
    """Decides what to install.

    Args:
        requirements: Of our package, with markers.
        constraints: Lines of `constraints.txt`.
        installed: Version of each distribution that is there, by its canonical name.
        extras: Extras of our package.
    """
    wanted = [
        requirement
        for requirement in map(Requirement, requirements)
        if _applies(requirement, extras)
    ]
    missing = [_in_place(requirement, installed) for requirement in wanted]
    missing = [requirement for requirement in missing if not _is_met(requirement, installed)]
    changed = {canonicalize_name(requirement.name) for requirement in missing}
    kept = []
    for line in constraints:
        line = line.partition("#")[0].strip()
        if not line:
            continue
        name = canonicalize_name(Requirement(line).name)
        # What the runtime itself needs, such as its kernel, is not to change.
        if name in changed or name not in installed:
            kept.append(line)
    # The plugins of one CUDA are in the way of another's, and of a newer jax.
    plugins = [name for name in installed if name.startswith("jax-cuda")]
    return Plan(
        remove=tuple(sorted(plugins)) if "jax" in changed else (),
        requirements=tuple(map(_plain, missing)),
        constraints=tuple(kept),
    )


def _applies(requirement: Requirement, extras: Sequence[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _in_place(requirement: Requirement, installed: Mapping[str, str]) -> Requirement:
    """TensorFlow under the name that is there: two distributions must not share its folder."""
    names = ("tensorflow", "tensorflow-cpu")
    if canonicalize_name(requirement.name) in names:
        requirement.name = next((name for name in names if name in installed), requirement.name)
    return requirement


def _is_met(requirement: Requirement, installed: Mapping[str, str]) -> bool:
    version = installed.get(canonicalize_name(requirement.name))
    plugins = {_PLUGINS[extra] for extra in requirement.extras}
    return (
        version is not None
        and requirement.specifier.contains(version, prereleases=True)
        and plugins <= installed.keys()
    )


def _plain(requirement: Requirement) -> str:
    requirement.marker = None
    return str(requirement)


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
        raise SystemExit("pip could not install magnifier_jax: its last lines above say why.")


def _installed() -> dict[str, str]:
    found = importlib.metadata.distributions()
    return {canonicalize_name(each.metadata["Name"]): each.version for each in found}


def main() -> None:
    """Installs what is missing."""
    extras = choose_extras(driver=nvidia_driver())
    spec = importlib.util.find_spec("magnifier_jax")
    if spec is None or spec.origin is None:  # A checkout of that name is a package to Python.
        print(f"Installing magnifier_jax[{','.join(extras)}] from {ROOT}: this takes minutes.")
        _pip("install", "--no-deps", str(ROOT))
        importlib.invalidate_caches()
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = importlib.metadata.requires("magnifier_jax") or []
    plan = make_plan(requirements, constraints, _installed(), extras=extras)
    if plan.remove:
        _pip("uninstall", "--yes", *plan.remove)
    if plan.requirements:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "constraints.txt"
            file.write_text("\n".join(plan.constraints) + "\n", encoding="utf-8")
            _pip("install", "--constraint", str(file), *plan.requirements)
    importlib.invalidate_caches()
    changed = {Requirement(each).name.replace("-", "_") for each in plan.requirements}
    stale = sorted(changed & sys.modules.keys())
    if stale:
        raise SystemExit(
            f"{', '.join(stale)} changed while in use: restart the runtime (Runtime → Restart "
            "session), and run all cells again."
        )
    print(f"magnifier_jax is installed, with {', '.join(extras)}.")


if __name__ == "__main__":
    main()
