"""`python -m magnifier_jax.export`: writes a trained network for another framework."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from input_pipeline.errors import DataError, UserError
from magnifier_jax.datasets import open_pictures, open_training_set
from magnifier_jax.devices import enable_compilation_cache, make_mesh, put_replicated
from magnifier_jax.embedding.forward import embed_split, make_embed
from magnifier_jax.embedding.network import Trained, load_trained
from magnifier_jax.export.exporting import card_of, check_output, export_network
from magnifier_jax.export.function import make_descriptor_function
from magnifier_jax.export.projection import Projection, fit_projection
from magnifier_jax.export.settings import FORMATS, ExportSettings, choose_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (UserError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m magnifier_jax.export",
        description="Write a trained network for another framework, and check what was written.",
    )
    add = parser.add_argument
    add("--workdir", required=True, help="work directory of a training run")
    add("--format", required=True, choices=FORMATS, help="kind of export")
    add("--output", required=True, type=pathlib.Path, help="file to write (savedmodel: folder)")
    add("--checkpoint", choices=["latest", "best"], default="latest")
    add(
        "--branches",
        default="",
        help="branches that make the descriptor, such as global,fusion; all if not given",
    )
    add("--layout", choices=["NHWC", "NCHW"], help="order of the picture's axes; NHWC")
    add(
        "--normalise",
        choices=["inside", "outside"],
        help="inside takes uint8 pictures, outside normalised float32; inside",
    )
    add("--l2", choices=["inside", "outside"], help="inside gives unit length; inside")
    add(
        "--dimension",
        type=int,
        help="shorten descriptors to so many numbers, by principal component analysis of the "
        "training set, which must be at hand",
    )
    add("--data-root", help="folder of the datasets, if not where it was in training")
    return parser


def _run(options: argparse.Namespace) -> None:
    settings = choose_settings(
        options.format,
        branches=tuple(name.strip() for name in options.branches.split(",") if name.strip()),
        layout=options.layout,
        normalise=options.normalise,
        l2=options.l2,
        dimension=options.dimension,
    )
    output = options.output.expanduser()
    check_output(settings, output)
    enable_compilation_cache()
    mesh = make_mesh()
    trained = load_trained(options.workdir, mesh, which=options.checkpoint)
    if options.data_root is not None:
        data = dataclasses.replace(trained.config.data, root=options.data_root)
        trained = dataclasses.replace(
            trained, config=dataclasses.replace(trained.config, data=data)
        )
    projection = None
    if settings.dimension is not None:
        projection = project_training_set(trained, settings, mesh)
        print(f"{projection.dimension} numbers hold {projection.explained:.1%} of the variance.")
    card = export_network(trained, settings, output, projection=projection)
    verified = card.verified
    print(
        f"{output}: {card.output.dimension:,} numbers from {', '.join(card.output.branches)}, "
        f"step {card.step:,}\n"
        f"Largest relative difference, batches of {' and '.join(map(str, verified.batches))} in "
        f"{verified.runtime}: {verified.largest_relative_difference:.1e}\n"
        f"How to feed it: {card_of(output)}"
    )


def project_training_set(trained: Trained, settings: ExportSettings, mesh: Mesh) -> Projection:
    """Fits a projection to the training set's descriptors, of unit length, on all devices.

    Raises:
        UserError: The training set has too few pictures for `settings.dimension`.
        DataError: The training set is not at hand.
    """
    if settings.dimension is None:
        raise ValueError("No dimension is asked for.")
    progress = jax.process_index() == 0
    function = make_descriptor_function(trained, settings)
    config = trained.config
    split = open_training_set(config, progress=progress).split
    described = embed_split(
        make_embed(function.model, mesh),
        put_replicated(function.variables, mesh),
        open_pictures(split, config.data, parts=False, progress=progress),
        batch_size=config.evaluate.batch_size,
        mesh=mesh,
        title="Describing the training set",
        progress=progress,
    )
    return fit_projection(described.descriptors, settings.dimension)


if __name__ == "__main__":
    sys.exit(main())
