"""What marking the first matches right and wrong gains, on drawn people, with the drawn network.

    python -m benchmarks.refinement --root drawn_people

For each query the first three matches are marked by what is true of them, and the search is refined
as on the page. The marked images leave the ranking both before and after, so that what is measured
is how well the rest is found, not that a marked image is found again. A query whose true matches
are all marked does not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

import magnifier_jax as mj
from input_pipeline.synthetic import PRESETS, generate
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.serve.catalog.catalog import Vectors
from magnifier_jax.serve.refinement import refine

MARKED = 3


@dataclasses.dataclass(frozen=True)
class Gain:
    """What the marks did.

    Attributes:
        queries: How many count.
        right: Mean number of right ones among the marked matches.
        before: mAP of the images that are not marked, by the query alone.
        after: The same, refined.
        better: Share of the queries whose average precision rose.
        worse: Share of those whose average precision fell.
    """

    queries: int
    right: float
    before: float
    after: float
    better: float
    worse: float


def average_precision(right: np.ndarray) -> float:
    """Mean precision at the places of the right ones, of a ranking bool `[n]`."""
    places = np.flatnonzero(right)
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))


def gain(
    query: np.ndarray, gallery: np.ndarray, same: np.ndarray, skipped: np.ndarray, *, marked: int
) -> Gain:
    """Marks the first matches of each query, and refines.

    Args:
        query: Descriptors `[Nq, D]`, of unit length.
        gallery: The same `[Ng, D]`.
        same: Whether both show one person, bool `[Nq, Ng]`.
        skipped: Which images a query does not see, as those of its own camera, bool `[Nq, Ng]`.
        marked: How many matches are marked.
    """
    rights, befores, afters = [], [], []
    for vector, is_right, hidden in zip(query, same, skipped, strict=True):
        candidates = np.flatnonzero(~hidden)
        order = candidates[np.argsort(-(gallery[candidates] @ vector), kind="stable")]
        first, rest = order[:marked], order[marked:]
        if not is_right[rest].any():
            continue
        right, wrong = first[is_right[first]], first[~is_right[first]]
        moved = refine(
            Vectors(vector[None]),
            right=Vectors(gallery[right]) if len(right) else None,
            wrong=Vectors(gallery[wrong]) if len(wrong) else None,
        )
        again = rest[np.argsort(-(gallery[rest] @ moved.descriptors[0]), kind="stable")]
        rights.append(len(right))
        befores.append(average_precision(is_right[rest]))
        afters.append(average_precision(is_right[again]))
    before, after = np.array(befores), np.array(afters)
    return Gain(
        len(before),
        float(np.mean(rights)),
        float(before.mean()),
        float(after.mean()),
        float((after > before).mean()),
        float((after < before).mean()),
    )


def embedded(model: mj.Model, folder: pathlib.Path) -> tuple[Embeddings, np.ndarray]:
    """Images of known people, and `[N, 2]` who is on each and which camera took it."""
    paths = [path for path in sorted(folder.glob("*.jpg")) if not path.name.startswith("-1")]
    who = [(int(path.name[:4]), int(path.name.split("_c")[1][0])) for path in paths]
    return model.embed(paths), np.array(who)


def main(arguments: Sequence[str] | None = None) -> Gain:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="where people are drawn")
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--workdir", default="drawn", help="the network")
    parser.add_argument("--marked", type=int, default=MARKED)
    given = parser.parse_args(arguments)
    root = generate(given.root, PRESETS[given.preset])
    model = mj.load(given.workdir)
    queries, of_queries = embedded(model, root / "query")
    gallery, of_gallery = embedded(model, root / "bounding_box_test")
    same = of_queries[:, None, 0] == of_gallery[None, :, 0]
    camera = of_queries[:, None, 1] == of_gallery[None, :, 1]
    found = gain(queries.descriptors, gallery.descriptors, same, same & camera, marked=given.marked)
    print(
        f"{found.queries} queries, {given.marked} matches marked, {found.right:.2f} of them right: "
        f"mAP of the others {100 * found.before:.1f} before, {100 * found.after:.1f} after; "
        f"better for {100 * found.better:.0f}%, worse for {100 * found.worse:.0f}%"
    )
    return found


if __name__ == "__main__":
    main()
