"""Prepared datasets of the tests in this folder: their files, and samples with tracklets."""

import dataclasses
import pathlib

from input_pipeline.dataset import ReidDataset


def files_under(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def with_tracklets(dataset: ReidDataset) -> ReidDataset:
    """Every two queries are a tracklet; of the last one it is not known."""
    names = [f"walk {i // 2}" for i in range(len(dataset.query) - 1)] + [None]
    query = tuple(
        dataclasses.replace(sample, tracklet=name)
        for sample, name in zip(dataset.query, names, strict=True)
    )
    return dataclasses.replace(dataset, query=query, by_tracklet=True)
