"""Why a network finds two images alike: part by part, branch by branch, and where."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from input_pipeline.dataset import BACKGROUND, PART_NAMES
from input_pipeline.errors import DataError, UserError
from input_pipeline.images.codec import read_image, resize_image
from magnifier_jax.devices import fetch, make_mesh, put_batch
from magnifier_jax.embedding.embeddings import visible_parts
from magnifier_jax.embedding.forward import EmbeddedBatch, make_embed
from magnifier_jax.embedding.network import Trained
from magnifier_jax.evaluation.branches import branch_slices
from magnifier_jax.evaluation.heat_maps import make_heat

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray
_LEAST_PAIRS = 20  # Fewer pairs of a part tell nothing of how much it varies.


@dataclasses.dataclass(frozen=True, eq=False)
class PartStatistics:
    """How similar the parts of one person's images are, part by part.

    Some parts look alike on everybody, and some differ between two images of one person, so raw
    similarities of different parts cannot be compared. Each is counted in standard deviations
    from what is usual for one person.

    Attributes:
        center: The mean embedding of each part, `[P, C]`, which is subtracted.
        mean: Mean similarity of a part in two images of one person, `[P]`.
        deviation: Its standard deviation, `[P]`; infinite where too few images show the part.
    """

    center: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(
        cls,
        parts: np.ndarray,
        visible: np.ndarray,
        identities: np.ndarray,
        cameras: np.ndarray | None = None,
    ) -> PartStatistics:
        """Learns what is usual from images of known people, such as the gallery or training set.

        Args:
            parts: Part embeddings `[N, P, C]`.
            visible: Which parts each image shows, bool `[N, P]`.
            identities: Who is on each image, `[N]`.
            cameras: Which camera took it, `[N]`; then only pairs of two cameras count.
        """
        shown = visible[..., None]
        counts = np.maximum(visible.sum(0), 1)[:, None]
        center = (parts * shown).sum(0, dtype=np.float64) / counts
        directions = _directions(parts, center)
        sums = np.zeros((3, parts.shape[1]))
        identities = np.unique(np.asarray(identities), return_inverse=True)[1]  # of text too
        order = np.argsort(identities, kind="stable")
        bounds = np.flatnonzero(np.diff(identities[order])) + 1
        for rows in np.split(order, bounds):
            one, other = np.triu_indices(len(rows), 1)
            one, other = rows[one], rows[other]
            if cameras is not None:
                apart = np.asarray(cameras)[one] != np.asarray(cameras)[other]
                one, other = one[apart], other[apart]
            both = visible[one] & visible[other]
            similar = np.einsum("npc,npc->np", directions[one], directions[other])
            sums += np.stack([both.sum(0), (similar * both).sum(0), (similar**2 * both).sum(0)])
        pairs = np.maximum(sums[0], 1)
        mean = sums[1] / pairs
        deviation = np.sqrt(np.maximum(sums[2] / pairs - mean**2, 1e-12))
        return cls(center, mean, np.where(sums[0] < _LEAST_PAIRS, np.inf, deviation))

    def compare(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Similarity of each part in two images, and the same in deviations from what is usual.

        Args:
            one: Part embeddings `[…, P, C]`.
            other: The same of other images.

        Returns:
            Cosines of the centered embeddings `[…, P]`, and their scores `[…, P]`: negative where
            the part is less alike than in two images of one person.
        """
        similar = np.einsum(
            "...pc,...pc->...p", _directions(one, self.center), _directions(other, self.center)
        )
        return similar, (similar - self.mean) / self.deviation


def _directions(parts: np.ndarray, center: np.ndarray) -> np.ndarray:
    moved = parts - center
    lengths = np.linalg.norm(moved, axis=-1, keepdims=True)
    return np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > 0)


@dataclasses.dataclass(frozen=True)
class BranchContribution:
    """What one branch adds to the squared distance of two descriptors.

    Attributes:
        branch: `global`, `adversarial` or `fusion`.
        squared_distance: Its part of the squared Euclidean distance; those of all branches sum to
            the whole.
        share: The same as a share of the whole; 0 where that is 0.
    """

    branch: str
    squared_distance: float
    share: float


@dataclasses.dataclass(frozen=True)
class PartSimilarity:
    """How alike one part is in two images.

    Attributes:
        part: The class.
        name: Its name.
        similarity: Cosine of the two embeddings, −1 to 1; None where either image hides the part.
        score: How usual that is for two images of one person, in standard deviations, negative for
            less alike; None without statistics, or where either hides it.
        hidden_in: `query`, `match`, both or neither.
    """

    part: int
    name: str
    similarity: float | None
    score: float | None
    hidden_in: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class MatchExplanation:
    """Why a query and one match are as far apart as they are.

    Attributes:
        image: The match as the network saw it, uint8 `[H, W, 3]`.
        distance: Euclidean distance of the descriptors, of unit length, 0 to 2.
        branches: What each branch adds to its square.
        parts: How alike each part is; empty for a network without part embeddings.
        part_map: The parts that the network sees in the match, uint8 `[h, w]`, or None.
        query_heat: By branch, where in the query the likeness lies, float32 `[h, w]`; negative
            where a place speaks against it.
        match_heat: The same in the match.
    """

    image: np.ndarray
    distance: float
    branches: tuple[BranchContribution, ...]
    parts: tuple[PartSimilarity, ...]
    part_map: np.ndarray | None
    query_heat: Mapping[str, np.ndarray]
    match_heat: Mapping[str, np.ndarray]

    @property
    def least_alike(self) -> PartSimilarity | None:
        """The part that both show and that is least alike: by score if there are any."""
        return least_alike(self.parts)

    @property
    def most_alike(self) -> PartSimilarity | None:
        """The part that both show and that is most alike."""
        return max(_comparable(self.parts), key=_order, default=None)

    def summary(self) -> str:
        """A line such as `same torso, other foot; head hidden in the match`."""
        least, most = self.least_alike, self.most_alike
        texts = []
        if least is not None and most is not None and least is not most:
            texts.append(f"most alike: {most.name}, least alike: {least.name}")
        for side in ("query", "match"):
            hidden = [part.name for part in self.parts if side in part.hidden_in]
            if hidden:
                texts.append(f"{', '.join(hidden)} hidden in the {side}")
        return "; ".join(texts)

    def to_mapping(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "distance": self.distance,
            "branches": [dataclasses.asdict(each) for each in self.branches],
            "parts": [dataclasses.asdict(each) for each in self.parts],
        }


def least_alike(parts: Sequence[PartSimilarity]) -> PartSimilarity | None:
    """The part that is least alike, of those that can be compared; None if none can."""
    return min(_comparable(parts), key=_order, default=None)


def _comparable(parts: Sequence[PartSimilarity]) -> list[PartSimilarity]:
    """Parts with a score if any have one, otherwise those with a similarity."""
    scored = [part for part in parts if part.score is not None]
    return scored or [part for part in parts if part.similarity is not None]


def _order(part: PartSimilarity) -> float:
    value = part.similarity if part.score is None else part.score
    assert value is not None
    return value


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """Why a query and its matches are as far apart as they are.

    Attributes:
        query: The query as the network saw it, uint8 `[H, W, 3]`.
        part_map: The parts that the network sees in it, uint8 `[h, w]`, or None.
        matches: One for each match.
    """

    query: np.ndarray
    part_map: np.ndarray | None
    matches: tuple[MatchExplanation, ...]

    def mean_parts(self) -> tuple[PartSimilarity, ...]:
        """Parts averaged over the matches that show them: for several images of one person.

        What varies between two images of anybody averages out, so this tells which part differs
        more surely than a single match does.
        """
        found = []
        for same in zip(*(match.parts for match in self.matches), strict=True):
            similar = [part.similarity for part in same if part.similarity is not None]
            scores = [part.score for part in same if part.score is not None]
            sides = {side for part in same if not similar for side in part.hidden_in}
            found.append(
                PartSimilarity(
                    part=same[0].part,
                    name=same[0].name,
                    similarity=float(np.mean(similar)) if similar else None,
                    score=float(np.mean(scores)) if scores else None,
                    hidden_in=tuple(sorted(sides, reverse=True)),
                )
            )
        return tuple(found)

    def to_mapping(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {"matches": [match.to_mapping() for match in self.matches]}

    def draw(self, *, title: str = "", captions: Sequence[str] = ()) -> Image.Image:
        """Draws the explanation as one image; see `report.explanations`."""
        from magnifier_jax.evaluation.report.explanations import explanation_sheet

        return explanation_sheet(self, title=title, captions=captions)


class Explainer:
    """Explains pairs of images with one network; compiled once."""

    def __init__(self, trained: Trained, *, statistics: PartStatistics | None = None) -> None:
        """Compiles nothing yet.

        Args:
            trained: The network.
            statistics: What is usual, for the scores of parts; see `PartStatistics.fit`.
        """
        self.trained = trained
        self.statistics = statistics
        self._mesh = make_mesh(jax.local_devices()[:1])
        self._embed = make_embed(trained.model, self._mesh)
        self._heat = make_heat(trained.config, trained.model)
        self._columns = branch_slices(trained.config)
        # On one device, whatever devices the network came on.
        self._variables = jax.device_put(jax.device_get(trained.variables), jax.local_devices()[0])

    def embed(self, images: np.ndarray) -> EmbeddedBatch:
        """Embeds uint8 images `[n, H, W, 3]` at the network's size, without mirror images."""
        found = fetch(self._embed(self._variables, put_batch(_padded(images), self._mesh)))
        return cast(EmbeddedBatch, jax.tree.map(lambda array: array[: len(images)], found))

    def explain(self, query: np.ndarray, matches: np.ndarray) -> Explanation:
        """Explains one query and its matches.

        Args:
            query: uint8 RGB `[H, W, 3]`, at the network's size.
            matches: uint8 RGB `[n, H, W, 3]`, one or more.

        Raises:
            UserError: Images of another size, or no match.
        """
        size = tuple(self.trained.config.data.image_size)
        matches = np.asarray(matches)
        if query.shape != (*size, 3) or matches.shape[1:] != (*size, 3) or not len(matches):
            raise UserError(
                f"the network compares RGB images of {size[0]} × {size[1]} pixels, one query with "
                f"one match or more; not {list(query.shape)} with {list(matches.shape)}"
            )
        images = np.concatenate([query[None], matches])
        found = self.embed(images)
        descriptors = np.asarray(found.descriptor)
        count = len(matches)
        pairs = np.concatenate([np.repeat(query[None], count, axis=0), matches])
        others = np.concatenate([descriptors[1:], np.repeat(descriptors[:1], count, axis=0)])
        heat = fetch(
            self._heat(self._variables, jnp.asarray(_padded(pairs)), jnp.asarray(_padded(others)))
        )
        shares = found.part_shares
        visible = None if shares is None else visible_parts(np.asarray(shares))
        explained = []
        for i in range(1, len(images)):
            parts: tuple[PartSimilarity, ...] = ()
            if found.part_embeddings is not None and visible is not None:
                parts = self._compare_parts(
                    np.asarray(found.part_embeddings)[[0, i]], visible[[0, i]]
                )
            distance, branches = contributions(descriptors[0], descriptors[i], self._columns)
            explained.append(
                MatchExplanation(
                    image=images[i],
                    distance=distance,
                    branches=branches,
                    parts=parts,
                    part_map=None if found.part_map is None else np.asarray(found.part_map[i]),
                    query_heat={name: heat[name][i - 1] for name in self._columns},
                    match_heat={name: heat[name][count + i - 1] for name in self._columns},
                )
            )
        part_map = None if found.part_map is None else np.asarray(found.part_map[0])
        return Explanation(query, part_map, tuple(explained))

    def _compare_parts(
        self, embeddings: np.ndarray, visible: np.ndarray
    ) -> tuple[PartSimilarity, ...]:
        """Compares the parts of two images, `[2, P, C]` and `[2, P]`."""
        scores = None
        similar = np.einsum("pc,pc->p", embeddings[0], embeddings[1])
        if self.statistics is not None:
            similar, scores = self.statistics.compare(embeddings[0], embeddings[1])
        names = PART_NAMES if len(similar) == len(PART_NAMES) else None
        found = []
        for part in range(len(similar)):
            if part == BACKGROUND:
                continue
            sides = zip(("query", "match"), visible[:, part], strict=True)
            hidden = tuple(side for side, shown in sides if not shown)
            known = scores is not None and np.isfinite(scores[part]) and not hidden
            found.append(
                PartSimilarity(
                    part=part,
                    name=names[part] if names else f"part {part}",
                    similarity=None if hidden else float(similar[part]),
                    score=float(scores[part]) if scores is not None and known else None,
                    hidden_in=hidden,
                )
            )
        return tuple(found)


def explain(
    model: Any,
    query: ImageLike,
    matches: Sequence[ImageLike],
    *,
    statistics: PartStatistics | None = None,
) -> Explanation:
    """Says why a network finds a query and other images alike.

    Args:
        model: What `magnifier_jax.load` returns. For many queries keep an `Explainer` instead.
        query: A path, a PIL image, or uint8 RGB `[H, W, 3]` of any size.
        matches: One or more of the same.
        statistics: What is usual, for the scores of parts; `PartStatistics.fit` of the embeddings
            of known people gives it.

    Raises:
        UserError: There is no match, or the model came from a file that can only be run.
        DataError: An image cannot be read.
    """
    trained: Trained = getattr(model, "trained", model)
    if not len(matches):
        raise UserError("There is nothing to explain: give one match or more.")
    size = trained.config.data.image_size
    images = np.stack([_open(image, size) for image in matches])
    return Explainer(trained, statistics=statistics).explain(_open(query, size), images)


def _open(image: ImageLike, size: tuple[int, int]) -> np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        path = pathlib.Path(image).expanduser()
        try:
            return read_image(path, image_size=size)
        except ValueError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.shape[2:] != (3,)):
        raise UserError(f"An image is uint8 RGB [H, W, 3], not {image.dtype} {list(image.shape)}")
    opened = Image.fromarray(image) if isinstance(image, np.ndarray) else image.convert("RGB")
    return resize_image(opened, image_size=size)


def contributions(
    one: np.ndarray, other: np.ndarray, columns: Mapping[str, slice]
) -> tuple[float, tuple[BranchContribution, ...]]:
    """The distance of two descriptors `[D]`, and what each branch adds to its square.

    A descriptor is the branches side by side, so the squares add up.
    """
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    squares = {name: float(np.square(difference[rows]).sum()) for name, rows in columns.items()}
    total = math.fsum(squares.values())
    return math.sqrt(total), tuple(
        BranchContribution(name, square, square / total if total else 0.0)
        for name, square in squares.items()
    )


def _padded(rows: np.ndarray) -> np.ndarray:
    """Repeats the last row up to a power of two, so that few sizes are compiled."""
    size = 1 << (len(rows) - 1).bit_length()
    return rows[np.minimum(np.arange(size), len(rows) - 1)]
