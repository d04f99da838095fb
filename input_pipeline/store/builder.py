"""The TFDS builder of one split, in array_record files. Imports TFDS, so import it where needed.

TensorFlow is neither needed to write such a split nor to read it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import io
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from input_pipeline.dataset import NUM_PARTS, Sample
from input_pipeline.errors import DataError, in_short
from input_pipeline.files import checksum
from input_pipeline.images.codec import (
    EncodedParts,
    Proven,
    check_size,
    encode_image,
    encode_parts,
    relative_name,
)
from input_pipeline.store.folders import check_seal, remove_leftovers, seal

_CHUNK = 256  # images in memory at once
_SHOWN = 10  # bad files named in one message


@dataclasses.dataclass(frozen=True)
class _Example:
    """What is written of an image: its record, and what the metadata say of it."""

    record: dict[str, Any]
    metadata: Mapping[str, int]


class ReidSplit(tfds.core.GeneratorBasedBuilder):
    """Encoded images and part maps of one split, in the order of its samples.

    The metadata of the dataset repeat the names, identities and cameras of all images, and their
    tracklets where one is known, and say how many part classes each takes and what its checksums
    are, so that they are known without reading a record.

    Args:
        data_dir: Folder of this split and this version of its source files.
        name: What the split is called while it is prepared, such as `market1501 train`.
        root: Folder of the dataset; names are relative to it.
        samples: The split, when it is to be written; a split that exists needs none.
        num_parts: Number of classes that part maps may have.
        proven: What is known of files that were decoded before; they need not be again.
        progress: Whether to show a progress bar.
    """

    VERSION = tfds.core.Version("1.0.0")
    SPLIT = "samples"

    def __init__(
        self,
        *,
        data_dir: pathlib.Path,
        name: str = "",
        root: pathlib.Path = pathlib.Path(),
        samples: Sequence[Sample] = (),
        num_parts: int = NUM_PARTS,
        proven: Mapping[pathlib.Path, Proven] | None = None,
        progress: bool = True,
    ) -> None:
        self._folder = data_dir
        self._split_name = name
        self._root = root
        self._samples = samples
        self._num_parts = num_parts
        self._proven = proven or {}
        self._progress = progress
        super().__init__(data_dir=data_dir)

    @classmethod
    def is_in(cls, folder: pathlib.Path) -> bool:
        """Whether a split has been written; TFDS renames its folder when all of it is there."""
        return (folder / cls.name / str(cls.VERSION)).exists()

    @classmethod
    def open(cls, folder: pathlib.Path) -> ReidSplit:
        """A split that has been written.

        Raises:
            ValueError: A file is missing or is not as it was written. TFDS raises anything where
                its own files are damaged.
        """
        check_seal(folder)
        return cls(data_dir=folder)

    def write(self) -> None:
        """Writes the split. Hold a lock on its folder: what a killed process left is removed.

        Raises:
            DataError: If images or part maps are unusable; it names them.
            OSError: If the folder cannot be written.
        """
        remove_leftovers(self._folder)
        tfds.disable_progress_bar()  # its bars do not know how many images there are
        try:
            with (
                tempfile.TemporaryDirectory() as downloads,
                contextlib.redirect_stdout(io.StringIO()),
            ):
                self.download_and_prepare(
                    download_dir=downloads,
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                    file_format="array_record",
                )
        finally:
            tfds.enable_progress_bar()
        seal(self._folder)

    def source(self) -> Any:
        """Random access to the records, with images and part maps still encoded."""
        return self.as_data_source(self.SPLIT, decoders={"image": tfds.decode.SkipDecoding()})

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = {
            **known_fields(self._samples, root=self._root),
            # Known, and put in, when they are encoded.
            "num_parts": [0] * len(self._samples),
            "image_checksums": [0] * len(self._samples),
            "part_checksums": [0] * len(self._samples),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images of people with identity, camera and body-part map.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "part_map": tfds.features.Scalar(np.object_),  # PNG, empty where there is none
                    "name": tfds.features.Text(),
                    "identity": np.int64,
                    "camera": np.int64,
                }
            ),
            metadata=tfds.core.MetadataDict(metadata),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {self.SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        bad: list[str] = []
        with (
            tqdm.tqdm(
                total=len(self._samples),
                desc=f"Preparing {self._split_name}",
                unit="image",
                disable=not self._progress,
            ) as bar,
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        ):
            for start in range(0, len(self._samples), _CHUNK):
                chunk = self._samples[start : start + _CHUNK]
                for offset, example in enumerate(pool.map(self._encode, chunk)):
                    bar.update()
                    if isinstance(example, str):
                        bad.append(example)
                    elif not bad:
                        for field, value in example.metadata.items():
                            self.info.metadata[field][start + offset] = value
                        yield start + offset, example.record
        if bad:
            raise DataError(
                f"{len(bad)} unusable files in {self._split_name}, replace or remove them: "
                + in_short(bad, most=_SHOWN)
            )

    def _encode(self, sample: Sample) -> _Example | str:
        """The record of a sample, or what is wrong with it."""
        culprit = sample.path
        try:
            image = encode_image(sample.path, proven=self._proven.get(sample.path))
            check_size(image.size)
            parts = EncodedParts(b"", 0)
            if sample.part_map is not None:
                culprit = sample.part_map
                parts = encode_parts(
                    sample.part_map,
                    size=image.size,
                    num_parts=self._num_parts,
                    proven=self._proven.get(sample.part_map),
                )
        except ValueError as error:
            return f"{culprit}: {error}"
        record = {
            "image": io.BytesIO(image.data),
            "part_map": parts.data,
            "name": relative_name(sample.path, root=self._root),
            "identity": sample.identity,
            "camera": sample.camera,
        }
        metadata = {
            "num_parts": parts.num_parts,
            "image_checksums": checksum(image.data),
            "part_checksums": checksum(parts.data),
        }
        return _Example(record, metadata)


def known_fields(samples: Sequence[Sample], *, root: pathlib.Path) -> dict[str, list[Any]]:
    """What metadata repeat of each image; tracklets only where one of any image is known."""
    fields: dict[str, list[Any]] = {
        "names": [relative_name(sample.path, root=root) for sample in samples],
        "identities": [sample.identity for sample in samples],
        "cameras": [sample.camera for sample in samples],
    }
    if any(sample.tracklet for sample in samples):
        fields["tracklets"] = [sample.tracklet or "" for sample in samples]
    return fields
