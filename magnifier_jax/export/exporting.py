"""Exports a trained network, and checks the export before anyone can see it."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.card import Card, Verification, make_card
from magnifier_jax.export.formats import (
    run_savedmodel,
    run_stablehlo,
    run_weights,
    write_savedmodel,
    write_stablehlo,
    write_weights,
)
from magnifier_jax.export.function import (
    DescriptorFunction,
    expected_descriptors,
    make_descriptor_function,
)
from magnifier_jax.export.onnx import run_onnx, write_onnx
from magnifier_jax.export.projection import Projection
from magnifier_jax.export.settings import ExportSettings, Format
from magnifier_jax.export.verification import relative_difference, sample_pictures

LIMIT = 1e-4
"""Largest relative difference between an export and the network."""
BATCHES = (1, 5)
"""Sizes of the batches that are compared; an export that fixes the batch's size fails."""


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How one format is written and run.

    Attributes:
        write: Writes it to a path.
        run: Describes batches by what is at that path.
        packages: What runs it, and what else wrote or read it.
    """

    write: Callable[[DescriptorFunction, pathlib.Path], None]
    run: Callable[[DescriptorFunction, pathlib.Path, Sequence[np.ndarray]], list[np.ndarray]]
    packages: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """Version of each package, by the name that it is imported by."""
        names = _distributions()
        # A package may be installed under another name, such as tensorflow-cpu.
        return {name: importlib.metadata.version(names[name][0]) for name in self.packages}


_KINDS: Mapping[Format, _Kind] = {
    "safetensors": _Kind(write_weights, run_weights, ("jax", "safetensors")),
    "torch": _Kind(write_weights, run_weights, ("jax",)),
    "onnx": _Kind(write_onnx, run_onnx, ("onnxruntime", "onnx")),
    "stablehlo": _Kind(write_stablehlo, run_stablehlo, ("jax",)),
    "savedmodel": _Kind(write_savedmodel, run_savedmodel, ("tensorflow", "jax")),
}


def export_network(
    trained: Trained,
    settings: ExportSettings,
    output: pathlib.Path,
    *,
    projection: Projection | None = None,
) -> Card:
    """Writes an export to `output`, and its card beside it to `output` + `.json`.

    The export is run by a fresh process, on batches of 1 and 5, and compared with the network.
    Nothing is left at `output` if anything is wrong.

    Args:
        trained: The network.
        settings: What is wanted.
        output: File, or folder for a SavedModel; it must not exist.
        projection: What `fit_projection` found, if `settings.dimension` asks for it.

    Raises:
        UserError: It cannot be written, a package is missing, or the export differs from the
            network by more than `LIMIT`.
    """
    check_output(settings.format, output)
    function = make_descriptor_function(trained, settings, projection)
    kind = _KINDS[settings.format]
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export.") as folder:
            new = pathlib.Path(folder) / output.name
            kind.write(function, new)
            verified = _verify(trained, function, kind, new)
            card = make_card(
                trained, function, path=new, verified=verified, versions=kind.versions()
            )
            write_json(card_of(new), dataclasses.asdict(card))
            # The card goes first: an export without its card invites mistakes.
            card_of(new).rename(card_of(output))
            try:
                new.rename(output)
            except BaseException:
                card_of(output).unlink()
                raise
    except OSError as error:
        raise UserError(f"Cannot write {output}: {error.strerror}.") from error
    return card


def card_of(output: pathlib.Path) -> pathlib.Path:
    """Where the card of an export is."""
    return output.with_name(output.name + ".json")


def check_output(export_format: Format, output: pathlib.Path) -> None:
    """Refuses a place that an export cannot go to, before any work.

    Raises:
        UserError: Something is there already, the folder is missing, or the name misleads.
    """
    for path in (output, card_of(output)):
        if path.exists():
            raise UserError(f"{path} exists already: remove it, or give another --output.")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent} is not a folder: make it, or give another --output.")
    if (output.suffix == ".safetensors") != (export_format == "safetensors"):
        raise UserError(
            f"--output is {output.name}, but readers tell safetensors by the ending: use "
            ".safetensors for that format and no other."
        )


def _verify(
    trained: Trained, function: DescriptorFunction, kind: _Kind, path: pathlib.Path
) -> Verification:
    pictures = [sample_pictures(count, function.image_size) for count in BATCHES]
    found = kind.run(function, path, [function.prepare(batch) for batch in pictures])
    expected = expected_descriptors(trained, function, np.concatenate(pictures))
    worst = relative_difference(np.concatenate(found), expected)
    if not worst <= LIMIT:
        raise UserError(
            f"The {function.settings.format} export differs from the network by {worst:.1e} "
            f"(relative), more than {LIMIT:.0e}: it was not kept."
        )
    runtime = kind.packages[0]
    return Verification(
        runtime=f"{runtime} {kind.versions()[runtime]}",
        batches=BATCHES,
        largest_relative_difference=worst,
        limit=LIMIT,
    )
