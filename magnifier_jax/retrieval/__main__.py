"""`python -m magnifier_jax.retrieval`: evaluates descriptors from any model."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magnifier_jax.errors import UserError
from magnifier_jax.retrieval.descriptors import CollapsedDescriptorsWarning
from magnifier_jax.retrieval.distances import Metric
from magnifier_jax.retrieval.evaluate import evaluate
from magnifier_jax.retrieval.expansion import QueryExpansion, expand_queries
from magnifier_jax.retrieval.metrics import Evaluation, ranks_to_show
from magnifier_jax.retrieval.reranking import ReRanking
from magnifier_jax.retrieval.single_shot import SingleShot
from magnifier_jax.retrieval.verification import Verification, verify

_FILE_HELP = (
    ".npz file with the arrays 'descriptors' [N, D], 'identities' [N] and 'cameras' [N]; made by "
    "numpy.savez, or by magnifier_jax.embed"
)


@dataclasses.dataclass(frozen=True)
class DescribedSet:
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


def read_set(path: Path) -> DescribedSet:
    """Reads descriptors and labels from an `.npz` file.

    Raises:
      UserError: if the file or an array in it is missing.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("descriptors", "identities") if name not in file.files]
            if missing:
                raise UserError(
                    f"{path} has no array {missing[0]!r}, only {', '.join(sorted(file.files))}; "
                    f"it must be a {_FILE_HELP}"
                )
            cameras = file["cameras"] if "cameras" in file.files else None
            return DescribedSet(file["descriptors"], file["identities"], cameras)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}; it must be a {_FILE_HELP}") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m magnifier_jax.retrieval", description="Evaluate descriptors of any model."
    )
    parser.add_argument("--query", type=Path, required=True, help=_FILE_HELP)
    parser.add_argument("--gallery", type=Path, required=True, help="the same for the gallery")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], default="euclidean")
    parser.add_argument(
        "--average-precision", choices=["rectangular", "trapezoid"], default="rectangular"
    )
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC curve")
    parser.add_argument(
        "--no-camera-filter",
        action="store_true",
        help="also count pictures of the query's identity from the query's own camera",
    )
    parser.add_argument("--rerank", action="store_true", help="also with k-reciprocal re-ranking")
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--k2", type=int, default=6)
    parser.add_argument("--original-weight", type=float, default=0.3, help="λ of re-ranking")
    parser.add_argument(
        "--expand", type=int, metavar="K", help="also with queries expanded by K neighbours"
    )
    parser.add_argument("--alpha", type=float, default=3.0, help="α of query expansion")
    parser.add_argument(
        "--single-shot", type=int, metavar="N", help="old CUHK03 protocol with N drawn galleries"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides what single-shot draws")
    parser.add_argument("--verify", action="store_true", help="also TPR at FPR, and thresholds")
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    return parser


def _run(options: argparse.Namespace) -> None:
    query, gallery = read_set(options.query), read_set(options.gallery)
    labels = (query.identities, gallery.identities, query.cameras, gallery.cameras)
    reranking = ReRanking(k1=options.k1, k2=options.k2, original_weight=options.original_weight)
    single_shot = None
    if options.single_shot is not None:
        single_shot = SingleShot(repetitions=options.single_shot, seed=options.seed)
    variants = {"plain": _Variant(query.descriptors, options.metric)}
    if options.expand is not None:
        settings = QueryExpansion(neighbours=options.expand, alpha=options.alpha)
        expanded = expand_queries(query.descriptors, gallery.descriptors, settings=settings)
        variants["expanded"] = _Variant(expanded, "cosine")
    if options.rerank:
        variants["reranked"] = _Variant(query.descriptors, options.metric, reranking)
    results: dict[str, Evaluation] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapsedDescriptorsWarning)
        for name, variant in variants.items():
            results[name] = evaluate(
                variant.query,
                gallery.descriptors,
                *labels,
                max_rank=options.max_rank,
                camera_filter=not options.no_camera_filter,
                metric=variant.metric,
                average_precision=options.average_precision,
                reranking=variant.reranking,
                single_shot=single_shot,
            )
    for message in {str(warning.message) for warning in caught}:
        print(f"warning: {message}", file=sys.stderr)
    print(table(results))
    report: dict[str, object] = {name: result.summary() for name, result in results.items()}
    if options.verify:
        verification = verify(
            query.descriptors,
            gallery.descriptors,
            *labels,
            camera_filter=not options.no_camera_filter,
            metric=options.metric,
        )
        print(verification_table(verification))
        report["verification"] = dataclasses.asdict(verification)
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def table(results: dict[str, Evaluation]) -> str:
    """The measures of each variant in a line, in percent."""
    first = next(iter(results.values()))
    ranks = ranks_to_show(first.cmc)
    lines = [
        f"{first.valid_queries} of {first.queries} queries have a match among {first.gallery} "
        f"gallery pictures; {first.average_precision} average precision",
        f"{'':10}{'distance':>11}{'mAP':>8}{'mINP':>8}"
        + "".join(f"{f'rank-{rank}':>9}" for rank in ranks),
    ]
    for name, result in results.items():
        lines.append(
            f"{name:10}{result.metric:>11}{result.mAP:8.2%}{result.mINP:8.2%}"
            + "".join(f"{result.cmc[rank - 1]:9.2%}" for rank in ranks)
        )
    return "\n".join(lines)


def verification_table(verification: Verification) -> str:
    """One line for each operating point."""
    lines = [
        f"verification over {verification.same_pairs} pairs of one person and "
        f"{verification.different_pairs} of two, {verification.metric} distance",
        f"{'allowed FPR':>12}{'TPR':>9}{'FPR':>11}{'threshold':>11}",
    ]
    lines += [
        f"{point.allowed_rate:12.0e}{point.true_positive_rate:9.2%}"
        f"{point.false_positive_rate:11.1e}{point.threshold:11.4f}"
        for point in verification.points
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
