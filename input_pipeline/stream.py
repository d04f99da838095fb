"""Batches decoded on the fly by tf.data, for splits that are not kept on the devices."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from input_pipeline.batch import Batch
from input_pipeline.decode import nearest_indices
from input_pipeline.errors import DataError
from input_pipeline.prepared import PreparedSplit
from input_pipeline.records import EncodedSample
from input_pipeline.shrinking import ShrinkingPictures, start_shrinking, undecodable

_PREFETCHED = 2  # batches that wait ready for the devices


def stream(
    split: PreparedSplit,
    batches: Iterator[np.ndarray],
    *,
    image_size: tuple[int, int],
    parts: bool = True,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Reads, decodes and resizes batches in the background, in the order of `batches`.

    Pictures are resized as by Pillow's bilinear filter, which is antialiased when it shrinks; one
    that grows may differ from Pillow's by one grey level. Part maps are resized by true nearest
    neighbour and are equal to those of `input_pipeline.resident`.

    Args:
        split: The prepared split.
        batches: Ids of each batch, `[N]`; may be endless. All but the last have the same length.
            It is read a few batches ahead, in another thread.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        workers: Number of decoding threads; None is one per processor.

    Returns:
        An iterator over the batches; its arrays are read-only.

    Raises:
        DataError: If TensorFlow is not installed, or part maps are asked for and a picture has
            none, at once; if a record cannot be decoded, when its turn comes.
    """
    tensorflow = _import_tensorflow()
    if parts:
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
    started: collections.deque[tuple[np.ndarray, ShrinkingPictures]] = collections.deque()
    failures: list[Exception] = []
    nothing = EncodedSample(b"", None)
    pool = ThreadPoolExecutor(workers)

    def read() -> Iterator[tuple[list[bytes], list[bytes]]]:
        """What TensorFlow decodes of each batch; nothing in the place of a picture that shrinks."""
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
    """A graph function (picture, part map) → (`[H, W, 3]`, `[H, W]`), uint8.

    No picture gives zeros, so that each batch has all its places. Without `parts`, a map is `[0]`.
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
        classes = tf.io.decode_png(data, channels=1)[..., 0]
        size = tf.shape(classes)
        rows = nearest_indices(size[0], height, tf.range(height))
        columns = nearest_indices(size[1], width, tf.range(width))
        return tf.gather(tf.gather(classes, columns, axis=1), rows)

    def decode(image_data: Any, part_data: Any) -> Any:
        picture, classes = tf.cond(
            tf.strings.length(image_data) > 0,
            lambda: (image(image_data), part_map(part_data) if parts else nothing[1]),
            lambda: nothing,
        )
        return tf.ensure_shape(picture, nothing[0].shape), tf.ensure_shape(
            classes, nothing[1].shape
        )

    return decode


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
