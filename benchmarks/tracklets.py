"""What several images of a person are worth: tracklets against single images, on drawn people.

    python -m benchmarks.tracklets --workdir runs/benchmark --people 50 --frames 6

Draws tracklets of test people, whom the network has not seen, under the cameras that it was
trained on: the person walks on, the crop jitters, and in a share of the tracklets something passes
in front. Queries and gallery are single images (the mean over all frames taken one by one), or
means of their tracklets, in which all images weigh alike or by what the network sees of the person.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tqdm

from input_pipeline.synthetic.plan import GALLERY, QUERY, Plan, Shot, make_plan
from input_pipeline.synthetic.settings import SyntheticSettings, settings_of
from input_pipeline.synthetic.studio import Studio
from magnifier_jax import retrieval
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import Model
from magnifier_jax.retrieval.pooling import Weighting
from magnifier_jax.tables import table

_BATCH = 512
DISTRACTORS = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """Images of queries or of the gallery, tracklet by tracklet.

    Attributes:
        found: What the network says of them; N images.
        people: Number of the person, 0 for distractors, `[N]`.
        cameras: `[N]`.
        tracklets: Number of the tracklet, `[N]`.
        frames: Which image of its tracklet each is, `[N]`.
    """

    found: Embeddings
    people: np.ndarray
    cameras: np.ndarray
    tracklets: np.ndarray
    frames: np.ndarray

    def at(self, frame: int) -> Side:
        """One image of each tracklet."""
        rows = np.flatnonzero(self.frames == frame)
        return dataclasses.replace(
            self,
            found=_take(self.found, rows),
            people=self.people[rows],
            cameras=self.cameras[rows],
            tracklets=self.tracklets[rows],
            frames=self.frames[rows],
        )

    def pooled(self, weights: Weighting) -> Side:
        """Each tracklet as one image."""
        pooled = retrieval.pool(self.found, self.tracklets, weights=weights)
        first = pooled.groups.first
        return Side(
            Embeddings(pooled.descriptors, pooled.parts, pooled.visible),
            self.people[first],
            self.cameras[first],
            self.tracklets[first],
            self.frames[first],
        )


def _take(found: Embeddings, rows: np.ndarray) -> Embeddings:
    parts, visible = found.parts, found.visible
    return Embeddings(
        found.descriptors[rows],
        None if parts is None else parts[rows],
        None if visible is None else visible[rows],
    )


def chosen_shots(plan: Plan, settings: SyntheticSettings, *, people: int, split: str) -> list[Shot]:
    """The images of the first test people, and in the gallery those of all distractors."""
    first = settings.train_identities
    others = first + settings.test_identities
    return [
        shot
        for shot in plan.shots
        if shot.split == split and (first <= shot.person < first + people or shot.person >= others)
    ]


def embed_side(
    model: Model, settings: SyntheticSettings, plan: Plan, shots: Sequence[Shot], *, title: str
) -> Side:
    """Draws images and embeds them."""
    studio = Studio(settings)

    def drawn() -> Iterator[np.ndarray]:
        for shot in tqdm.tqdm(shots, desc=title, unit="img"):
            person = plan.population[shot.person]
            yield np.asarray(studio.draw(person, shot.camera, shot.number, shot.frame).image)

    images, found = list(drawn()), []
    for start in range(0, len(images), _BATCH):
        found.append(model.embed(images[start : start + _BATCH]))
    known = [each for each in found if each.parts is not None and each.visible is not None]
    others = settings.train_identities + settings.test_identities
    return Side(
        Embeddings(
            np.concatenate([each.descriptors for each in found]),
            np.concatenate([each.parts for each in known]) if known else None,  # type: ignore[misc]
            np.concatenate([each.visible for each in known]) if known else None,  # type: ignore[misc]
        ),
        people=np.array([DISTRACTORS if s.person >= others else s.person + 1 for s in shots]),
        cameras=np.array([shot.camera for shot in shots]),
        tracklets=np.array([shot.number for shot in shots]),
        frames=np.array([shot.frame or 0 for shot in shots]),
    )


def measure(query: Side, gallery: Side) -> retrieval.Evaluation:
    """Ranks one side for the other, by whole descriptors."""
    return retrieval.evaluate(
        query.found.descriptors,
        gallery.found.descriptors,
        query.people,
        gallery.people,
        query.cameras,
        gallery.cameras,
    )


def compare(query: Side, gallery: Side) -> Mapping[str, tuple[float, float]]:
    """Mean AP and rank-1, in 0…1, of each way to make one descriptor of a tracklet's images."""
    frames = np.unique(query.frames).tolist()

    def mean(found: Sequence[retrieval.Evaluation]) -> tuple[float, float]:
        maps, firsts = [each.mAP for each in found], [float(each.cmc[0]) for each in found]
        return float(np.mean(maps)), float(np.mean(firsts))

    singles = [gallery.at(frame) for frame in frames]
    ways = {
        "image to image": [
            measure(query.at(frame), single) for frame, single in zip(frames, singles, strict=True)
        ]
    }
    weightings: tuple[Weighting, ...] = ("uniform", "visible")
    for weights in weightings:
        asked, searched = query.pooled(weights), gallery.pooled(weights)
        ways[f"tracklet to image, {weights}"] = [measure(asked, single) for single in singles]
        ways[f"image to tracklet, {weights}"] = [
            measure(query.at(frame), searched) for frame in frames
        ]
        ways[f"tracklet to tracklet, {weights}"] = [measure(asked, searched)]
    return {name: mean(found) for name, found in ways.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workdir", type=pathlib.Path, required=True, help="a network trained on drawn people")
    add("--preset", default="benchmark", help="what it was trained on (benchmark)")
    add("--people", type=int, default=50, help="test people (50)")
    add("--frames", type=int, default=6, help="images of a tracklet (6)")
    add("--occlusion", type=float, default=0.5, help="share of tracklets that are passed (0.5)")
    options = parser.parse_args(arguments)
    settings = dataclasses.replace(
        settings_of(options.preset), frames=options.frames, occlusion_rate=options.occlusion
    )
    plan = make_plan(settings)
    model = load(options.workdir)
    query, gallery = (
        embed_side(
            model,
            settings,
            plan,
            chosen_shots(plan, settings, people=options.people, split=split),
            title=split,
        )
        for split in (QUERY, GALLERY)
    )
    rows = [
        [name, f"{100 * mean:.1f}", f"{100 * first:.1f}"]
        for name, (mean, first) in compare(query, gallery).items()
    ]
    print(table(["", "mAP", "rank-1"], rows))
    counts = (len(np.unique(query.tracklets)), len(np.unique(gallery.tracklets)))
    print(f"percent; {counts[0]:,} query and {counts[1]:,} gallery tracklets")


if __name__ == "__main__":
    main()
