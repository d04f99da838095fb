"""Which images a run learns from, in brief: kept in checkpoints, compared when a run resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import checksum


@dataclasses.dataclass(frozen=True)
class Person:
    """The training images of one person.

    Attributes:
        images: How many there are.
        files: CRC-32 of each image's name, camera and size in bytes, in their order.
        part_labels: CRC-32 of the size of each image's part map, or of there being none.
        contents: CRC-32 of what is in the images, and of what is in their part maps; None before
            they are prepared, or where an older version prepared them.
    """

    images: int
    files: int
    part_labels: int
    contents: tuple[int, int] | None = None

    def to_json(self) -> list[int]:
        """What a checkpoint holds."""
        return [self.images, self.files, self.part_labels, *(self.contents or ())]

    @classmethod
    def from_json(cls, numbers: Sequence[int]) -> Person:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: It is not that.
        """
        if len(numbers) not in (3, 5):
            raise ValueError(f"a person has {len(numbers)} numbers")
        images, files, part_labels, *contents = map(int, numbers)
        return cls(images, files, part_labels, (contents[0], contents[1]) if contents else None)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The training images by person, in the order of the classifiers.

    The names of people decide, not their numbers: numbers follow from the alphabetical order of
    the names, so that they shift when one person is renamed.
    """

    people: Mapping[str, Person]

    @property
    def identities(self) -> tuple[str, ...]:
        """Name of each person, `dataset/name`, in the order of the classifiers."""
        return tuple(self.people)

    def to_json(self) -> dict[str, list[int]]:
        """What a checkpoint holds: images and checksums, by person."""
        return {name: person.to_json() for name, person in self.people.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[int]]) -> Manifest:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: It is not that.
        """
        return cls({str(name): Person.from_json(numbers) for name, numbers in value.items()})


def titles_of(names: Sequence[str]) -> list[str]:
    """What datasets of these names are called: numbered where several have the same."""
    titles: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in titles:
            candidate, number = f"{name}_{number}", number + 1
        titles.append(candidate)
    return titles


def list_people(
    titles: Sequence[str],
    datasets: Sequence[ReidDataset],
    checksums: Sequence[np.ndarray | None] | None = None,
) -> Manifest:
    """Makes the manifest of training sets that are learned from together.

    Args:
        titles: A name for each dataset, all different.
        datasets: What their readers found, with the part maps that are going to be used.
        checksums: Those of each dataset's training images and part maps, uint32 `[n, 2]`, where
            they are known.

    Raises:
        DataError: A file cannot be looked at.
    """
    people: dict[str, Person] = {}
    known = checksums or [None] * len(datasets)
    for title, dataset, contents in zip(titles, datasets, known, strict=True):
        by_number: dict[int, list[int]] = {}
        for place, sample in enumerate(dataset.train):
            by_number.setdefault(sample.identity, []).append(place)
        for number, places in sorted(by_number.items()):
            samples = [dataset.train[place] for place in places]
            people[f"{title}/{dataset.name_of(number)}"] = Person(
                len(samples),
                checksum("".join(_file(sample, dataset) for sample in samples).encode()),
                checksum("".join(_parts(sample) for sample in samples).encode()),
                None if contents is None else _contents(contents[places]),
            )
    return Manifest(people)


def _contents(checksums: np.ndarray) -> tuple[int, int]:
    images, part_maps = checksums.astype("<u4").T
    return checksum(images.tobytes()), checksum(part_maps.tobytes())


def _file(sample: Sample, dataset: ReidDataset) -> str:
    try:
        name = sample.path.relative_to(dataset.root).as_posix()
    except ValueError:
        name = str(sample.path)
    spelled = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return f"{spelled}\0{sample.camera}\0{_size(sample)}\n"


def _size(sample: Sample) -> int:
    try:
        return sample.path.stat().st_size
    except OSError as error:
        raise DataError(f"{sample.path} cannot be read: {error.strerror}.") from error


def _parts(sample: Sample) -> str:
    if sample.part_map is None:
        return "-\n"
    try:
        return f"{sample.part_map.stat().st_size}\n"
    except OSError as error:
        raise DataError(f"{sample.part_map} cannot be read: {error.strerror}.") from error


@dataclasses.dataclass(frozen=True)
class Changes:
    """How the training images of now differ from those that a checkpoint learned from.

    Attributes:
        people: Who is new or gone, or that the order differs; a run cannot resume.
        images: Whose images differ; a run could resume, with other batches.
    """

    people: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


def compare_people(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Says how two orders of classifiers differ, in a few words each; nothing if they are alike."""
    if tuple(before) == tuple(after):
        return ()
    old, new = set(before), set(after)
    found = [f"{name} is gone" for name in before if name not in new]
    found += [f"{name} is new" for name in after if name not in old]
    return tuple(found) or ("the same people stand in another order",)


def compare(before: Manifest, after: Manifest, *, part_labels: bool = True) -> Changes:
    """Compares what a checkpoint learned from with what is there now.

    Args:
        before: The checkpoint's.
        after: What is there now.
        part_labels: Whether the part labels are known already, and compared too.
    """
    before = _renamed(before, after)
    people = compare_people(before.identities, after.identities)
    return Changes(people, tuple(_image_changes(before, after, part_labels=part_labels)))


def _renamed(before: Manifest, after: Manifest) -> Manifest:
    """The manifest with the names that its datasets have now: data may have been moved."""
    old, new = (
        list(dict.fromkeys(name.split("/")[0] for name in m.people)) for m in (before, after)
    )
    if len(old) != len(new) or set(old) == set(new):
        return before
    titles = dict(zip(old, new, strict=True))
    if any(title in new and title != now for title, now in titles.items()):
        return before
    return Manifest(
        {
            f"{titles[title]}/{person}": images
            for (title, _, person), images in (
                (name.partition("/"), images) for name, images in before.people.items()
            )
        }
    )


def _image_changes(before: Manifest, after: Manifest, *, part_labels: bool) -> Iterator[str]:
    for name, old in before.people.items():
        new = after.people.get(name)
        if new is None:
            continue
        # What is in the files tells more than their sizes, where it is known of both.
        known = old.contents is not None and new.contents is not None
        (old_images, old_parts) = (old.contents if known else None) or (0, old.part_labels)
        (new_images, new_parts) = (new.contents if known else None) or (0, new.part_labels)
        if new.images != old.images:
            yield f"{name} has {new.images} images instead of {old.images}"
        elif new.files != old.files or new_images != old_images:
            yield f"{name} has other images or cameras"
        elif part_labels and new_parts != old_parts:
            yield f"{name} has other part labels"
