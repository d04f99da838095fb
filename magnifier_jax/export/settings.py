"""What an export is asked to be."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from input_pipeline.errors import UserError

Format = Literal["safetensors", "torch", "onnx", "stablehlo", "savedmodel"]
Layout = Literal["NHWC", "NCHW"]
Place = Literal["inside", "outside"]

FORMATS: tuple[Format, ...] = get_args(Format)
# These hold tensors and no computation, so nothing can be put inside of them.
WEIGHT_FORMATS: tuple[Format, ...] = ("safetensors", "torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What is written.

    Attributes:
        format: Kind of file.
        branches: Branches whose pieces make the descriptor, in the network's order; empty for
            all that the network has.
        layout: Order of the picture's axes.
        normalise: `inside` takes uint8 RGB, `outside` float32 that mean and standard deviation
            have been applied to.
        l2: `inside` gives descriptors of unit length.
        dimension: Numbers that principal component analysis leaves; None keeps all.
    """

    format: Format
    branches: tuple[str, ...] = ()
    layout: Layout = "NHWC"
    normalise: Place = "inside"
    l2: Place = "inside"
    dimension: int | None = None


def choose_settings(
    export_format: Format,
    *,
    branches: tuple[str, ...] = (),
    layout: Layout | None = None,
    normalise: Place | None = None,
    l2: Place | None = None,
    dimension: int | None = None,
) -> ExportSettings:
    """Fills in what was not asked for, and refuses what a format cannot hold.

    Raises:
        UserError: The format has no place for something, or the dimension is not positive.
    """
    if dimension is not None and dimension < 1:
        raise UserError(f"--dimension is {dimension} but must be 1 or more.")
    if export_format not in WEIGHT_FORMATS:
        return ExportSettings(
            format=export_format,
            branches=branches,
            layout=layout or "NHWC",
            normalise=normalise or "inside",
            l2=l2 or "inside",
            dimension=dimension,
        )
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
    return ExportSettings(
        format=export_format, branches=branches, layout="NCHW", normalise="outside", l2="outside"
    )
