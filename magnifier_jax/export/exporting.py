"""Exports a trained network, and checks the export before anyone can see it.

`export_model` is `mj.export(model, "m.onnx", format="onnx")` and `magnifier export`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline import files
from input_pipeline.errors import UserError
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.datasets import open_images, open_training_set
from magnifier_jax.devices import make_mesh, put_replicated
from magnifier_jax.embedding.forward import embed_split, make_embed
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import Model
from magnifier_jax.embedding.network import Trained
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
from magnifier_jax.export.onnx.boxmot import boxmot_metadata, boxmot_sidecar
from magnifier_jax.export.onnx.network import write_onnx
from magnifier_jax.export.projection import Projection, fit_projection
from magnifier_jax.export.settings import ExportSettings, Format, Precision, choose_settings
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


def export_model(
    model: Model | Trained | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    branches: str | Sequence[str] = (),
    data_root: str | os.PathLike[str] | None = None,
    checkpoint: Which = "latest",
    force: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Card:
    """Writes a network for another framework, checks it there, and writes its card beside it.

    Args:
        model: What `load` gave, or what it takes.
        path: The file or folder to write.
        format: Kind of export, such as `onnx` or `safetensors`; None is what `consumer` takes.
        branches: Branches that make the descriptor; none named is all.
        data_root: Folder of the datasets, which `dimension` needs, if not where it was in training.
        checkpoint: Of a work directory, `latest`, `best` or a step.
        force: Whether files that are there are replaced; a folder never is.
        say: Told what was found on the way.
        **options: What else `choose_settings` takes, such as `layout` and `dimension`.

    Returns:
        The card: what goes in, what comes out, and how it was checked.

    Raises:
        UserError: An option does not go with the format, or the export cannot be written.
        DataError: The training set, which `dimension` needs, cannot be used.
    """
    names = branches.split(",") if isinstance(branches, str) else branches
    kind: Any = format  # Any text: an unknown one is refused.
    settings = choose_settings(
        kind, branches=tuple(name.strip() for name in names if name.strip()), **options
    )
    output = files.user_path(path).absolute()
    check_output(settings, output, force=force)
    trained = _trained(model, checkpoint)
    if data_root is not None:
        data = dataclasses.replace(trained.config.data, root=str(files.user_path(data_root)))
        trained = dataclasses.replace(
            trained, config=dataclasses.replace(trained.config, data=data)
        )
    projection = None
    if settings.dimension is not None:
        projection = project_training_set(trained, settings, make_mesh())
        if say is not None:
            say(f"{projection.dimension} numbers hold {projection.explained:.1%} of the variance.")
    return export_network(trained, settings, output, projection=projection, force=force)


def _trained(model: Model | Trained | str | os.PathLike[str], checkpoint: Which) -> Trained:
    if isinstance(model, Trained):
        return model
    return (model if isinstance(model, Model) else load(model, checkpoint=checkpoint)).trained


def project_training_set(trained: Trained, settings: ExportSettings, mesh: Mesh) -> Projection:
    """Fits a projection to the training set's descriptors, of unit length, on all devices.

    Raises:
        UserError: The training set has too few images for `settings.dimension`.
        DataError: The training set is not at hand.
    """
    if settings.dimension is None:
        raise ValueError("No dimension is asked for.")
    progress = jax.process_index() == 0
    function = make_descriptor_function(trained, settings)
    config = trained.config
    split = open_training_set(config, progress=progress).split
    embedded = embed_split(
        make_embed(function.model, mesh),
        put_replicated(function.variables, mesh),
        open_images(split, config.data, parts=False, progress=progress),
        batch_size=config.evaluate.batch_size,
        mesh=mesh,
        title="Embedding the training set",
        progress=progress,
    )
    return fit_projection(embedded.descriptors, settings.dimension)


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
