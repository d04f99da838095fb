"""Why a match was found, as the page shows it: numbers, and drawings of both images."""

from __future__ import annotations

import base64
import collections
import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from input_pipeline.dataset import PALETTE
from input_pipeline.errors import UserError
from magnifier_jax.embedding.model import Model
from magnifier_jax.evaluation.explain import Explainer, PartStatistics
from magnifier_jax.evaluation.report.explanations import match_panels
from magnifier_jax.serve.catalog.catalog import Catalog
from magnifier_jax.serve.schemas import BranchReason, Panel, PartReason, Why

_SAMPLE = 5000  # gallery images that tell what is usual
_OF_ONE_PERSON = 8  # of them, at most
_HEIGHT = 256  # of a drawing, in pixels


class MatchExplainer:
    """Explains pairs of images; what it needs is made at the first one. For one thread."""

    def __init__(self, model: Model, catalog: Catalog) -> None:
        self._model, self._catalog = model, catalog

    @functools.cached_property
    def possible(self) -> bool:
        """Whether the network can be looked into."""
        try:
            return self._model.trained is not None
        except UserError:
            return False

    def warm_up(self) -> None:
        """Compiles what the first explanation would wait for."""
        blank = np.zeros((*self._model.image_size, 3), np.uint8)
        self.explain(blank, blank)

    def explain(self, query: NDArray[np.uint8], match: NDArray[np.uint8]) -> Why:
        """Explains one match; both images are uint8 `[H, W, 3]` at the network's size."""
        found = self._explainer.explain(query, match[None])
        [explained] = found.matches
        height, width = query.shape[:2]
        size = (_HEIGHT, max(1, round(_HEIGHT * width / height)))
        return Why(
            distance=explained.distance,
            summary=explained.summary(),
            parts=[
                PartReason(
                    name=part.name,
                    color=part_color(part.part),
                    similarity=part.similarity,
                    score=part.score,
                    hidden_in=list(part.hidden_in),
                )
                for part in explained.parts
            ],
            branches=[
                BranchReason(
                    name=branch.branch,
                    squared_distance=branch.squared_distance,
                    share=branch.share,
                )
                for branch in explained.branches
            ],
            panels=[
                Panel(name=name, query=_png(one), match=_png(other))
                for name, one, other in match_panels(found, explained, size=size)
            ],
        )

    @functools.cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self._model.trained, statistics=self._usual())

    def _usual(self) -> PartStatistics | None:
        """How similar parts of one person usually are, by a sample of the gallery's people."""
        entries = self._catalog.entries
        if not self._catalog.parts or not entries.has_identities:
            return None
        some = [entries.entry(row) for row in range(min(len(entries), _SAMPLE))]
        seen: collections.Counter[int | str] = collections.Counter()
        rows = []
        for row, entry in enumerate(some):
            # Pairs of one person are counted, and some galleries call all strangers one person.
            if entry.identity is not None and seen[entry.identity] < _OF_ONE_PERSON:
                seen[entry.identity] += 1
                rows.append(row)
        if not rows:
            return None
        vectors = self._catalog.vectors(rows)
        assert vectors.parts is not None
        assert vectors.visible is not None
        cameras = np.array([str(some[row].camera) for row in rows])
        return PartStatistics.fit(
            vectors.parts,
            vectors.visible,
            np.array([str(some[row].identity) for row in rows]),
            cameras if entries.cameras else None,
        )


def part_color(part: int) -> str:
    """The color of a part in drawings, as #rrggbb."""
    red, green, blue = PALETTE[part % len(PALETTE)].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _png(image: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
