"""The card of an export: what one must know to use it rightly, beside the file and inside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from magnifier_jax.embedding.network import checkpoint_metadata
from magnifier_jax.export.function import DescriptorFunction, Piece
from magnifier_jax.export.onnx.graph import OPSET
from magnifier_jax.export.settings import WEIGHT_FORMATS
from magnifier_jax.training.augmentation import MEAN, STD
from magnifier_jax.workdir import software_versions

_HASHED_AT_ONCE = 1 << 20
_WHOLE = "magnifier_jax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputCard:
    """What goes in.

    Attributes:
        name: Name of the input, where a format has names.
        shape: Of a batch; `batch` stands for any number of images.
        dtype: Type of the numbers.
        layout: Order of the axes.
        height: Pixels.
        width: Pixels.
        colour_order: Order of the color channels.
        opening: How a file becomes 8-bit RGB pixels.
        interpolation: How images are brought to that size.
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
    opening: str = (
        "upright by its EXIF orientation; of 16-bit gray the upper 8 of the bits in use; "
        "transparency dropped; RGB"
    )
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
class Description:
    """What is known before an export is written, and so can be written inside.

    Attributes:
        format: Kind of export.
        precision: Type that the convolutions compute in.
        input: What goes in.
        output: What comes out.
        run: Name of the training run.
        step: Training steps of the exported checkpoint.
        backbone: Name of the ResNet.
        identities: How many identities it was trained on.
        network: The other settings of the network, as `MagnifierNet` takes them.
        opset: Version of ONNX's operators, None for other formats.
        versions: Software that made it and ran it.
    """

    format: str
    precision: str
    input: InputCard
    output: OutputCard
    run: str
    step: int
    backbone: str
    identities: int
    network: Mapping[str, bool | int]
    opset: int | None
    versions: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Description):
    """All of it.

    Attributes:
        sha256: Hash of each file, by its path beside the card.
        verified: How it was checked.
    """

    sha256: Mapping[str, str]
    verified: Verification


def describe(function: DescriptorFunction) -> Description:
    """Describes what will be written."""
    settings, projection = function.settings, function.projection
    height, width = function.image_size
    pieces = function.pieces
    return Description(
        format=settings.format,
        precision=settings.precision,
        input=InputCard(
            shape=(settings.batch or "batch", *function.input_shape),
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
        run=function.config.name,
        step=function.step,
        **function.definition,
        opset=OPSET if settings.format == "onnx" else None,
        versions=software_versions(),
    )


def make_card(
    function: DescriptorFunction,
    path: pathlib.Path,
    *,
    verified: Verification,
    versions: Mapping[str, str],
) -> Card:
    """The card of the export at `path`; `versions` are those of its format's own packages."""
    known = describe(function)
    fields = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
    fields["versions"] = {**known.versions, **versions}
    return Card(**fields, sha256=hash_files(path), verified=verified)


def file_metadata(function: DescriptorFunction) -> dict[str, str]:
    """What a file carries about itself, as texts by name.

    A few names are for people and other programs; lists and numbers are JSON. `magnifier_jax`
    holds the whole description, and for weights under `training` what a checkpoint carries beside
    its arrays: the configuration of the training and the names of its identities.
    """
    known = describe(function)
    given, found = known.input, known.output
    whole: dict[str, Any] = dataclasses.asdict(known)
    if function.settings.format in WEIGHT_FORMATS:
        whole["training"] = _training(function)
    flat = {
        "run": known.run,
        "step": known.step,
        "version": known.versions.get("magnifier_jax", ""),
        "image_size": (given.height, given.width),
        "layout": given.layout,
        "dtype": given.dtype,
        "color_order": given.colour_order,
        "opening": given.opening,
        "interpolation": given.interpolation,
        "normalise": given.normalise,
        "mean": given.mean,
        "std": given.std,
        "dimension": found.dimension,
        "branches": found.branches,
        "l2": found.l2,
        _WHOLE: whole,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in flat.items()
    }


def _training(function: DescriptorFunction) -> dict[str, Any]:
    """What a checkpoint carries beside its arrays, as far as it is handed on."""
    config = function.config
    if function.settings.classifiers:
        return checkpoint_metadata(config, function.identities)
    # Nobody else has these people, nor these folders.
    data = dataclasses.replace(config.data, root="", prepared="")
    return checkpoint_metadata(dataclasses.replace(config, data=data), ())


def parse_metadata(texts: Mapping[str, str]) -> dict[str, Any] | None:
    """What `file_metadata` put under `magnifier_jax`, or None where a file has no such entry.

    Raises:
        ValueError: The entry is not what was written.
    """
    if _WHOLE not in texts:
        return None
    whole = json.loads(texts[_WHOLE])
    if not isinstance(whole, dict):
        raise ValueError(f"its entry `{_WHOLE}` is no JSON object")
    return whole


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
