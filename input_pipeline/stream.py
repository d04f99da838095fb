"""Batches decoded on the fly by tf.data, for splits that are not kept on the devices."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.batch import Batch
from input_pipeline.decode import decode_image, decode_parts, nearest_indices
from input_pipeline.errors import DataError
from input_pipeline.prepared import EncodedSample, PreparedSplit

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
    with ThreadPoolExecutor(workers) as pool:
        shrinker = _Shrinker(pool, image_size=image_size, parts=parts)

        def read() -> Iterator[tuple[np.ndarray, list[bytes], list[bytes], list[bool]]]:
            # tf.data would turn an exception into text.
            try:
                for ids in _equally_long(itertools.chain([first], batches), len(first)):
                    pieces = shrinker.shrink(split.read(ids))
                    yield (
                        ids,
                        [piece.image for piece in pieces],
                        [piece.part_map for piece in pieces],
                        [piece.decoded for piece in pieces],
                    )
            except Exception as error:
                failures.append(error)

        kinds = (tf.int64, tf.string, tf.string, tf.bool)
        dataset = (
            tf.data.Dataset.from_generator(
                read, output_signature=tuple(tf.TensorSpec([None], kind) for kind in kinds)
            )
            .prefetch(1)  # so that Pillow's threads go on while TensorFlow's work
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
        options.autotune.enabled = False  # its thread takes half a second to end
        options.threading.private_threadpool_size = workers
        options.threading.max_intra_op_parallelism = 1
        try:
            for ids, images, maps in dataset.with_options(options).as_numpy_iterator():
                yield Batch(images=images, parts=maps if parts else None, ids=ids)
        except tf.errors.InvalidArgumentError as error:
            raise _damaged(str(error).splitlines()[0]) from error
    if failures:
        raise failures[0]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A picture and its part map, as bytes that are encoded, or pixels if `decoded`."""

    image: bytes
    part_map: bytes
    decoded: bool = False


@dataclasses.dataclass(frozen=True)
class _Shrinker:
    """Decodes and resizes what has to shrink with Pillow.

    TensorFlow's antialiased resizing gives the same numbers in twice the time, and Pillow called
    by TensorFlow waits for Python's lock more than it works.
    """

    pool: Executor
    image_size: tuple[int, int]
    parts: bool

    def shrink(self, samples: Sequence[EncodedSample]) -> list[_Piece]:
        """The samples, decoded where they have to shrink in height or in width."""
        pieces = [_Piece(sample.image, sample.part_map or b"") for sample in samples]
        large = [place for place, piece in enumerate(pieces) if self._shrinks(piece.image)]
        smaller = self.pool.map(self._decode, [pieces[place] for place in large])
        for place, piece in zip(large, smaller, strict=True):
            pieces[place] = piece
        return pieces

    def _shrinks(self, data: bytes) -> bool:
        try:
            with Image.open(io.BytesIO(data)) as image:  # reads no more than the header
                return image.height > self.image_size[0] or image.width > self.image_size[1]
        except OSError as error:
            raise _damaged(str(error)) from error

    def _decode(self, piece: _Piece) -> _Piece:
        try:
            image = decode_image(piece.image, image_size=self.image_size).tobytes()
            if not self.parts:
                return _Piece(image, b"", decoded=True)
            part_map = decode_parts(piece.part_map, image_size=self.image_size)
        except (OSError, SyntaxError) as error:  # which Pillow raises for a bad PNG
            raise _damaged(str(error)) from error
        return _Piece(image, part_map.tobytes(), decoded=True)


def _damaged(reason: str) -> DataError:
    return DataError(
        "a prepared picture cannot be decoded: delete the prepared dataset so that it is made "
        f"again ({reason})"
    )


def _decoder(tf: Any, *, image_size: tuple[int, int], parts: bool) -> Callable[..., Any]:
    """A graph function (id, picture, part map, decoded) → (id, `[H, W, 3]`, `[H, W]`), uint8."""
    height, width = image_size

    def pixels(data: Any, *shape: int) -> Any:
        return tf.reshape(tf.io.decode_raw(data, tf.uint8), shape)

    def grow(image: Any) -> Any:
        resized = tf.image.resize(tf.cast(image, tf.float32), image_size)
        return tf.cast(tf.round(resized), tf.uint8)

    def decode_small(data: Any) -> Any:
        # The default method of the inverse cosine transform is not the one that Pillow uses.
        image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        same = tf.reduce_all(tf.shape(image)[:2] == image_size)
        return tf.cond(same, lambda: image, lambda: grow(image))

    def decode_small_parts(data: Any) -> Any:
        classes = tf.io.decode_png(data, channels=1)[..., 0]
        size = tf.shape(classes)
        rows = nearest_indices(size[0], height, tf.range(height))
        columns = nearest_indices(size[1], width, tf.range(width))
        return tf.gather(tf.gather(classes, columns, axis=1), rows)

    def decode(number: Any, image: Any, part_map: Any, decoded: Any) -> Any:
        picture = tf.cond(
            decoded, lambda: pixels(image, height, width, 3), lambda: decode_small(image)
        )
        picture = tf.ensure_shape(picture, (height, width, 3))
        if not parts:
            return number, picture, tf.zeros((0,), tf.uint8)
        classes = tf.cond(
            decoded, lambda: pixels(part_map, height, width), lambda: decode_small_parts(part_map)
        )
        return number, picture, tf.ensure_shape(classes, (height, width))

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
