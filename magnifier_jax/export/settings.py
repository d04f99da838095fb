"""What an export is asked to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from input_pipeline.errors import UserError
from magnifier_jax.config import suggest

Format = Literal["safetensors", "torch", "folder", "onnx", "stablehlo", "savedmodel", "tflite"]
Layout = Literal["NHWC", "NCHW"]
Place = Literal["inside", "outside"]
Precision = Literal["float32", "fp16"]
Consumer = Literal["boxmot"]

FORMATS: tuple[Format, ...] = get_args(Format)
# These hold tensors and no computation, so nothing can be put inside of them.
WEIGHT_FORMATS: tuple[Format, ...] = ("safetensors", "torch", "folder")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CONSUMERS: tuple[Consumer, ...] = get_args(Consumer)
# Formats whose programs can be made for batches of one size, and the one that has to be.
# Formats that can hold half precision, of which weights are float32 again when they are read.
_HALF: tuple[Format, ...] = ("onnx", *WEIGHT_FORMATS)
_FIXED_BATCH: tuple[Format, ...] = ("savedmodel", "tflite")
_LARGEST_BATCH = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What is written.

    Attributes:
        format: Kind of file.
        branches: Branches whose pieces make the descriptor, in the network's order; empty for
            all that the network has.
        layout: Order of the image's axes.
        normalise: `inside` takes uint8 RGB, `outside` float32 that mean and standard deviation
            have been applied to.
        l2: `inside` gives descriptors of unit length.
        dimension: Numbers that principal component analysis leaves; None keeps all.
        precision: `fp16` stores the convolutions' weights in half the bytes. ONNX computes them so
            too; input and output are those of float32.
        classifiers: Whether weights have the classifiers of the training identities, their names,
            and the folders of their images. No descriptor depends on them.
        batch: The only batch size that is taken; None takes any.
        consumer: The program that it is written for, or None.
    """

    format: Format
    branches: tuple[str, ...] = ()
    layout: Layout = "NHWC"
    normalise: Place = "inside"
    l2: Place = "inside"
    dimension: int | None = None
    precision: Precision = "float32"
    batch: int | None = None
    consumer: Consumer | None = None
    classifiers: bool = True


def choose_settings(
    export_format: Format | None = None,
    *,
    branches: tuple[str, ...] = (),
    layout: Layout | None = None,
    normalise: Place | None = None,
    l2: Place | None = None,
    dimension: int | None = None,
    precision: Precision = "float32",
    batch: int | None = None,
    consumer: Consumer | None = None,
    classifiers: bool = True,
) -> ExportSettings:
    """Fills in what was not asked for, and refuses what a format or a consumer cannot take.

    Args:
        export_format: Kind of file; None is what the consumer takes.
        branches: As in `ExportSettings`, and so are the others.
        layout: None is NHWC, or what the consumer feeds.
        normalise: None is inside, or what the consumer feeds.
        l2: None is inside.
        dimension: None keeps all.
        precision: `float32`, or `fp16` for ONNX and weights.
        batch: None is any size; 1 for TFLite, whose programs are made for one size.
        consumer: `boxmot`, or None.
        classifiers: False leaves those of weights out.

    Raises:
        UserError: There is no format, it has no place for something, or a number is out of range.
    """
    _check_known("format", export_format, FORMATS)
    _check_known("layout", layout, get_args(Layout))
    _check_known("normalise", normalise, get_args(Place))
    _check_known("l2", l2, get_args(Place))
    _check_known("precision", precision, PRECISIONS)
    _check_known("for", consumer, CONSUMERS)
    if consumer is not None:
        export_format = _check_consumer(consumer, export_format, layout, normalise)
        layout, normalise = "NCHW", "outside"
    if export_format is None:
        raise UserError(f"--format is missing: give one of {', '.join(FORMATS)}.")
    if dimension is not None and (type(dimension) is not int or dimension < 1):
        raise UserError(f"--dimension is {dimension!r} but must be a whole number from 1 on.")
    if precision == "fp16" and export_format not in _HALF:
        raise UserError(
            f"--precision=fp16 does not go with --format={export_format}: export to "
            f"{', '.join(_HALF)}, or let the framework that reads the file convert it."
        )
    if not classifiers and export_format not in WEIGHT_FORMATS:
        raise UserError(
            f"--no-classifiers does not go with --format={export_format}, which never has them: "
            "leave it out."
        )
    if batch is not None:
        _check_batch(batch, export_format)
    elif export_format == "tflite":
        batch = 1
    if export_format in WEIGHT_FORMATS:
        _check_weights(export_format, layout, normalise, l2, dimension)
        layout, normalise, l2 = "NCHW", "outside", "outside"
    return ExportSettings(
        format=export_format,
        branches=branches,
        layout=layout or "NHWC",
        normalise=normalise or "inside",
        l2=l2 or "inside",
        dimension=dimension,
        precision=precision,
        batch=batch,
        consumer=consumer,
        classifiers=classifiers,
    )


def _check_known(option: str, value: object, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        hint = suggest(str(value), known) or f"; choose from {', '.join(known)}."
        raise UserError(f"There is no {option} {str(value)!r}{hint}")


def _check_consumer(
    consumer: Consumer,
    export_format: Format | None,
    layout: Layout | None,
    normalise: Place | None,
) -> Format:
    asked = {
        f"--format={export_format}": export_format not in (None, "onnx"),
        "--layout=NHWC": layout == "NHWC",
        "--normalise=inside": normalise == "inside",
    }
    for option, given in asked.items():
        if given:
            raise UserError(
                f"{option} does not go with --for={consumer}, which loads ONNX and feeds it "
                "normalized NCHW crops: leave it out."
            )
    return "onnx"


def _check_batch(batch: int, export_format: Format) -> None:
    if export_format not in _FIXED_BATCH:
        raise UserError(
            f"--batch does not go with --format={export_format}, which takes batches of any size: "
            "leave it out."
        )
    if type(batch) is not int or not 1 <= batch <= _LARGEST_BATCH:
        raise UserError(
            f"--batch is {batch!r} but must be a whole number from 1 to {_LARGEST_BATCH}."
        )


def _check_weights(
    export_format: Format,
    layout: Layout | None,
    normalise: Place | None,
    l2: Place | None,
    dimension: int | None,
) -> None:
    asked = {
        "--layout=NHWC": layout == "NHWC",
        "--normalise=inside": normalise == "inside",
        "--l2=inside": l2 == "inside",
        "--dimension": dimension is not None,
    }
    for option, given in asked.items():
        if given:
            raise UserError(
                f"{option} does not go with --format={export_format}, which holds weights and "
                "no computation: leave it out, or export to onnx, stablehlo or savedmodel."
            )
