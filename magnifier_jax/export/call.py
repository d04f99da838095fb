"""An export in one call: `mj.export(model, "m.onnx", format="onnx")` and `magnifier export`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from input_pipeline.files import user_path
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.datasets import open_images, open_training_set
from magnifier_jax.devices import make_mesh, put_replicated
from magnifier_jax.embedding.forward import embed_split, make_embed
from magnifier_jax.embedding.model import Model, load
from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.card import Card
from magnifier_jax.export.exporting import check_output, export_network
from magnifier_jax.export.function import make_descriptor_function
from magnifier_jax.export.projection import Projection, fit_projection
from magnifier_jax.export.settings import ExportSettings, choose_settings


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
    output = user_path(path).absolute()
    check_output(settings, output, force=force)
    trained = _trained(model, checkpoint)
    if data_root is not None:
        data = dataclasses.replace(trained.config.data, root=str(user_path(data_root)))
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
