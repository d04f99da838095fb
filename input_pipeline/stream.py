"""Batches decoded on the fly by tf.data, for splits that are not kept on the devices."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from input_pipeline.batch import Batch
from input_pipeline.decode import nearest_indices, resize_image
from input_pipeline.errors import DataError
from input_pipeline.prepared import PreparedSplit

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
    failures: list[Exception] = []

    def encoded() -> Iterator[tuple[np.ndarray, list[bytes], list[bytes]]]:
        # tf.data would turn an exception into text.
        try:
            for ids in _equally_long(itertools.chain([first], batches), len(first)):
                samples = split.read(ids)
                maps = [sample.part_map or b"" for sample in samples]
                yield ids, [sample.image for sample in samples], maps
        except Exception as error:
            failures.append(error)

    signature = tuple(tf.TensorSpec([None], kind) for kind in (tf.int64, tf.string, tf.string))
    dataset = (
        tf.data.Dataset.from_generator(encoded, output_signature=signature)
        .unbatch()
        .map(
            _decoder(tf, image_size=image_size, parts=parts),
            num_parallel_calls=workers,
            deterministic=True,
        )
        .batch(len(first))
        .prefetch(_PREFETCHED)
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = workers
    options.threading.max_intra_op_parallelism = 1
    try:
        for ids, images, maps in dataset.with_options(options).as_numpy_iterator():
            yield Batch(images=images, parts=maps if parts else None, ids=ids)
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            "a prepared picture cannot be decoded: delete the prepared dataset so that it is "
            f"made again ({str(error).splitlines()[0]})"
        ) from error
    if failures:
        raise failures[0]


def _decoder(tf: Any, *, image_size: tuple[int, int], parts: bool) -> Callable[..., Any]:
    """A graph function (id, picture, part map) → (id, uint8 `[H, W, 3]`, uint8 `[H, W]`)."""
    height, width = image_size

    def shrink(image: Any) -> Any:
        # TensorFlow's antialiased resize gives the same numbers in twice the time.
        def resize(pixels: np.ndarray) -> np.ndarray:
            return resize_image(pixels, image_size=image_size)

        return tf.numpy_function(resize, (image,), tf.uint8, stateful=False)

    def grow(image: Any) -> Any:
        resized = tf.image.resize(tf.cast(image, tf.float32), image_size)
        return tf.cast(tf.round(resized), tf.uint8)

    def decode_image(data: Any) -> Any:
        # The default method of the inverse cosine transform is not the one that Pillow uses.
        image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        size = tf.shape(image)[:2]
        resized = tf.case(
            [
                (tf.reduce_all(size == image_size), lambda: image),
                (tf.reduce_all(size <= image_size), lambda: grow(image)),
            ],
            default=lambda: shrink(image),
        )
        return tf.ensure_shape(resized, (height, width, 3))

    def decode_parts(data: Any) -> Any:
        classes = tf.io.decode_png(data, channels=1)[..., 0]
        size = tf.shape(classes)
        rows = nearest_indices(size[0], height, tf.range(height))
        columns = nearest_indices(size[1], width, tf.range(width))
        classes = tf.gather(tf.gather(classes, columns, axis=1), rows)
        return tf.ensure_shape(classes, (height, width))

    def decode(number: Any, image: Any, part_map: Any) -> Any:
        maps = decode_parts(part_map) if parts else tf.zeros((0,), tf.uint8)
        return number, decode_image(image), maps

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
