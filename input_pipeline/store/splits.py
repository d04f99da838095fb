"""Prepared splits: every image in a few files, with random access by number; written once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.dataset import NUM_PARTS, SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import only_one
from input_pipeline.identities.spelling import LARGEST
from input_pipeline.identities.unknown import UNKNOWN_CAMERA, UNKNOWN_TRACKLET
from input_pipeline.images.codec import Proven, relative_name
from input_pipeline.store.folders import cause_of, damaged, folder_name, tell_other_versions

# --- Records --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EncodedSample:
    """An image and its part map as stored.

    Attributes:
        image: 8-bit RGB, JPEG or PNG.
        part_map: 8-bit single-channel PNG of part classes, as large as the image, or None.
    """

    image: bytes
    part_map: bytes | None


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Random access to the records in one folder.

    Attributes:
        folder: Where they are.
        source: A data source of TFDS whose records have `image` and `part_map`.
    """

    folder: pathlib.Path
    source: Any = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, positions: Sequence[int]) -> list[EncodedSample]:
        """The records at `positions`.

        Raises:
            DataError: They cannot be read; it names the folder.
        """
        try:
            records = self.source.__getitems__(list(positions))
        except Exception as error:  # whatever the reader of the file format raises
            raise damaged(self.folder, error) from error
        return [EncodedSample(record["image"], record["part_map"] or None) for record in records]


# --- Prepared datasets ----------------------------------------------------------------------------

_FORMAT = 2
"""Raised whenever the same files would be prepared in another way; older ones are made again."""
PIECE = 20_000  # images that are written, or lost by an interruption, together


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedSplit:
    """One split, ready to be read by image number. Safe to read from many threads.

    Attributes:
        identities: int32 `[n]`.
        cameras: int32 `[n]`.
        names: Path of every image relative to the root of its dataset, `[n]`.
        num_parts: Number of classes that each image's part map takes (its largest one plus 1),
            int32 `[n]`; 0 where there is no part map.
        sources: Records that hold the images one after the other.
        checksums: CRC-32 of each encoded image and part map, uint32 `[n, 2]`; None if an older
            version prepared them.
        tracklets: What the images of a tracklet have in common, str `[n]`, empty where it is not
            known; None if it is of no image.
    """

    identities: np.ndarray
    cameras: np.ndarray
    names: tuple[str, ...]
    num_parts: np.ndarray
    sources: tuple[Records | Chosen, ...] = dataclasses.field(repr=False)
    checksums: np.ndarray | None = None
    tracklets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labeled(self) -> np.ndarray:
        """Whether each image has a part map, bool `[n]`."""
        return self.num_parts > 0

    def read(self, ids: Sequence[int] | np.ndarray) -> list[EncodedSample]:
        """The encoded images and part maps of `ids` (positions in the split, any order).

        Raises:
            DataError: A file of the prepared split is damaged or was deleted.
        """
        wanted = np.asarray(ids, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"ids must be 0 to {len(self) - 1}, got {wanted.min()}…{wanted.max()}")
        ends = np.cumsum([len(source) for source in self.sources])
        owners = np.searchsorted(ends, wanted, side="right")
        found: list[EncodedSample | None] = [None] * len(wanted)
        for owner in np.unique(owners):
            source = self.sources[owner]
            places = np.flatnonzero(owners == owner)
            local = wanted[places] - (ends[owner] - len(source))
            for place, sample in zip(places, source.read(local.tolist()), strict=True):
                found[place] = sample
        return [sample for sample in found if sample is not None]

    def take(self, ids: Sequence[int] | np.ndarray) -> PreparedSplit:
        """Some of the images as a split of their own, in the order of `ids`."""
        places = np.asarray(ids, np.int64)
        return PreparedSplit(
            identities=self.identities[places],
            cameras=self.cameras[places],
            names=tuple(self.names[place] for place in places.tolist()),
            num_parts=self.num_parts[places],
            sources=(Chosen(self, places),),
            checksums=None if self.checksums is None else self.checksums[places],
            tracklets=None if self.tracklets is None else self.tracklets[places],
        )

    def require_parts(self, *, num_parts: int | None = None, gaps: bool = False) -> None:
        """Refuses a split that cannot be trained on with part labels.

        Args:
            num_parts: Number of part classes of the network; None leaves the classes unchecked.
            gaps: Whether images may have no part map.

        Raises:
            DataError: An image has no part map, or one with a class of `num_parts` or more.
        """
        missing = np.flatnonzero(~self.labeled)
        if len(missing) and not gaps:
            raise DataError(
                f"{len(missing)} of {len(self)} images have no part map (the first is "
                f"{self.names[missing[0]]}): add part labels or train without the part branches"
            )
        if num_parts is not None and len(self) and self.num_parts.max() > num_parts:
            worst = int(self.num_parts.argmax())
            raise DataError(
                f"part maps have classes up to {self.num_parts[worst] - 1} (that of "
                f"{self.names[worst]}) but the network has {num_parts} parts, 0 to "
                f"{num_parts - 1}: set model.num_parts={self.num_parts[worst]}, or use part maps "
                "with fewer classes"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """Some of a split's images.

    Attributes:
        split: The split.
        places: Which, int64 `[n]`.
    """

    split: PreparedSplit
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def read(self, positions: Sequence[int]) -> list[EncodedSample]:
        """The records at `positions` among those that were chosen."""
        return self.split.read(self.places[list(positions)])


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedDataset:
    """The prepared splits of a dataset; one without images has length 0.

    `by_tracklet` is that of `ReidDataset`.
    """

    name: str
    train: PreparedSplit
    query: PreparedSplit
    gallery: PreparedSplit
    by_tracklet: bool = False


def check_numbers(dataset: ReidDataset) -> None:
    """Refuses identities and cameras that cannot be stored, before any file is looked at.

    Raises:
        DataError: It names the first image of such a number.
    """
    for split in SPLITS:
        for sample in getattr(dataset, split):
            camera = 0 if sample.camera == UNKNOWN_CAMERA else sample.camera
            if not 0 <= sample.identity <= LARGEST or not 0 <= camera <= LARGEST:
                raise DataError(
                    f"{sample.path} has identity {sample.identity} and camera {sample.camera}: "
                    f"both must be 0 to {LARGEST}, or the camera {UNKNOWN_CAMERA} if unknown"
                )


def is_prepared(dataset: ReidDataset, *, data_dir: str | os.PathLike[str]) -> bool:
    """Whether `prepare` would only open what is prepared already."""
    from input_pipeline.store.builder import ReidSplit

    try:
        return all(
            ReidSplit.is_in(piece.folder)
            for split in SPLITS
            for piece in _pieces(dataset, split, data_dir=data_dir)
        )
    except (DataError, OSError):  # Something is not there or cannot be read.
        return False


def prepare(
    dataset: ReidDataset,
    *,
    data_dir: str | os.PathLike[str],
    num_parts: int = NUM_PARTS,
    proven: Mapping[pathlib.Path, Proven] | None = None,
    progress: bool = True,
) -> PreparedDataset:
    """Prepares what is not yet prepared, and opens the dataset.

    A split is written again only when a source file's name, size, time of change, identity or
    camera differs from what was prepared; other versions are kept, since another run may use them.
    Splits are written in pieces, and an interrupted call continues with the first piece that is not
    finished. Several processes may call this at once: one works, the others wait for it.

    Args:
        dataset: Any reader's output.
        data_dir: Folder of all prepared datasets, created when missing.
        num_parts: Number of classes that part maps may have where they are not prepared yet;
            `PreparedSplit.require_parts` compares with a network's.
        proven: What a scan found of files when it decoded them; they are not decoded again.
        progress: Whether to show progress bars.

    Returns:
        The dataset, its images in the order of the reader.

    Raises:
        DataError: If images or part maps are unusable, what was prepared is damaged, or
            `data_dir` cannot be written.
    """
    check_numbers(dataset)
    splits = {}
    for split in SPLITS:
        pieces = _pieces(dataset, split, data_dir=data_dir)
        written = [
            _write_piece(
                piece, root=dataset.root, num_parts=num_parts, proven=proven, progress=progress
            )
            for piece in pieces
        ]
        folders = [piece.folder for piece in pieces]
        if any(written):
            tell_other_versions(folders[0].parent, split, folders)
        splits[split] = _open(pieces, root=dataset.root)
    return PreparedDataset(dataset.name, **splits, by_tracklet=dataset.by_tracklet)


def tracklet_column(names: Sequence[str]) -> np.ndarray | None:
    """The field `tracklets` of a split, from that of each image."""
    return np.array(names, np.str_) if any(names) else None


def joined_checksums(checksums: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """All checksums, or None where some are not known."""
    known = [values for values in checksums if values is not None]
    return np.concatenate(known) if known and len(known) == len(checksums) else None


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Images of a split that are prepared together, where, and what they are called."""

    samples: Sequence[Sample]
    folder: pathlib.Path
    name: str


def _pieces(dataset: ReidDataset, split: str, *, data_dir: str | os.PathLike[str]) -> list[_Piece]:
    """What this version of a split consists of."""
    folder = pathlib.Path(data_dir).expanduser() / folder_name(dataset.name)
    samples = getattr(dataset, split)
    count = -(-len(samples) // PIECE)
    pieces = []
    for number in range(count):
        part = samples[number * PIECE : (number + 1) * PIECE]
        of_several = f" {number + 1}/{count}" if count > 1 else ""
        place = folder / f"{split}-{_fingerprint(part, root=dataset.root)}"
        pieces.append(_Piece(part, place, f"{dataset.name} {split}{of_several}"))
    return pieces


def _write_piece(
    piece: _Piece,
    *,
    root: pathlib.Path,
    num_parts: int,
    proven: Mapping[pathlib.Path, Proven] | None,
    progress: bool,
) -> bool:
    """Writes images into their folder unless they are there; returns whether it did."""
    from input_pipeline.store.builder import ReidSplit

    folder = piece.folder
    if ReidSplit.is_in(folder):
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / "lock", doing=f"prepares {piece.name}"):
            if ReidSplit.is_in(folder):
                return False
            builder = ReidSplit(
                data_dir=folder,
                name=piece.name,
                root=root,
                samples=piece.samples,
                num_parts=num_parts,
                proven=proven,
                progress=progress,
            )
            builder.write()
    except (OSError, RuntimeError) as error:  # The latter is what array_record makes of the former.
        raise DataError(
            f"cannot write the prepared dataset to {folder}: {cause_of(error)}; choose another "
            "data_dir or free some space"
        ) from error
    return True


def _open(pieces: Sequence[_Piece], *, root: pathlib.Path) -> PreparedSplit:
    """The images that were written into the folders of `pieces`, one after the other."""
    from input_pipeline.store.builder import ReidSplit, known_fields

    num_parts, sources = [np.zeros(0, np.int32)], []
    checksums: list[np.ndarray | None] = [np.zeros((0, 2), np.uint32)]
    for piece in pieces:
        try:
            builder = ReidSplit.open(piece.folder)
            records = Records(piece.folder, builder.source())
            metadata = builder.info.metadata
            # The samples are known, and have to be what was prepared.
            for field, values in known_fields(piece.samples, root=root).items():
                if list(metadata[field]) != values:
                    raise ValueError(f"other {field} were written")
            num_parts.append(np.asarray(metadata["num_parts"]).astype(np.int32))
            checksums.append(_checksums(metadata))
            if not len(records) == len(num_parts[-1]) == len(piece.samples):
                raise ValueError("the number of records is wrong")
        except Exception as error:  # TFDS raises whatever the content of its files leads it to
            raise damaged(piece.folder, error) from error
        records.read([0])  # which opens the file
        sources.append(records)
    samples = [sample for piece in pieces for sample in piece.samples]
    return PreparedSplit(
        identities=np.array([sample.identity for sample in samples], np.int32),
        cameras=np.array([sample.camera for sample in samples], np.int32),
        names=tuple(relative_name(sample.path, root=root) for sample in samples),
        num_parts=np.concatenate(num_parts),
        sources=tuple(sources),
        checksums=joined_checksums(checksums),
        tracklets=tracklet_column([sample.tracklet or UNKNOWN_TRACKLET for sample in samples]),
    )


def _checksums(metadata: Mapping[str, Any]) -> np.ndarray | None:
    if "image_checksums" not in metadata:
        return None
    columns = [metadata["image_checksums"], metadata["part_checksums"]]
    return np.stack([np.asarray(column).astype(np.uint32) for column in columns], axis=1)


def _fingerprint(samples: Sequence[Sample], *, root: pathlib.Path) -> str:
    """A short digest of everything that decides what a prepared split holds."""
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
    for sample in samples:
        digest.update(f"{sample.identity} {sample.camera}\n".encode())
        if sample.tracklet is not None:  # Others keep the digest that they always had.
            digest.update(f"{sample.tracklet}\n".encode("utf-8", "surrogateescape"))
        for path in (sample.path, sample.part_map):
            digest.update(_state(path, root=root) if path is not None else b"-\n")
    return digest.hexdigest()[:16]


def _state(path: pathlib.Path, *, root: pathlib.Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    name = relative_name(path, root=root)
    return f"{name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
