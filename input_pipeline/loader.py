"""Batches of decoded images: streamed by tf.data, or a whole split decoded once."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from input_pipeline.dataset import NO_MAP
from input_pipeline.errors import DataError
from input_pipeline.images.codec import decode_image, decode_parts, nearest_indices, resize_image
from input_pipeline.images.integrity import open_image
from input_pipeline.store.splits import EncodedSample, PreparedSplit

# What Pillow and the checks around it raise; SyntaxError is for a bad PNG.
_UNDECODABLE = (OSError, SyntaxError, ValueError)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Decoded images of one batch, on the host.

    Attributes:
        images: RGB, uint8 `[N, H, W, 3]`.
        parts: Part class of every pixel, uint8 `[N, H, W]`, or None when not asked for.
        ids: Position of each image in its split, int64 `[N]`.
    """

    images: np.ndarray
    parts: np.ndarray | None
    ids: np.ndarray


# --- A whole split decoded once -------------------------------------------------------------------


_CHUNK = 64  # images that one task reads and decodes


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedSplit:
    """Every image of a split at one size, on the host.

    Attributes:
        images: RGB, uint8 `[n, H, W, 3]`.
        parts: Part class of every pixel, uint8 `[n, H, W]`, or None when not asked for.
    """

    images: np.ndarray
    parts: np.ndarray | None


def decode_split(
    split: PreparedSplit,
    *,
    image_size: tuple[int, int],
    parts: bool = True,
    gaps: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> DecodedSplit:
    """Decodes and resizes all images of a split.

    Args:
        split: The prepared split.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        gaps: Whether images may have no part map; theirs is `NO_MAP` everywhere.
        workers: Number of threads; None is one per processor.
        progress: Whether to show a progress bar.

    Returns:
        The images in the order of the split, and their part maps.

    Raises:
        DataError: If part maps are asked for and an image has none.
    """
    if parts and not gaps:
        split.require_parts()
    images = np.empty((len(split), *image_size, 3), np.uint8)
    maps = np.empty((len(split), *image_size), np.uint8) if parts else None

    def decode(start: int) -> int:
        ids = range(start, min(start + _CHUNK, len(split)))
        for i, sample in zip(ids, split.read(ids), strict=True):
            try:
                images[i] = decode_image(sample.image, image_size=image_size)
                if maps is not None:
                    maps[i] = _decode_map(sample.part_map, image_size=image_size)
            except _UNDECODABLE as error:
                raise undecodable(error) from error
        return len(ids)

    with (
        tqdm.tqdm(total=len(split), desc="Decoding", unit="image", disable=not progress) as bar,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        tasks = [pool.submit(decode, start) for start in range(0, len(split), _CHUNK)]
        try:
            for task in concurrent.futures.as_completed(tasks):
                bar.update(task.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return DecodedSplit(images, maps)


# --- Streaming ------------------------------------------------------------------------------------


_PREFETCHED = 2  # batches that wait ready for the devices


def stream(
    split: PreparedSplit,
    batches: Iterator[np.ndarray],
    *,
    image_size: tuple[int, int],
    parts: bool = True,
    gaps: bool = False,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Reads, decodes and resizes batches in the background, in the order of `batches`.

    Images are resized as by Pillow's bilinear filter, which is antialiased when it shrinks; one
    that grows may differ from Pillow's by one gray level. Part maps are resized by true nearest
    neighbor and are equal to those of `input_pipeline.loader`.

    Args:
        split: The prepared split.
        batches: Ids of each batch, `[N]`; may be endless. All but the last have the same length.
            It is read a few batches ahead, in another thread.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        gaps: Whether images may have no part map; theirs is `NO_MAP` everywhere.
        workers: Number of decoding threads; None is one per processor.

    Returns:
        An iterator over the batches; its arrays are read-only.

    Raises:
        DataError: If TensorFlow is not installed, or part maps are asked for and an image has
            none, at once; if a record cannot be decoded, when its turn comes.
    """
    tensorflow = _import_tensorflow()
    if parts and not gaps:
        split.require_parts()
    return _batches(
        tensorflow,
        split,
        batches,
        image_size=image_size,
        parts=parts,
        workers=workers or os.cpu_count() or 1,
    )


def _batches(
    tf: Any,
    split: PreparedSplit,
    batches: Iterator[np.ndarray],
    *,
    image_size: tuple[int, int],
    parts: bool,
    workers: int,
) -> Iterator[Batch]:
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    started: collections.deque[tuple[np.ndarray, ShrinkingImages]] = collections.deque()
    failures: list[Exception] = []
    nothing = EncodedSample(b"", None)
    pool = ThreadPoolExecutor(workers)

    def read() -> Iterator[tuple[list[bytes], list[bytes]]]:
        """What TensorFlow decodes of each batch; nothing in the place of an image that shrinks."""
        # tf.data would turn an exception into text.
        try:
            for ids in _equally_long(itertools.chain([first], batches), len(first)):
                samples = split.read(ids)
                shrinking = start_shrinking(samples, image_size=image_size, parts=parts, pool=pool)
                started.append((ids, shrinking))
                left = [
                    nothing if place in shrinking.tasks else sample
                    for place, sample in enumerate(samples)
                ]
                yield [s.image for s in left], [s.part_map or b"" for s in left]
        except Exception as error:
            failures.append(error)

    dataset = _decoded(
        tf, read, image_size=image_size, parts=parts, workers=workers, batch_size=len(first)
    )
    try:
        for images, maps in dataset.as_numpy_iterator():
            ids, shrinking = started.popleft()
            images, maps = shrinking.join(images, maps if parts else None)
            yield Batch(images=images, parts=maps, ids=ids)
    except tf.errors.InvalidArgumentError as error:
        raise undecodable(error) from error
    finally:
        pool.shutdown(cancel_futures=True)
    if failures:
        raise failures[0]


def _decoded(
    tf: Any,
    read: Callable[[], Iterator[tuple[list[bytes], list[bytes]]]],
    *,
    image_size: tuple[int, int],
    parts: bool,
    workers: int,
    batch_size: int,
) -> Any:
    """A dataset of (images, part maps) of each batch that `read` yields."""
    strings = tf.TensorSpec([None], tf.string)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread takes half a second to end
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    return (
        tf.data.Dataset.from_generator(read, output_signature=(strings, strings))
        .prefetch(1)  # so that Pillow's threads have work while TensorFlow's decode
        .unbatch()
        .map(
            _decoder(tf, image_size=image_size, parts=parts),
            num_parallel_calls=workers,
            deterministic=True,
        )
        .batch(batch_size)
        .prefetch(_PREFETCHED)
        .with_options(options)
    )


def _decoder(tf: Any, *, image_size: tuple[int, int], parts: bool) -> Callable[..., Any]:
    """A graph function (image, part map) → (`[H, W, 3]`, `[H, W]`), uint8.

    No image gives zeros, so that each batch has all its places. Without `parts`, a map is `[0]`.
    """
    height, width = image_size
    shapes = ((height, width, 3), (height, width) if parts else (0,))
    nothing = tuple(np.zeros(shape, np.uint8) for shape in shapes)

    def grow(image: Any) -> Any:
        resized = tf.image.resize(tf.cast(image, tf.float32), image_size)
        return tf.cast(tf.round(resized), tf.uint8)

    def image(data: Any) -> Any:
        # The default method of the inverse cosine transform is not the one that Pillow uses.
        decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        same = tf.reduce_all(tf.shape(decoded)[:2] == image_size)
        return tf.cond(same, lambda: decoded, lambda: grow(decoded))

    def part_map(data: Any) -> Any:
        if not parts:
            return nothing[1]
        there = tf.strings.length(data) > 0
        return tf.cond(there, lambda: given(data), lambda: _no_map(image_size))

    def given(data: Any) -> Any:
        classes = tf.io.decode_png(data, channels=1)[..., 0]
        size = tf.shape(classes)
        rows = nearest_indices(size[0], height, tf.range(height))
        columns = nearest_indices(size[1], width, tf.range(width))
        return tf.gather(tf.gather(classes, columns, axis=1), rows)

    def decode(image_data: Any, part_data: Any) -> Any:
        pixels, classes = tf.cond(
            tf.strings.length(image_data) > 0,
            lambda: (image(image_data), part_map(part_data)),
            lambda: nothing,
        )
        return tf.ensure_shape(pixels, nothing[0].shape), tf.ensure_shape(classes, nothing[1].shape)

    return decode


def _decode_map(data: bytes | None, *, image_size: tuple[int, int]) -> np.ndarray:
    """The part classes of an image, or `NO_MAP` everywhere where it has no part map, `[H, W]`."""
    return decode_parts(data, image_size=image_size) if data else _no_map(image_size)


def _no_map(image_size: tuple[int, int]) -> np.ndarray:
    return np.full(image_size, NO_MAP, np.uint8)


def _equally_long(batches: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    last = False
    for ids in batches:
        if last or len(ids) > length:
            raise ValueError(f"only the last batch may differ from the first's length {length}")
        last = len(ids) < length
        yield ids


def _import_tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise DataError(
            "data.placement='stream' needs TensorFlow: pip install tensorflow-cpu, "
            "or use data.placement='device', which does without"
        ) from error
    if tensorflow.config.get_visible_devices("GPU"):
        tensorflow.config.set_visible_devices([], "GPU")  # or it takes the memory from JAX
    return tensorflow


# --- Images that shrink ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class ShrinkingImages:
    """The images of a batch that have to shrink, while threads decode them.

    Attributes:
        images: RGB, uint8 `[N, H, W, 3]`; undefined where no image shrinks.
        parts: Part classes, uint8 `[N, H, W]`, or None when not asked for.
        tasks: What is being decoded, by place in the batch.
    """

    images: np.ndarray
    parts: np.ndarray | None
    tasks: Mapping[int, Future[None]]

    def join(
        self, images: np.ndarray, parts: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Waits for the threads, and takes the images that do not shrink from the arguments.

        Args:
            images: RGB, uint8 `[N, H, W, 3]`; not read if all images shrink.
            parts: Part classes, uint8 `[N, H, W]`, or None when not asked for.

        Returns:
            All images and their part classes, shaped like the attributes and read-only.

        Raises:
            DataError: An image or a part map cannot be decoded.
        """
        if not self.tasks:
            return images, parts
        try:
            for task in self.tasks.values():
                task.result()
        except _UNDECODABLE as error:
            raise undecodable(error) from error
        for place in set(range(len(self.images))) - self.tasks.keys():
            self.images[place] = images[place]
            if self.parts is not None and parts is not None:
                self.parts[place] = parts[place]
        for array in (self.images, self.parts):
            if array is not None:
                array.flags.writeable = False
        return self.images, self.parts


def start_shrinking(
    samples: Sequence[EncodedSample], *, image_size: tuple[int, int], parts: bool, pool: Executor
) -> ShrinkingImages:
    """Lets the threads of `pool` decode what has to shrink in height or in width.

    Args:
        samples: The images of a batch.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        pool: Threads.

    Raises:
        DataError: An image has no header that can be read.
    """
    height, width = image_size
    # Memory that no image is written to is never touched, and so costs nothing.
    images = np.empty((len(samples), height, width, 3), np.uint8)
    maps = np.empty((len(samples), height, width), np.uint8) if parts else None

    def decode(place: int, image: Image.Image, part_map: bytes) -> None:
        with image:
            images[place] = resize_image(image, image_size=image_size)
        if maps is not None:
            maps[place] = _decode_map(part_map, image_size=image_size)

    tasks = {}
    for place, sample in enumerate(samples):
        try:
            image = open_image(sample.image)  # reads no more than the header
        except _UNDECODABLE as error:
            raise undecodable(error) from error
        if image.height > height or image.width > width:
            tasks[place] = pool.submit(decode, place, image, sample.part_map or b"")
    return ShrinkingImages(images, maps, tasks)


def undecodable(error: Exception) -> DataError:
    """The error that says that a prepared image is damaged."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        "a prepared image cannot be decoded: delete the prepared dataset so that it is made "
        f"again ({reason})"
    )
