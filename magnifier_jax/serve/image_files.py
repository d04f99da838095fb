"""The gallery's images as files: found below their folder only, shown small, kept in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import threading
from typing import Literal

import cachetools
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from input_pipeline.errors import MagnifierError, UserError
from input_pipeline.images.codec import open_rgb, read_image

Size = Literal["thumbnail", "full"]
_LONGEST: dict[Size, int] = {"thumbnail": 256, "full": 2048}
_QUALITY = 88  # of a JPEG


class ImageMissingError(MagnifierError):
    """A gallery's image is not there, cannot be read, or may not be shown."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image as it is sent.

    Attributes:
        data: A JPEG.
        tag: The same text for the same file and size.
    """

    data: bytes
    tag: str


class ImageFiles:
    """Reads images of one folder, and nothing outside of it."""

    def __init__(self, root: pathlib.Path, *, cache_bytes: int = 2**26) -> None:
        """Looks at the folder.

        Args:
            root: Folder of the images; links in it are followed only to places in it.
            cache_bytes: Bytes of encoded images that are kept in memory.

        Raises:
            UserError: There is no such folder.
        """
        if not root.is_dir():
            raise UserError(
                f"The gallery's images are not in {root}, which is no folder: say with --images "
                "where they are."
            )
        self.root = root.resolve()
        self._cache: cachetools.LRUCache[str, bytes] = cachetools.LRUCache(cache_bytes, len)
        self._lock = threading.Lock()

    def path(self, name: str) -> pathlib.Path:
        """The file of an image.

        Args:
            name: As the gallery calls it.

        Raises:
            ImageMissingError: It is not there, or is not below the folder.
        """
        try:
            path = (self.root / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # also null characters and circles of links
            raise ImageMissingError(f"The image {name} is not there any more.") from None
        if not path.is_relative_to(self.root) or not path.is_file():
            raise ImageMissingError(f"The image {name} is not in the gallery's folder.")
        return path

    def tag(self, name: str, size: Size) -> str:
        """The same text as long as the file is the same.

        Raises:
            ImageMissingError: As `path`.
        """
        path = self.path(name)
        status = path.stat()
        text = f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{size}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def show(self, name: str, size: Size) -> Shown:
        """An image to send: upright RGB, not larger than its size allows, without metadata.

        Raises:
            ImageMissingError: As `path`, or it cannot be read.
        """
        tag = self.tag(name, size)
        with self._lock:
            data = self._cache.get(tag)
        if data is None:
            data = self._encode(name, _LONGEST[size])
            with self._lock:
                if len(data) <= self._cache.maxsize:
                    self._cache[tag] = data
        return Shown(data, tag)

    def pixels(self, name: str, *, image_size: tuple[int, int]) -> NDArray[np.uint8]:
        """An image as the network sees it, uint8 `[H, W, 3]`.

        Raises:
            ImageMissingError: As `show`.
        """
        try:
            return read_image(self.path(name), image_size=image_size)
        except ImageMissingError:
            raise
        except ValueError as error:
            raise ImageMissingError(f"The image {name} cannot be read: {error}.") from error

    def _encode(self, name: str, longest: int) -> bytes:
        try:
            image = open_rgb(self.path(name))
        except ImageMissingError:
            raise
        except ValueError as error:
            raise ImageMissingError(f"The image {name} cannot be read: {error}.") from error
        return encode_jpeg(image, longest=longest)


def encode_jpeg(image: Image.Image, *, longest: int) -> bytes:
    """An RGB image as a JPEG without metadata, shrunk so that no side is longer than that."""
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, exif=b"", icc_profile=None)
    return buffer.getvalue()
