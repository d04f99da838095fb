"""How often the part in which two look-alikes differ is the one that `explain` calls least alike.

    python benchmarks/explain.py --workdir runs/ablation/all-0

On drawn data, where it is known who looks like whom and in what: all pairs of a query's and a
gallery image of two people who differ in one part, taken by different cameras, where both show that
part. The statistics of `PartStatistics` come from the people of other groups, so nothing is learned
from those that are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import sys

import numpy as np

from input_pipeline.images.codec import decode_image
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.embeddings import visible_parts
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation.explain import Explainer, PartStatistics
from magnifier_jax.evaluation.robustness.ground_truth import Study, open_study
from magnifier_jax.tables import table

_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """All images of a test set: part embeddings `[n, P, C]`, visible parts, who, and where."""

    parts: np.ndarray
    visible: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray


def embed(explainer: Explainer, study: Study) -> Images:
    """Embeds queries and gallery."""
    size = explainer.trained.config.data.image_size
    parts, visible = [], []
    splits = (study.test_set.query, study.test_set.gallery)
    for split in splits:
        for start in range(0, len(split), _BATCH):
            samples = split.read(range(start, min(start + _BATCH, len(split))))
            images = np.stack([decode_image(each.image, image_size=size) for each in samples])
            found = explainer.embed(images)
            parts.append(np.asarray(found.part_embeddings))
            visible.append(visible_parts(np.asarray(found.part_shares)))
    return Images(
        np.concatenate(parts),
        np.concatenate(visible),
        np.concatenate([split.identities for split in splits]),
        np.concatenate([split.cameras for split in splits]),
    )


def measure(images: Images, study: Study) -> None:
    """Prints the shares."""
    drawn = study.truth.drawn
    assert drawn is not None
    groups: dict[int, list[int]] = {}
    for identity in np.unique(images.identities):
        if int(identity) in drawn.group:
            groups.setdefault(drawn.group[int(identity)], []).append(int(identity))
    hits: dict[str, list[bool]] = {"raw similarity": [], "score": []}
    means: dict[str, list[bool]] = {"raw similarity": [], "score": []}
    chance: list[float] = []
    for members in groups.values():
        # Statistics of everybody else.
        known = (images.identities > 0) & ~np.isin(images.identities, members)
        statistics = PartStatistics.fit(
            images.parts[known],
            images.visible[known],
            images.identities[known],
            images.cameras[known],
        )
        for one, other in itertools.combinations(members, 2):
            differing = {each.part for each in drawn.differences(one, other)}
            if len(differing) != 1:
                continue
            part = differing.pop()
            first, second = (
                grid.ravel()
                for grid in np.meshgrid(
                    np.flatnonzero(images.identities == one),
                    np.flatnonzero(images.identities == other),
                )
            )
            both = images.visible[first] & images.visible[second]
            kept = (images.cameras[first] != images.cameras[second]) & both[:, part]
            first, second, both = first[kept], second[kept], both[kept]
            if not len(first):
                continue
            _, scores = statistics.compare(images.parts[first], images.parts[second])
            raw = np.einsum("npc,npc->np", images.parts[first], images.parts[second])
            chance += list(1 / both.sum(1))
            for name, values in (("raw similarity", raw), ("score", scores)):
                shown = np.where(both & np.isfinite(values), values, np.inf)
                hits[name] += list(shown.argmin(1) == part)
                average = np.where(both, values, 0).sum(0) / np.maximum(both.sum(0), 1)
                average = np.where(both.any(0) & np.isfinite(average), average, np.inf)
                means[name].append(bool(average.argmin() == part))
    rows = [
        [name, f"{100 * np.mean(hits[name]):.1f}", f"{100 * np.mean(means[name]):.1f}"]
        for name in hits
    ]
    rows.append(["chance", f"{100 * np.mean(chance):.1f}", f"{100 / 7:.1f}"])
    print(f"{len(chance):,} pairs of images of {len(means['score'])} pairs of people")
    print(
        table(["least alike is the part that differs, %", "one pair", "all pairs averaged"], rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--data", help="test set; that of the run if not given")
    parser.add_argument("--root", help="folder of the datasets, if not where they were")
    options = parser.parse_args()
    trained = load_trained(options.workdir, make_mesh())
    if not trained.config.model.use_fusion:
        sys.exit("this network has no part embeddings")
    study = open_study(trained.config, data=options.data, root=options.root)
    if study.truth.drawn is None:
        sys.exit("who looks like whom is known of drawn data only")
    measure(embed(Explainer(trained), study), study)


if __name__ == "__main__":
    main()
