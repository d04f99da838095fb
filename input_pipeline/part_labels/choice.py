"""What a training run does about part labels: one setting, decided here."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import user_path
from input_pipeline.part_labels.bands import with_bands
from input_pipeline.part_labels.conversion import Conversion, convert
from input_pipeline.part_labels.formats import FORMATS, find_format
from input_pipeline.part_labels.label_maps import find_labels


def choose_part_labels(
    dataset: ReidDataset, choice: str, *, data_dir: pathlib.Path, progress: bool = True
) -> ReidDataset:
    """The dataset with the part maps that the setting `data.part_labels` asks for.

    Args:
        dataset: Any reader's output.
        choice: One of
            `required`: the labels that were found beside the dataset; stops where a training
            image has none;
            `none`: no part maps, for evaluation and for models without part losses;
            `bands`: fixed body bands as a stand-in, with a warning;
            a folder: label maps of ours, PNG or NumPy, in folders that mirror the dataset's;
            `format:folder`: label maps of another parser, converted.
        data_dir: Folder of prepared datasets; converted part maps are kept in `part_labels` in it.
        progress: Whether to show progress bars.

    Raises:
        DataError: Labels are missing or cannot be converted, or the choice is none of these.
        UserError: A path begins with `~` and the name of nobody.
    """
    cache = user_path(data_dir) / "part_labels"
    if choice == "none":
        return without_part_maps(dataset)
    if choice == "bands":
        return with_bands(dataset, cache_dir=cache / "bands")
    if choice != "required":
        name, colon, folder = choice.partition(":")
        if not colon or (name not in FORMATS and pathlib.Path(choice).exists()):
            name, folder = "parts", choice
        find_format(name)
        tree = user_path(folder)
        if not tree.is_dir():
            raise DataError(
                f"{folder!r} is not a folder of part labels: part labels are required, bands, "
                "none, a folder or format:folder"
            )
        dataset = attach(dataset, tree, format_name=name, cache_dir=cache, progress=progress)
        return require_part_maps(dataset, searched=tree)
    original = _segmentation_tree(dataset.root)
    if original is not None and any(sample.part_map is None for sample in dataset.train):
        dataset = attach(dataset, original, cache_dir=cache, keep=True, progress=progress)
    return require_part_maps(dataset)


def attach(
    dataset: ReidDataset,
    tree: pathlib.Path,
    *,
    format_name: str = "parts",
    cache_dir: pathlib.Path,
    keep: bool = False,
    progress: bool = True,
) -> ReidDataset:
    """Gives every image its part map from a tree that mirrors the dataset, converted as needed.

    Args:
        dataset: Any reader's output.
        tree: Folder of label maps.
        format_name: A name of `FORMATS`; PNG maps of `parts` are used in place.
        cache_dir: Where converted maps are kept for the next time.
        keep: Whether images that have a part map keep it; otherwise it is replaced.
        progress: Whether to show a progress bar.

    Returns:
        The dataset; images without a label map have None.

    Raises:
        DataError: The format is unknown; a `FilesError` names maps that cannot be converted.
    """
    label_format = find_format(format_name)
    digest = hashlib.sha256(str(tree.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    target = cache_dir / f"{dataset.name}-{format_name}-{digest[:8]}"
    conversions: list[Conversion] = []

    def attached(sample: Sample) -> Sample:
        if keep and sample.part_map is not None:
            return sample
        relative = sample.path.relative_to(dataset.root)
        source = find_labels(tree, relative)
        if source is None or (format_name == "parts" and source.suffix.lower() == ".png"):
            return dataclasses.replace(sample, part_map=source)
        conversion = Conversion(source, target / relative.with_name(f"{relative.name}.png"))
        conversions.append(conversion)
        return dataclasses.replace(sample, part_map=conversion.target)

    labeled = _with_samples(dataset, attached)
    convert(conversions, folder=target, label_format=label_format, progress=progress)
    return labeled


def without_part_maps(dataset: ReidDataset) -> ReidDataset:
    """The dataset without any part map."""
    return _with_samples(dataset, lambda sample: dataclasses.replace(sample, part_map=None))


def require_part_maps(dataset: ReidDataset, *, searched: pathlib.Path | None = None) -> ReidDataset:
    """The dataset itself, if every training image has a part map.

    Args:
        dataset: Any reader's output.
        searched: The folder that was searched, for the message.

    Raises:
        DataError: A training image has no part map; the message says what the choices are.
    """
    missing = [sample.path for sample in dataset.train if sample.part_map is None]
    if not missing:
        return dataset
    root = dataset.root.absolute()
    tree = root.with_name(f"{root.name}_ps_label")
    raise DataError(
        f"{len(missing)} of {len(dataset.train)} training images of {dataset.name} have no part "
        f"labels: the first is {missing[0].relative_to(dataset.root)}, searched "
        f"{searched or f'{tree} and segmentation'}. Put part maps into {tree}, or set part labels "
        "to 'bands' (fixed body bands, a stand-in) or 'none' (evaluation, or networks without "
        "part losses)"
    )


def _with_samples(dataset: ReidDataset, change: Callable[[Sample], Sample]) -> ReidDataset:
    return dataclasses.replace(
        dataset,
        train=tuple(map(change, dataset.train)),
        query=tuple(map(change, dataset.query)),
        gallery=tuple(map(change, dataset.gallery)),
    )


def _segmentation_tree(root: pathlib.Path) -> pathlib.Path | None:
    """The folder `segmentation` of the original code, in the dataset or beside it, or None."""
    candidates = (root / "segmentation", root.absolute().parent / "segmentation")
    return next((tree for tree in candidates if tree.is_dir()), None)
