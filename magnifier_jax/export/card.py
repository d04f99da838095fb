"""The card beside an export: what one must know to use it rightly."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.function import DescriptorFunction, Piece
from magnifier_jax.export.onnx import OPSET
from magnifier_jax.training.augmentation import MEAN, STD
from magnifier_jax.workdir import software_versions

_HASHED_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputCard:
    """What goes in.

    Attributes:
        name: Name of the input, where a format has names.
        shape: Of a batch; `batch` stands for any number of pictures.
        dtype: Type of the numbers.
        layout: Order of the axes.
        height: Pixels.
        width: Pixels.
        colour_order: Order of the colour channels.
        interpolation: How pictures are brought to that size.
        normalise: `inside`: the export does it. `outside`: the caller does, by
            `(pixels / 255 - mean) / std`.
        mean: Per channel, of pixels in 0…1.
        std: The same.
    """

    name: str = "images"
    shape: tuple[str | int, ...]
    dtype: str
    layout: str
    height: int
    width: int
    colour_order: str = "RGB"
    interpolation: str = "bilinear, antialiased (Pillow's BILINEAR)"
    normalise: str
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputCard:
    """What comes out.

    Attributes:
        name: Name of the output, where a format has names.
        dimension: Numbers in a descriptor.
        branches: Which branches they come from.
        pieces: Where each branch's numbers are, before any projection.
        l2: Whether descriptors have unit length (`inside`) or the caller sees to it (`outside`).
        projected_from: Numbers before the projection, or None without one.
        explained_variance: Share of the variance that the projection kept, or None.
    """

    name: str = "descriptor"
    dimension: int
    branches: tuple[str, ...]
    pieces: tuple[Piece, ...]
    l2: str
    projected_from: int | None
    explained_variance: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """How the export was compared with the network.

    Attributes:
        runtime: What ran it.
        batches: Sizes of the batches.
        largest_relative_difference: Over all descriptors; see `relative_difference`.
        limit: What it had to stay below.
    """

    runtime: str
    batches: tuple[int, ...]
    largest_relative_difference: float
    limit: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """All of it.

    Attributes:
        format: Kind of export.
        sha256: Hash of each file, by its path beside the card.
        input: What goes in.
        output: What comes out.
        run: Name of the training run.
        step: Training steps of the exported checkpoint.
        backbone: Name of the ResNet.
        identities: How many identities it was trained on.
        network: The other settings of the network, as `MagnifierNet` takes them.
        verified: How it was checked.
        opset: Version of ONNX's operators, None for other formats.
        versions: Software that made it and ran it.
    """

    format: str
    sha256: Mapping[str, str]
    input: InputCard
    output: OutputCard
    run: str
    step: int
    backbone: str
    identities: int
    network: Mapping[str, bool | int]
    verified: Verification
    opset: int | None
    versions: Mapping[str, str]


def make_card(
    trained: Trained,
    function: DescriptorFunction,
    *,
    path: pathlib.Path,
    verified: Verification,
    versions: Mapping[str, str],
) -> Card:
    """Describes the export at `path`; `versions` are those of its format's own packages."""
    settings, projection = function.settings, function.projection
    height, width = function.image_size
    pieces = function.pieces
    return Card(
        format=settings.format,
        sha256=hash_files(path),
        input=InputCard(
            shape=("batch", *function.input_shape),
            dtype=str(function.input_type),
            layout=settings.layout,
            height=height,
            width=width,
            normalise=settings.normalise,
        ),
        output=OutputCard(
            dimension=function.dimension,
            branches=tuple(piece.branch for piece in pieces),
            pieces=pieces,
            l2=settings.l2,
            projected_from=None if projection is None else pieces[-1].stop,
            explained_variance=None if projection is None else projection.explained,
        ),
        run=trained.config.name,
        step=trained.step,
        **function.definition,
        verified=verified,
        opset=OPSET if settings.format == "onnx" else None,
        versions={**software_versions(), **versions},
    )


def hash_files(path: pathlib.Path) -> dict[str, str]:
    """SHA-256 of a file, or of every file in a folder, by its path from the parent."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {file.relative_to(path.parent).as_posix(): _hash(file) for file in files}


def _hash(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASHED_AT_ONCE):
            digest.update(chunk)
    return digest.hexdigest()
