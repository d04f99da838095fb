"""The datasets that can be read, and the one-line specs that name them.

A spec is `name[:variant][@folder]`: `market1501`, `cuhk03:labeled`, `folders@shop cameras`.
Several specs are joined by commas. A reader is one module of this package whose name does not
begin with an underscore and which has `read(root, *, variant='')`; adding one is adding a file.
It may have a `NOTICE` for everyone who uses the dataset.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pathlib
import pkgutil
from collections.abc import Sequence

from input_pipeline.errors import DataError
from input_pipeline.samples import ReidDataset


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


def available() -> tuple[str, ...]:
    """Names of all readers, in alphabetical order."""
    modules = pkgutil.iter_modules(__path__)
    return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))


def parse_spec(text: str) -> DatasetSpec:
    """Takes `name[:variant][@folder]` apart.

    Raises:
        DataError: No reader has this name; the message suggests the nearest names.
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
    if at and not folder:
        raise DataError(f"the dataset {text.strip()!r} ends in '@': name a folder after it")
    return DatasetSpec(name, variant, folder or None)


def notice(spec: str) -> str:
    """What everyone who uses this dataset should know, such as its withdrawal; mostly ''.

    Raises:
        DataError: No reader has this name.
    """
    reader = importlib.import_module(f"{__name__}.{parse_spec(spec).name}")
    return str(getattr(reader, "NOTICE", ""))


def split_specs(specs: str | Sequence[str]) -> list[str]:
    """The single specs of `specs`, which are joined by commas or already apart.

    Raises:
        DataError: There is none.
    """
    texts = specs.split(",") if isinstance(specs, str) else specs
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise DataError(f"no dataset is named: give one or more of {', '.join(available())}")
    return texts


def read_dataset(spec: str, root: pathlib.Path | str) -> ReidDataset:
    """Reads one dataset.

    Args:
        spec: `name[:variant][@folder]`.
        root: The folder that holds the dataset, or that is the dataset; a folder in the spec is
            relative to it.

    Raises:
        DataError: The spec, the folder or its files cannot be used.
    """
    parsed = parse_spec(spec)
    folder = pathlib.Path(root).expanduser()
    if parsed.folder is not None:
        folder = folder / pathlib.Path(parsed.folder).expanduser()
    reader = importlib.import_module(f"{__name__}.{parsed.name}")
    dataset: ReidDataset = reader.read(folder, variant=parsed.variant)
    return dataset


def read_datasets(specs: str | Sequence[str], root: pathlib.Path | str) -> tuple[ReidDataset, ...]:
    """Reads several datasets and gives each a name that no other has.

    Args:
        specs: Specs joined by commas, or a sequence of them (for folders with commas in them).
        root: As for `read_dataset`.

    Raises:
        DataError: A dataset cannot be read, is named twice, or none is named.
    """
    datasets: list[ReidDataset] = []
    for text in split_specs(specs):
        dataset = read_dataset(text, root)
        if any(d.name == dataset.name and d.root == dataset.root for d in datasets):
            raise DataError(f"the dataset {text!r} is named twice: name it once")
        taken = {other.name for other in datasets}
        name, number = dataset.name, 2
        while name in taken:
            name, number = f"{dataset.name}_{number}", number + 1
        datasets.append(dataclasses.replace(dataset, name=name))
    return tuple(datasets)
