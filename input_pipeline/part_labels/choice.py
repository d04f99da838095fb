"""What a training run does about part labels: one setting, decided here."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import user_path
from input_pipeline.images.codec import relative_name
from input_pipeline.part_labels.bands import with_bands
from input_pipeline.part_labels.conversion import Conversion, convert
from input_pipeline.part_labels.formats import FORMATS, find_format
from input_pipeline.part_labels.gaps import accept_gaps, told
from input_pipeline.part_labels.label_maps import find_labels
from input_pipeline.part_labels.label_tree import write_labels
from input_pipeline.part_labels.labelers import PartLabeler
from input_pipeline.part_labels.quality import brief, quality_of, worst_sheet


def choose_part_labels(
    dataset: ReidDataset,
    choice: str,
    *,
    data_dir: pathlib.Path,
    model: str = "",
    without_map: str = "listed",
    progress: bool = True,
) -> ReidDataset:
    """The dataset with the part maps that the setting `data.part_labels` asks for.

    Args:
        dataset: Any reader's output.
        choice: One of
            `required`: the labels that were found beside the dataset; stops where a training
            image has none;
            `none`: no part maps, for evaluation and for models without part losses;
            `bands`: fixed body bands as a stand-in, with a warning;
            `drawn`: labels that the parser of this package makes on first use;
            `pose`: labels that a pose network makes on first use;
            a folder: label maps of ours, PNG or NumPy, in folders that mirror the dataset's;
            `format:folder`: label maps of another parser, converted.
        data_dir: Folder of prepared datasets; converted part maps are kept in `part_labels` in it.
        model: The pose network, see `find_pose_model`.
        without_map: What is done about images without a part map: `listed` accepts those in which
            a labeler found nobody, `keep` and `drop` accept all of them.
        progress: Whether to show progress bars.

    Returns:
        The dataset; training images without a part map have None.

    Raises:
        DataError: Labels are missing or cannot be converted, or the choice is none of these.
        UserError: A path begins with `~` and the name of nobody, or a pose network is missing.
    """
    cache = user_path(data_dir) / "part_labels"
    if choice == "none":
        return without_part_maps(dataset)
    if choice == "bands":
        return with_bands(dataset, cache_dir=cache / "bands")
    if choice == "drawn":
        # Imported here, for it takes jax.
        from input_pipeline.part_labels.drawn import DrawnLabeler

        labeled = label_once(dataset, DrawnLabeler(), cache_dir=cache, progress=progress)
        return told(labeled, without_map=without_map)
    if choice == "pose":
        # Imported here, for it takes an interpreter.
        from input_pipeline.part_labels.pose import PoseLabeler, find_pose_model

        labeler = PoseLabeler(find_pose_model(model))
        labeled = label_once(dataset, labeler, cache_dir=cache, progress=progress)
        return told(labeled, without_map=without_map)
    if choice != "required":
        name, colon, folder = choice.partition(":")
        if not colon or (name not in FORMATS and pathlib.Path(choice).exists()):
            name, folder = "parts", choice
        find_format(name)
        tree = user_path(folder)
        if not tree.is_dir():
            raise DataError(
                f"{folder!r} is not a folder of part labels: part labels are required, drawn, "
                "pose, bands, none, a folder or format:folder"
            )
        dataset = attach(dataset, tree, format_name=name, cache_dir=cache, progress=progress)
        return accept_gaps(dataset, without_map=without_map, searched=tree)
    original = _segmentation_tree(dataset.root)
    if original is not None and any(sample.part_map is None for sample in dataset.train):
        dataset = attach(dataset, original, cache_dir=cache, keep=True, progress=progress)
    return accept_gaps(dataset, without_map=without_map)


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
        source = find_labels(tree, relative, mark=label_format.mark)
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


def label_once(
    dataset: ReidDataset, labeler: PartLabeler, *, cache_dir: pathlib.Path, progress: bool = True
) -> ReidDataset:
    """Gives every training image the part map that a labeler makes of it, or made of it before.

    Kept labels are used again where the same labeler made them of the same files. Images that
    cannot be opened get none; preparation names them.

    Args:
        dataset: Any reader's output.
        labeler: What makes the maps.
        cache_dir: Where trees of part maps are kept, with a sheet of the worst.
        progress: Whether to show a progress bar.

    Returns:
        The dataset; images in which nobody was found have None. A notice says how many, and where
        the sheet is.

    Raises:
        DataError: The maps cannot be written, the labeler fails, or it finds nobody anywhere.
    """
    made_by = {**labeler.made_by, "root": str(dataset.root.resolve())}
    digest = hashlib.sha256(repr(sorted(made_by.items())).encode("utf-8", "surrogateescape"))
    name = f"{dataset.name}-{labeler.made_by['labeler']}-{digest.hexdigest()[:8]}"
    tree = write_labels(
        dataset.train, labeler, root=dataset.root, output=cache_dir / name, progress=progress
    )
    images = {relative_name(s.path, root=dataset.root): s.path for s in dataset.train}
    maps = {path: tree.part_map(image) for image, path in images.items()}
    if tree.entries and not any(maps.values()):
        raise DataError(
            f"{labeler.made_by['labeler']} finds nobody in the training images of {dataset.name}: "
            "look at them, or choose other part labels"
        )
    notice = f"{brief(quality_of(tree, list(images)))}; look at {worst_sheet(tree, images)}"
    return dataclasses.replace(
        dataset,
        train=tuple(dataclasses.replace(s, part_map=maps[s.path]) for s in dataset.train),
        notices=(*dataset.notices, notice),
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
