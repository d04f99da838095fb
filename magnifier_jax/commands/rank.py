"""`magnifier rank`: evaluates descriptors of any model."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import claim_output, user_path, write_json
from input_pipeline.identities.unknown import JUNK
from magnifier_jax.tables import table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from magnifier_jax.retrieval import Evaluation, ReRanking, Verification
    from magnifier_jax.retrieval.descriptors import Metric

_FILE_HELP = (
    "an .npz file with the arrays 'descriptors' [N, D], 'identities' [N] and 'cameras' [N], made "
    "by numpy.savez or by `magnifier embed`"
)
_OTHER_NAMES = {
    "descriptors": ("features", "feats", "embeddings"),
    "identities": ("ids", "pids", "labels"),
    "cameras": ("camids", "cams"),
}
_NEEDED = ("descriptors", "identities")


@dataclasses.dataclass(frozen=True)
class LabeledSet:
    """One side of an evaluation: descriptors [N, D], identities [N], cameras [N] or None."""

    descriptors: NDArray[np.floating]
    identities: NDArray[np.generic]
    cameras: NDArray[np.generic] | None


@dataclasses.dataclass(frozen=True)
class _Variant:
    """Queries [Nq, D] and how they are compared."""

    query: NDArray[np.floating]
    metric: Metric
    reranking: ReRanking | None = None


def read_set(path: Path) -> LabeledSet:
    """Reads descriptors and labels from an `.npz` file.

    What other tools usually call the arrays is understood too, and said.

    Raises:
      UserError: if the file or an array in it is missing.
    """
    from magnifier_jax.gallery.npz import read_arrays

    known = {name: (name, *others) for name, others in _OTHER_NAMES.items()}
    arrays = read_arrays(path, only=sum(known.values(), ()), wanted=_FILE_HELP)
    found = {}
    for name, names in known.items():
        there = [other for other in names if other in arrays]
        if len(there) > 1 and name not in there:
            raise UserError(
                f"{path} has both {there[0]!r} and {there[1]!r}; call the {name} {name!r}"
            )
        if there:
            found[name] = arrays[there[0]]
        if there and there[0] != name:
            said = f"{path}: the {name} are its array {there[0]!r}"
            print(printable(said), file=sys.stderr)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise UserError(
            f"{path} has no array {missing[0]!r} beside {', '.join(sorted(arrays))}; give "
            f"{_FILE_HELP}"
        )
    return LabeledSet(found["descriptors"], found["identities"], found.get("cameras"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_rank, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier rank",
        description="Evaluates descriptors of any model: mAP, mINP and rank-k, re-ranked, "
        "expanded or as verification.",
    )
    parser.add_argument("--query", type=Path, required=True, help=_FILE_HELP)
    parser.add_argument("--gallery", type=Path, required=True, help="the same for the gallery")
    parser.add_argument(
        "--metric", choices=["euclidean", "cosine"], default="euclidean", help="distance"
    )
    parser.add_argument(
        "--average-precision",
        choices=["rectangular", "trapezoid"],
        default="rectangular",
        help="area under the curve; trapezoid as the Market-1501 MATLAB code",
    )
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC curve (50)")
    parser.add_argument(
        "--no-camera-filter",
        action="store_true",
        help="also count images of the query's identity from the query's own camera",
    )
    parser.add_argument(
        "--keep-junk",
        action="store_true",
        help="also rank images of identity -1, which are left out as Market-1501 does",
    )
    parser.add_argument("--rerank", action="store_true", help="also with k-reciprocal re-ranking")
    parser.add_argument("--k1", type=int, default=20, help="neighbors of re-ranking (20)")
    parser.add_argument("--k2", type=int, default=6, help="nearest of them that are averaged (6)")
    parser.add_argument("--original-weight", type=float, default=0.3, help="λ of re-ranking (0.3)")
    parser.add_argument(
        "--expand", type=int, metavar="K", help="also with queries expanded by K neighbors"
    )
    parser.add_argument("--alpha", type=float, default=3.0, help="α of query expansion (3)")
    parser.add_argument(
        "--single-shot", type=int, metavar="N", help="old CUHK03 protocol with N drawn galleries"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides what single-shot draws")
    parser.add_argument("--verify", action="store_true", help="also TPR at FPR, and thresholds")
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument("--force", action="store_true", help="replace that file if it is there")
    return parser


def _rank(options: argparse.Namespace) -> None:
    from magnifier_jax.devices import enable_compilation_cache

    with _claimed(options) as output:
        enable_compilation_cache()
        query = read_set(user_path(options.query))
        gallery = read_set(user_path(options.gallery))
        results = _evaluate(query, gallery, options)
        print(result_table(results))
        verification = _verify(query, gallery, options) if options.verify else None
        report: dict[str, object] = {name: result.summary() for name, result in results.items()}
        if verification is not None:
            print(verification_table(verification))
            report["verification"] = dataclasses.asdict(verification)
        if output is not None:
            write_json(output, report)


def _claimed(options: argparse.Namespace) -> contextlib.AbstractContextManager[Path | None]:
    """The file for all numbers, if one is asked for."""
    if options.output is None:
        return contextlib.nullcontext()
    sources = [user_path(options.query), user_path(options.gallery)]
    return claim_output(options.output, force=options.force, sources=sources)


def _evaluate(
    query: LabeledSet, gallery: LabeledSet, options: argparse.Namespace
) -> dict[str, Evaluation]:
    """The measures of each way of ranking that was asked for."""
    from magnifier_jax.retrieval import (
        QueryExpansion,
        ReRanking,
        SingleShot,
        evaluate,
        expand_queries,
    )
    from magnifier_jax.retrieval.labels import is_ignored

    reranking = ReRanking(k1=options.k1, k2=options.k2, original_weight=options.original_weight)
    single_shot = None
    if options.single_shot is not None:
        single_shot = SingleShot(repetitions=options.single_shot, seed=options.seed)
    variants = {"plain": _Variant(query.descriptors, options.metric)}
    if options.expand is not None:
        settings = QueryExpansion(neighbours=options.expand, alpha=options.alpha)
        kept = ~is_ignored(gallery.identities, _ignored(options))
        among = gallery.descriptors if kept.all() else gallery.descriptors[kept]
        expanded = expand_queries(query.descriptors, among, settings=settings)
        variants["expanded"] = _Variant(expanded, "cosine")
    if options.rerank:
        variants["reranked"] = _Variant(query.descriptors, options.metric, reranking)
    return {
        name: evaluate(
            variant.query,
            gallery.descriptors,
            query.identities,
            gallery.identities,
            query.cameras,
            gallery.cameras,
            max_rank=options.max_rank,
            camera_filter=not options.no_camera_filter,
            ignored_identity=_ignored(options),
            metric=variant.metric,
            average_precision=options.average_precision,
            reranking=variant.reranking,
            single_shot=single_shot,
        )
        for name, variant in variants.items()
    }


def _verify(query: LabeledSet, gallery: LabeledSet, options: argparse.Namespace) -> Verification:
    from magnifier_jax.retrieval import verify

    return verify(
        query.descriptors,
        gallery.descriptors,
        query.identities,
        gallery.identities,
        query.cameras,
        gallery.cameras,
        camera_filter=not options.no_camera_filter,
        ignored_identity=_ignored(options),
        metric=options.metric,
    )


def _ignored(options: argparse.Namespace) -> int | None:
    return None if options.keep_junk else JUNK


def result_table(results: dict[str, Evaluation]) -> str:
    """The measures of each variant in a line, in percent."""
    from magnifier_jax.retrieval.measures.metrics import ranks_to_show

    first = next(iter(results.values()))
    ranks = ranks_to_show(first.cmc)
    lines = [
        f"{first.valid_queries} of {first.queries} queries have a match among {first.gallery} "
        f"gallery images; {first.average_precision} average precision",
    ]
    if first.ignored_queries or first.ignored_gallery:
        lines.append(
            f"{first.ignored_queries} queries and {first.ignored_gallery} gallery images of "
            "identity -1 (bad detections) are left out; --keep-junk keeps them"
        )
    header = ["", "distance", "mAP", "mINP", *(f"rank-{rank}" for rank in ranks)]
    rows = [
        [
            name,
            result.metric,
            f"{result.mAP:.2%}",
            f"{result.mINP:.2%}",
            *(f"{result.cmc[rank - 1]:.2%}" for rank in ranks),
        ]
        for name, result in results.items()
    ]
    return "\n".join([*lines, table(header, rows, rules=False)])


def verification_table(verification: Verification) -> str:
    """One line for each operating point."""
    title = (
        f"verification over {verification.same_pairs} pairs of one person and "
        f"{verification.different_pairs} of two, {verification.metric} distance"
    )
    header = ["allowed FPR", "TPR", "FPR", "threshold"]
    rows = [
        [
            f"{point.allowed_rate:.0e}",
            f"{point.true_positive_rate:.2%}",
            f"{point.false_positive_rate:.1e}",
            f"{point.threshold:.4g}",
        ]
        for point in verification.points
    ]
    return f"{title}\n{table(header, rows, left=(), rules=False)}"


if __name__ == "__main__":
    sys.exit(main())
