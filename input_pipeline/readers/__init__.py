"""The datasets that can be read, and the one-line specs that name them.

A spec is `name[:variant][@folder]`: `market1501`, `cuhk03:labeled`, `folders@shop cameras`.
Several specs are joined by commas. A reader is one module of this package whose name does not
begin with an underscore and which has `read(root)`; adding one is adding a file. Where there are
variants, `read` also takes `variant=''`; where reading may take long, `progress=True`; where files
may lie anywhere, `allow_outside=False`. A reader may have a `NOTICE` for everyone who uses the
dataset, and say whose images it has with `PEOPLE`, so that it is not mixed with another dataset of
the same people. One that makes its images says with `default_root()` where, if no root is given.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import itertools
import pathlib
import pkgutil
import warnings
from collections.abc import Sequence
from types import ModuleType

from input_pipeline.dataset import IncompleteDatasetError, ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.files import user_path
from input_pipeline.layouts.listing import plain
from input_pipeline.layouts.protocol import without_junk


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What a spec such as `cuhk03:labeled@/data/cuhk` says.

    Attributes:
        name: The reader's name.
        variant: What to read of the dataset; its meaning is the reader's.
        folder: Where the dataset is, relative to the root that is read from, or None.
    """

    name: str
    variant: str = ""
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class Reading:
    """What came of reading one dataset.

    Attributes:
        spec: As it was given.
        dataset: The dataset, without files that cannot be used; None where there is none to read.
        error: What is wrong, or None.
    """

    spec: str
    dataset: ReidDataset | None
    error: DataError | None = None

    @property
    def people(self) -> str:
        """Who is in it, where that is known: two datasets of the same people are not two."""
        return str(getattr(_module(parse_spec(self.spec)), "PEOPLE", ""))

    def is_of(self, other: Reading) -> bool:
        """Whether both are the same dataset in the same folder."""
        mine, its = self.dataset, other.dataset
        return (
            mine is not None and its is not None and (mine.name, mine.root) == (its.name, its.root)
        )


def available() -> tuple[str, ...]:
    """Names of all readers, in alphabetical order."""
    modules = pkgutil.iter_modules(__path__)
    return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))


def parse_spec(text: str) -> DatasetSpec:
    """Takes `name[:variant][@folder]` apart.

    Raises:
        DataError: No reader has this name; the message suggests the nearest names. Or the folder is
            missing, or written like a variant.
    """
    head, at, folder = text.strip().partition("@")
    name, _, variant = head.partition(":")
    name, variant, folder = name.strip(), variant.strip(), folder.strip()
    if name not in available():
        near = difflib.get_close_matches(name.lower(), available(), n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise DataError(
            f"no dataset is called {name!r}: {hint}(known: {', '.join(available())}; "
            "a spec is name[:variant][@folder])"
        )
    if not at and set(variant) & {"/", "\\"}:
        raise DataError(f"a folder stands after '@', not ':': write {name}@{variant}")
    if at and not folder:
        raise DataError(f"the dataset {text.strip()!r} ends in '@': name a folder after it")
    return DatasetSpec(name, variant, folder or None)


def split_specs(specs: str | Sequence[str]) -> list[str]:
    """The single specs of `specs`, which are joined by commas or already apart.

    Raises:
        DataError: There is none, or one is there twice.
    """
    texts = specs.split(",") if isinstance(specs, str) else specs
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise DataError(f"no dataset is named: give one or more of {', '.join(available())}")
    for text in texts:
        if texts.count(text) > 1:
            raise DataError(f"the dataset {text!r} is named twice: name it once")
    return texts


def needs_root(spec: str) -> bool:
    """Whether a spec names images that have to be found rather than made, and no folder.

    Raises:
        DataError: The spec cannot be understood.
    """
    parsed = parse_spec(spec)
    return parsed.folder is None and not hasattr(_module(parsed), "default_root")


def read_dataset(
    spec: str,
    root: pathlib.Path | str | None,
    *,
    progress: bool = True,
    allow_outside: bool = False,
) -> ReidDataset:
    """Reads one dataset, without junk.

    Warns of what everyone who uses it should know, such as its withdrawal; what was found in this
    copy of it is in its notices.

    Args:
        spec: `name[:variant][@folder]`.
        root: The folder that holds the dataset, or that is the dataset; a folder in the spec is
            relative to it. None is the current folder, and for images that are made and that no
            folder is named for the user's cache.
        progress: Whether to show a progress bar where something is drawn or unpacked first.
        allow_outside: Whether a table may name files outside its folder.

    Raises:
        DataError: The spec, the folder or its files cannot be used.
    """
    parsed = parse_spec(spec)
    reader = _module(parsed)
    if root is None and parsed.folder is None and hasattr(reader, "default_root"):
        root = reader.default_root()
    folder = user_path(root or ".")
    if parsed.folder is not None:
        folder = folder / user_path(parsed.folder)
    takes = inspect.signature(reader.read).parameters
    if parsed.variant and "variant" not in takes:
        raise DataError(f"{parsed.name} has no variant {parsed.variant!r}: leave it out")
    options = {"variant": parsed.variant, "progress": progress, "allow_outside": allow_outside}
    options = {name: value for name, value in options.items() if name in takes}
    try:
        dataset: ReidDataset = reader.read(plain(folder), **options)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{error.filename or folder} cannot be used: {reason}; check its permissions"
        ) from error
    if notice := getattr(reader, "NOTICE", ""):
        warnings.warn(notice, stacklevel=2)
    return without_junk(dataset)


def read_each(
    specs: str | Sequence[str],
    root: pathlib.Path | str | None,
    *,
    progress: bool = True,
    allow_outside: bool = False,
) -> tuple[Reading, ...]:
    """Reads several datasets, the others too where one cannot be read.

    Args:
        specs: Specs joined by commas, or a sequence of them (for folders with commas in them).
        root: As for `read_dataset`.
        progress: As for `read_dataset`.
        allow_outside: As for `read_dataset`.

    Raises:
        DataError: A spec cannot be understood, a dataset is named twice, or none is named.
    """
    texts = split_specs(specs)
    for text in texts:
        parse_spec(text)
    readings: list[Reading] = []
    for text in texts:
        try:
            dataset = read_dataset(text, root, progress=progress, allow_outside=allow_outside)
            reading = Reading(text, dataset)
        except DataError as error:
            rest = error.rest if isinstance(error, IncompleteDatasetError) else None
            reading = Reading(text, rest, error)
        if reading.dataset and any(reading.is_of(other) for other in readings):
            raise DataError(f"the dataset {text!r} is named twice: name it once")
        readings.append(reading)
    return tuple(readings)


def refuse_shared_people(readings: Sequence[Reading]) -> None:
    """Refuses training sets that would teach one person as two.

    Raises:
        DataError: Two sets are known to show the same people, or share an image file, be it by a
            link; both are named.
    """
    for one, other in itertools.combinations(readings, 2):
        both = f"the training sets {one.spec!r} and {other.spec!r}"
        if one.people and one.people == other.people:
            raise DataError(
                f"{both} show the same people of {one.people}, who would be learned as different "
                "ones: train on one of them"
            )
    if len(readings) < 2:
        return
    owners: dict[tuple[int, int], Reading] = {}
    for reading in readings:
        files = _training_files(reading.dataset) if reading.dataset else {}
        for file, name in files.items():
            owner = owners.setdefault(file, reading)
            if owner is not reading:
                raise DataError(
                    f"the training sets {owner.spec!r} and {reading.spec!r} share the image "
                    f"{name}, so that people would be learned as different ones: train on one of "
                    "them, or take the images out of one"
                )


def _training_files(dataset: ReidDataset) -> dict[tuple[int, int], str]:
    """Device and number of each training image's file, and its name in the dataset."""
    files = {}
    for sample in dataset.train:
        try:
            status = sample.path.stat()
        except OSError:  # Who looks at the files reports it.
            continue
        files[status.st_dev, status.st_ino] = str(sample.path.relative_to(dataset.root))
    return files


def _module(spec: DatasetSpec) -> ModuleType:
    return importlib.import_module(f"{__name__}.{spec.name}")
