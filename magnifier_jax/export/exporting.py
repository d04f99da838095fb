"""Exports a trained network, and checks the export before anyone can see it."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from input_pipeline import files
from input_pipeline.errors import UserError
from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.boxmot import boxmot_metadata, boxmot_sidecar
from magnifier_jax.export.card import Card, Verification, make_card
from magnifier_jax.export.folder import write_folder
from magnifier_jax.export.formats import (
    run_savedmodel,
    write_savedmodel,
    write_stablehlo,
    write_tflite,
    write_weights,
)
from magnifier_jax.export.function import (
    DescriptorFunction,
    expected_descriptors,
    make_descriptor_function,
)
from magnifier_jax.export.onnx import write_onnx
from magnifier_jax.export.projection import Projection
from magnifier_jax.export.settings import ExportSettings, Format, Precision
from magnifier_jax.export.verification import relative_difference, run_batches, sample_images

LIMITS: Mapping[Precision, float] = {"float32": 1e-4, "fp16": 2e-2}
"""Largest relative difference between an export and the network in float32."""
_CARD = "card.json"  # in a folder
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
        run: Embeds batches by what is at that path.
        packages: What runs it, and what else wrote or read it.
    """

    write: Callable[[DescriptorFunction, pathlib.Path], None]
    run: Callable[[pathlib.Path, Sequence[np.ndarray]], list[np.ndarray]]
    packages: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """Version of each package, by the name that it is imported by."""
        names = _distributions()
        # A package may be installed under another name, such as tensorflow-cpu.
        return {name: importlib.metadata.version(names[name][0]) for name in self.packages}


_run_weights = functools.partial(run_batches, "run-weights")
_run_onnx = functools.partial(run_batches, "run-onnx")
_run_stablehlo = functools.partial(run_batches, "run-stablehlo")
_run_tflite = functools.partial(run_batches, "run-tflite")

_KINDS: Mapping[Format, _Kind] = {
    "safetensors": _Kind(write_weights, _run_weights, ("jax", "safetensors")),
    "torch": _Kind(write_weights, _run_weights, ("jax",)),
    "folder": _Kind(write_folder, _run_weights, ("jax", "safetensors")),
    "onnx": _Kind(write_onnx, _run_onnx, ("onnxruntime", "onnx")),
    "stablehlo": _Kind(write_stablehlo, _run_stablehlo, ("jax",)),
    "savedmodel": _Kind(write_savedmodel, run_savedmodel, ("tensorflow", "jax")),
    "tflite": _Kind(write_tflite, _run_tflite, ("tensorflow", "jax")),
}


def export_network(
    trained: Trained,
    settings: ExportSettings,
    output: str | os.PathLike[str],
    *,
    projection: Projection | None = None,
    force: bool = False,
) -> Card:
    """Writes an export to `output`, and its card to where `card_of` says.

    The export is run by a fresh process, on batches of 1 and 5 or of the size that it is made
    for, and compared with the network. Nothing is left at `output` if anything is wrong.

    Args:
        trained: The network.
        settings: What is wanted.
        output: File, or folder for a SavedModel or `folder`.
        projection: What `fit_projection` found, if `settings.dimension` asks for it.
        force: Whether files that are there are replaced; a folder never is.

    Raises:
        UserError: It is there already, cannot be written, a package is missing, or the export
            differs from the network by more than `LIMITS` allow.
    """
    check_output(settings, output, force=force)
    function = make_descriptor_function(trained, settings, projection)
    kind = _KINDS[settings.format]
    with files.claim_output(output, force=force) as place:
        # A link stays, and what it leads to is written; so the rename stays on one disk.
        target = pathlib.Path(os.path.realpath(place))
        with files.scratch_folder(target) as scratch, files.writing(target):
            new = scratch / place.name
            kind.write(function, new)
            verified = _verify(trained, function, kind, new)
            card = make_card(function, new, verified=verified, versions=kind.versions())
            if settings.format == "folder":
                files.write_json(new / _CARD, dataclasses.asdict(card))
            # The card goes first: an export without its card invites mistakes.
            beside = _beside(place, settings, card)
            for path, content in beside.items():
                files.write_json(path, content)
            try:
                new.replace(target)
            except BaseException:
                for path in beside:
                    path.unlink(missing_ok=True)
                raise
    return card


def _beside(
    output: pathlib.Path, settings: ExportSettings, card: Card
) -> dict[pathlib.Path, Mapping[str, object]]:
    """The JSON files beside an export."""
    if settings.format == "folder":
        return {}
    beside: dict[pathlib.Path, Mapping[str, object]] = {card_of(output): dataclasses.asdict(card)}
    if settings.consumer == "boxmot":
        beside[boxmot_sidecar(output)] = boxmot_metadata(card)
    return beside


def card_of(output: pathlib.Path) -> pathlib.Path:
    """Where the card of an export is: beside it, or in a folder that is to be handed on whole."""
    inside = output / _CARD
    return inside if inside.is_file() else output.with_name(f"{output.name}.json")


def check_output(
    settings: ExportSettings, output: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Refuses a place that an export cannot go to, before any work.

    Raises:
        UserError: Something is there already, or the name misleads.
    """
    place = files.user_path(output).absolute()
    beside = [card_of(place)]
    if settings.consumer == "boxmot":
        beside.append(boxmot_sidecar(place))
    for path in (place, *beside):
        files.check_output(path, force=force)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file: an export is read again to be checked.")
    if (place.suffix == ".safetensors") != (settings.format == "safetensors"):
        raise UserError(
            f"--output is {place.name}, but readers tell safetensors by the ending: use "
            ".safetensors for that format and no other."
        )
    if settings.consumer == "boxmot" and place.suffix != ".onnx":
        raise UserError(
            f"--output is {place.name}, but BoxMOT tells ONNX by the ending: use .onnx."
        )


def _verify(
    trained: Trained, function: DescriptorFunction, kind: _Kind, path: pathlib.Path
) -> Verification:
    settings = function.settings
    batches = BATCHES if settings.batch is None else (settings.batch,)
    images = [sample_images(count, function.image_size) for count in batches]
    found = kind.run(path, [function.prepare(batch) for batch in images])
    expected = expected_descriptors(trained, function, np.concatenate(images))
    worst = relative_difference(np.concatenate(found), expected)
    limit = LIMITS[settings.precision]
    if not worst <= limit:
        raise UserError(
            f"The {settings.format} export differs from the network by {worst:.1e} "
            f"(relative), more than {limit:.0e}: it was not kept."
        )
    runtime = kind.packages[0]
    return Verification(
        runtime=f"{runtime} {kind.versions()[runtime]}",
        batches=batches,
        largest_relative_difference=worst,
        limit=limit,
    )
