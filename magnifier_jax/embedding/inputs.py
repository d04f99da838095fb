"""Images as people have them: paths, Pillow images, arrays and crops."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from input_pipeline.errors import UserError, printable
from input_pipeline.files import user_path
from input_pipeline.images.codec import read_image, resize_image, upright_rgb

Channels = Literal["RGB", "BGR"]
OneImage: TypeAlias = str | os.PathLike[str] | Image.Image | ArrayLike
Images: TypeAlias = OneImage | Iterable[OneImage]

_WANTED = "uint8 [height, width, 3] with values from 0 to 255"


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One image that has not been brought to the network's size yet.

    Attributes:
        name: A file's path, or the image's place among what was given.
        content: The file, or the image; of an array, uint8 `[H, W, 3]`.
        reversed_channels: Whether an array's channels are blue, green, red.
    """

    name: str
    content: pathlib.Path | Image.Image | NDArray[np.uint8]
    reversed_channels: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it has to be read from a disk."""
        return isinstance(self.content, pathlib.Path)

    def read(self, image_size: tuple[int, int]) -> NDArray[np.uint8]:
        """The image at a size, resized as images are for training.

        Args:
            image_size: Height and width of the result, in pixels.

        Returns:
            uint8 RGB `[H, W, 3]`.

        Raises:
            ValueError: It cannot be used; the message is the reason alone.
        """
        if isinstance(self.content, pathlib.Path):
            return read_image(self.content, image_size=image_size)
        if isinstance(self.content, Image.Image):
            _check_extent(self.content.size[::-1])
            return resize_image(upright_rgb(self.content), image_size=image_size)
        pixels = self.content
        _check_extent(pixels.shape[:2])
        if self.reversed_channels:
            pixels = pixels[:, :, ::-1]
        if pixels.shape[:2] == image_size:
            return pixels
        return resize_image(Image.fromarray(np.ascontiguousarray(pixels)), image_size=image_size)


def _check_extent(size: Sequence[int]) -> None:
    if 0 in size:
        raise ValueError(f"the image is empty: {size[0]} × {size[1]} (height × width) pixels")


def list_sources(images: Images, *, channels: Channels = "RGB") -> list[Source]:
    """Tells what was given apart, and refuses what cannot be an image.

    Args:
        images: One image or several: paths, Pillow images, uint8 arrays `[H, W, 3]` of any sizes,
            or one array `[N, H, W, 3]`.
        channels: Order of the channels in arrays; files and Pillow images know theirs.

    Raises:
        UserError: There is no image, or one of them is no image.
    """
    if channels not in ("RGB", "BGR"):
        raise UserError(f"channels is {channels!r} but must be 'RGB' or 'BGR'.")
    reverse = channels == "BGR"
    if _is_one(images):
        return [_source(images, 0, reverse=reverse, alone=True)]
    if hasattr(images, "shape") or hasattr(images, "__array_interface__"):
        return _rows(np.asarray(images), reverse=reverse)
    if isinstance(images, (bytes, bytearray)):
        raise UserError("Encoded bytes have to be opened first: Image.open(io.BytesIO(data)).")
    if not isinstance(images, Iterable) or isinstance(images, (Mapping, Set)):
        raise UserError(f"{_kind(images)} is no image: give paths, Pillow images or arrays.")
    sources = [_source(image, i, reverse=reverse) for i, image in enumerate(images)]
    if not sources:
        raise UserError("There are no images to embed: the list is empty.")
    return sources


def _is_one(images: Any) -> bool:
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return True
    return getattr(images, "ndim", 4) in (2, 3) and hasattr(images, "shape")


def _rows(batch: NDArray[Any], *, reverse: bool) -> list[Source]:
    if batch.ndim != 4:
        raise UserError(
            f"An array of images has the shape [N, height, width, 3], not {list(batch.shape)}."
        )
    if not len(batch):
        raise UserError("There are no images to embed: the array is empty.")
    _check_pixels(batch[0], "The array of images", shape=batch.shape)
    return [Source(str(i), image, reverse) for i, image in enumerate(batch)]


def _source(image: Any, position: int, *, reverse: bool, alone: bool = False) -> Source:
    what = "The image" if alone else f"Image {position}"
    if isinstance(image, (str, os.PathLike)):
        path = user_path(image)
        if path.is_dir():
            raise UserError(
                f"{path} is a folder: give the images in it, such as "
                f"sorted(pathlib.Path({str(path)!r}).rglob('*.jpg'))."
            )
        return Source(str(image), path)
    if isinstance(image, Image.Image):
        return Source(str(position), image)
    if not hasattr(image, "shape"):
        raise UserError(
            f"{what} is {_kind(image)}: give a path, a Pillow image or an array {_WANTED}."
        )
    pixels = np.asarray(image)
    _check_pixels(pixels, what, shape=pixels.shape)
    return Source(str(position), pixels, reverse)


def _check_pixels(pixels: NDArray[Any], what: str, *, shape: Sequence[int]) -> None:
    """Refuses an array that is no color image of bytes.

    Args:
        pixels: One image.
        what: What it is called in the message.
        shape: The shape to show, which has one axis more for an array of images.
    """
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        hint = "is gray: repeat its channel three times, as np.repeat(gray[..., None], 3, axis=2)"
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        hint = "has a fourth channel: drop it, as image[..., :3]"
    elif pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        hint = "has its channels first: move them, as np.moveaxis(image, -3, -1)"
    elif pixels.ndim != 3 or pixels.shape[2] != 3:
        hint = f"has the shape {list(shape)}"
    elif pixels.dtype != np.uint8:
        hint = f"has values of type {pixels.dtype}: convert them to whole numbers 0 to 255"
    else:
        return
    raise UserError(f"{what} {hint}. An image is {_WANTED}; this has the shape {list(shape)}.")


def _kind(value: Any) -> str:
    name = type(value).__name__
    if isinstance(value, (list, tuple, dict, int, float, type(None))):
        article = "an" if name[0] in "aeiou" else "a"
        return f"{article} {name}" if value is not None else "None"
    return f"of type {printable(name)}"
