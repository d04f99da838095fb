"""Plain NumPy retrieval: the whole distance matrix, sorted. What ours is compared with.

Written to be obviously right and as the field's tools do it, not to be fast.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PlainEvaluation:
    """cmc [max_rank], mAP, mINP, and average precisions [Nq], NaN where there is no match."""

    cmc: np.ndarray
    mean_precision: float
    mean_penalty: float
    average_precisions: np.ndarray


def distance_matrix(query, gallery, *, metric="euclidean"):
    """Squared Euclidean distance, or 1 − cosine: [Nq, Ng] in the type of the descriptors."""
    if metric == "cosine":
        return 1 - _unit(query) @ _unit(gallery).T
    norms = (query**2).sum(1)[:, None] + (gallery**2).sum(1)[None, :]
    return np.maximum(norms - 2 * query @ gallery.T, 0)


def _unit(vectors):
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def evaluate_by_sorting(
    distances,
    query_ids,
    gallery_ids,
    query_cameras,
    gallery_cameras,
    *,
    max_rank=50,
    average_precision="rectangular",
    kind="stable",
):
    """Sorts every row, then reads the measures off it; `kind` is NumPy's way of sorting."""
    precisions = np.full(len(query_ids), np.nan)
    penalties, first_ranks = [], []
    for row in range(len(query_ids)):
        order = np.argsort(distances[row], kind=kind)
        same = gallery_ids[order] == query_ids[row]
        junk = same & (gallery_cameras[order] == query_cameras[row])
        ranks = np.flatnonzero(same[~junk]) + 1
        if not len(ranks):
            continue
        found = np.arange(1, len(ranks) + 1)
        at_match = found / ranks
        if average_precision == "trapezoid":
            above = np.where(ranks > 1, (found - 1) / np.maximum(ranks - 1, 1), 1.0)
            at_match = (at_match + above) / 2
        precisions[row] = at_match.mean()
        penalties.append(len(ranks) / ranks[-1])
        first_ranks.append(ranks[0])
    first = np.array(first_ranks)
    cmc = np.array([np.mean(first <= rank) for rank in range(1, max_rank + 1)])
    return PlainEvaluation(
        cmc, float(np.nanmean(precisions)), float(np.mean(penalties)), precisions
    )


def rerank_in_full(query, gallery, *, k1=20, k2=6, original_weight=0.3):
    """k-reciprocal re-ranking with N × N matrices: [Nq, Ng]."""
    everyone = np.concatenate([query, gallery])
    distances = distance_matrix(everyone, everyone)
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1)
    half = round(k1 / 2)
    total = len(everyone)
    encodings = np.zeros((total, total), distances.dtype)
    for image in range(total):
        own = _reciprocal(order, image, k1)
        members = own
        for neighbor in own:
            theirs = _reciprocal(order, neighbor, half)
            if 3 * len(np.intersect1d(theirs, own)) > 2 * len(theirs):
                members = np.append(members, theirs)
        members = np.unique(members)
        weights = np.exp(-distances[image, members])
        encodings[image, members] = weights / weights.sum()
    if k2 > 1:
        encodings = np.stack([encodings[order[image, :k2]].mean(0) for image in range(total)])
    holders = [np.flatnonzero(encodings[:, column]) for column in range(total)]
    result = np.empty((len(query), len(gallery)), distances.dtype)
    for row in range(len(query)):
        shared = np.zeros(total, distances.dtype)
        for column in np.flatnonzero(encodings[row]):
            shared[holders[column]] += np.minimum(
                encodings[row, column], encodings[holders[column], column]
            )
        jaccard = 1 - shared / (2 - shared)
        mixed = jaccard * (1 - original_weight) + distances[row] * original_weight
        result[row] = mixed[len(query) :]
    return result


def _reciprocal(order, image, k):
    near = order[image, : k + 1]
    return near[(order[near, : k + 1] == image).any(axis=1)]
