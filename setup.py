"""Where the packages go; pyproject.toml says everything else.

A checkout has three top-level packages, and an editable install leaves them there. A wheel must not
claim names as common as `configs` and `input_pipeline` in everybody's environment, so there they
become `magnifier_jax.configs` and `magnifier_jax.input_pipeline`, and whatever names them is
rewritten on the way in.
"""

from __future__ import annotations

import ast
import pathlib
import re
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

HOST = "magnifier_jax"
GUESTS = ("configs", "input_pipeline")

_GUEST = f"(?:{'|'.join(GUESTS)})"
_BARE_IMPORT = re.compile(rf"(?m)^(\s*)import ({_GUEST})$")
_REFERENCES = re.compile(
    rf"""(?mx)
    ^(?P<statement>\s*(?:from|import)\s+)(?={_GUEST}(?:[.\s]|$))  # an import
    | (?P<quote>["'])(?={_GUEST}(?:\.[a-z_{{*]|(?P=quote)))       # a module's name in a string
    | (?P<run>-m\s)(?={_GUEST}\b)                                 # a command
    """
)


def rewrite(source: str) -> str:
    """Names the guests by where they are in a wheel.

    Raises:
        ValueError: An import would still look for them at the top level.
    """
    changed = _BARE_IMPORT.sub(rf"\1from {HOST} import \2", source)
    changed = _REFERENCES.sub(lambda match: f"{match[0]}{HOST}.", changed)
    for node in ast.walk(ast.parse(changed)):
        if isinstance(node, ast.Import):
            # `import input_pipeline.files` would bind another name than the code goes on to use.
            names = [one.name.removeprefix(f"{HOST}.") for one in node.names if not one.asname]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        if any(name.split(".")[0] in GUESTS for name in names):
            raise ValueError(f"line {node.lineno}: write it as `from … import …`")
    return changed


class BuildInside(build_py):
    """Puts modules into a wheel with their references rewritten."""

    def run(self) -> None:
        """Builds from nothing: modules that have moved since must not come along."""
        shutil.rmtree(pathlib.Path(self.build_lib) / HOST, ignore_errors=True)
        super().run()

    def build_module(self, module, module_file, package):  # type: ignore[no-untyped-def]
        """Copies one module, unless this is an editable install."""
        built = super().build_module(module, module_file, package)
        if not self.editable_mode:
            path = pathlib.Path(built[0])
            source = path.read_text(encoding="utf-8")
            try:
                path.write_text(rewrite(source), encoding="utf-8")
            except ValueError as error:
                raise ValueError(f"{module_file}: {error}") from error
        return built


class StayInCheckout(editable_wheel):
    """An editable install finds the packages where the checkout has them."""

    def finalize_options(self) -> None:
        """Undoes what is said below of a wheel."""
        self.distribution.packages = [*find_packages(include=[f"{HOST}*"]), *guests()]
        self.distribution.package_dir = {}
        super().finalize_options()


def guests() -> list[str]:
    """The packages beside the host, by their names in a checkout."""
    return find_packages(include=[pattern for name in GUESTS for pattern in (name, f"{name}.*")])


setup(
    packages=[
        *find_packages(include=[HOST, f"{HOST}.*"]),
        *(f"{HOST}.{name}" for name in guests()),
    ],
    package_dir={f"{HOST}.{name}": name for name in GUESTS},
    package_data={
        HOST: ["py.typed", "weights/*"],
        f"{HOST}.serve": ["page/*"],
        f"{HOST}.input_pipeline.part_labels.drawn": ["*.safetensors"],
    },
    cmdclass={"build_py": BuildInside, "editable_wheel": StayInCheckout},
)
