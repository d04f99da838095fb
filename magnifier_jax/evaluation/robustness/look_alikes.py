"""Whom a network mixes up: look-alikes where they are known, the hardest impostors elsewhere."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from input_pipeline.dataset import PART_NAMES
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.store.splits import PreparedSplit
from input_pipeline.synthetic.people import Person
from input_pipeline.synthetic.plan import make_plan
from input_pipeline.synthetic.settings import SyntheticSettings

_HARDEST = 20
_DISTRACTOR = 0  # What drawn people who are only in the gallery are all called.
# Which part each detail that a look-alike changes belongs to.
_PART_OF = {
    "head": 1,
    "top.print": 2,
    "top.print_color": 2,
    "top.inner": 2,
    "bag": 2,
    "top.sleeve_color": 3,
    "top.band": 3,
    "top.sleeve": 4,
    "top.cuff": 4,
    "bottom.stripe": 5,
    "bottom.cuff": 6,
    "bottom.sock": 6,
    "shoes": 7,
}


@dataclasses.dataclass(frozen=True)
class Difference:
    """A detail in which two drawn people differ, such as `shoes.color`, and its part class."""

    part: int
    detail: str


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnPeople:
    """Who belongs with whom in a drawn dataset: a function of its settings.

    Attributes:
        group: Of each identity that has look-alikes, the number of its group.
        people: Who each identity is.
    """

    group: Mapping[int, int]
    people: Mapping[int, Person]

    @classmethod
    def of(cls, settings: SyntheticSettings) -> DrawnPeople:
        """Draws up the people of a dataset again; nothing is rendered."""
        population = make_plan(settings).population
        group: dict[int, int] = {}
        people: dict[int, Person] = {}
        size, before, groups = settings.look_alikes, 0, 0
        for number in (settings.train_identities, settings.test_identities):
            grouped = int(number * settings.look_alike_share) // size * size
            for index in range(number):
                identity = before + index + 1
                people[identity] = population[before + index]
                if index < grouped:
                    group[identity] = groups + index // size
            before, groups = before + number, groups + grouped // size
        return cls(group, people)

    def alike(self, one: int, other: int) -> bool:
        """Whether two identities are look-alikes of each other."""
        mine = self.group.get(one)
        return one != other and mine is not None and mine == self.group.get(other)

    def differences(self, one: int, other: int) -> tuple[Difference, ...]:
        """The details in which two identities differ, in the order of the parts."""
        return differences(self.people[one], self.people[other])


def differences(one: Person, other: Person) -> tuple[Difference, ...]:
    """The details in which two drawn people differ, in the order of the parts."""
    found = []
    for field in dataclasses.fields(one):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        for detail in dataclasses.fields(mine):
            if getattr(mine, detail.name) != getattr(its, detail.name):
                name = f"{field.name}.{detail.name}"
                part = _PART_OF.get(name, _PART_OF.get(field.name, 0))
                found.append(Difference(part, name))
    return tuple(sorted(found, key=lambda difference: (difference.part, difference.detail)))


@dataclasses.dataclass(frozen=True)
class Impostor:
    """A gallery image of somebody else that is near to a query.

    Attributes:
        query: Name of the query.
        gallery: Name of the gallery image.
        distance: Between the two.
        nearest_match: Distance to the query's nearest true match.
    """

    query: str
    gallery: str
    distance: float
    nearest_match: float


@dataclasses.dataclass(frozen=True)
class Confusions:
    """First matches that are wrong, and whose they are.

    Shares are in 0…1. What is said of look-alikes is None where they are not known.

    Attributes:
        queries: Queries with a match in the gallery.
        wrong: How many of them have a wrong first match.
        look_alikes: How many of those are look-alikes of the query's person.
        expected: How many would be, if wrong first matches fell on images of others at random.
        by_part: Of the look-alikes, how many differ from the query's person in each part; one that
            differs in two counts for both.
        by_detail: The same for details, such as `shoes.color`.
        group_mAP: Mean average precision where each query is ranked among its own group only.
        group_rank1: The same, of rank-1.
        impostors: The images of others that are nearest, measured by how much nearer than the true
            match they are.
    """

    queries: int
    wrong: int
    look_alikes: int | None
    expected: float | None
    by_part: Mapping[str, int]
    by_detail: Mapping[str, int]
    group_mAP: float | None  # noqa: N815
    group_rank1: float | None
    impostors: tuple[Impostor, ...]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Confusions:
        """Reads what `dataclasses.asdict` made, after a way through JSON."""
        impostors = tuple(Impostor(**each) for each in mapping["impostors"])
        return cls(**{**mapping, "impostors": impostors})


Rows = Callable[[slice], np.ndarray]
"""Distances of some queries to the whole gallery, `[n, Ng]`."""


def blocks(queries: int, gallery: int, *, most: int = 2**24) -> Iterator[slice]:
    """Slices of the queries whose distances fit into `most` numbers."""
    step = max(1, most // max(gallery, 1))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def matching(
    query: PreparedSplit, gallery: PreparedSplit, rows: slice, *, camera_filter: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which gallery images are the same person, and which do not count, both bool `[n, Ng]`."""
    same = query.identities[rows][:, None] == gallery.identities[None, :]
    if not camera_filter:
        return same, np.zeros_like(same)
    cameras = query.cameras[rows][:, None]
    junk = same & (cameras == gallery.cameras[None, :]) & (cameras != UNKNOWN_CAMERA)
    return same & ~junk, junk


def find_confusions(
    distances: Rows,
    query: PreparedSplit,
    gallery: PreparedSplit,
    *,
    camera_filter: bool,
    drawn: DrawnPeople | None = None,
) -> Confusions:
    """Looks at the first match of every query.

    Args:
        distances: Distances of the queries in a slice to the whole gallery, `[n, Ng]`.
        query: The queries.
        gallery: The gallery.
        camera_filter: Whether images of the query's person by the same camera are left out.
        drawn: Who looks like whom, where that is known.
    """
    valid = wrong = alike = 0
    expected = 0.0
    parts: collections.Counter[str] = collections.Counter()
    details: collections.Counter[str] = collections.Counter()
    in_group: list[tuple[float, float]] = []
    impostors: list[Impostor] = []
    members = None if drawn is None else _groups(drawn, gallery.identities)
    for rows in blocks(len(query), len(gallery)):
        block = np.array(distances(rows), np.float64)
        same, junk = matching(query, gallery, rows, camera_filter=camera_filter)
        block[junk] = np.inf
        for row in np.flatnonzero(same.any(1)):
            valid += 1
            i = rows.start + int(row)
            who = int(query.identities[i])
            others = np.where(same[row] | junk[row], np.inf, block[row])
            nearest = float(block[row][same[row]].min())
            first_other = int(others.argmin())
            if np.isfinite(others[first_other] - nearest):
                pair = (query.names[i], gallery.names[first_other])
                impostors.append(Impostor(*pair, float(others[first_other]), nearest))
                impostors = _hardest(impostors)
            first = int(block[row].argmin())
            group = None if drawn is None else drawn.group.get(who)
            twins = None
            if members is not None and group is not None:
                twins = (members == group) & ~junk[row]
                in_group.append(_ranked(block[row][twins], same[row][twins]))
            if same[row, first]:
                continue
            wrong += 1
            if drawn is None:
                continue
            if twins is not None:
                expected += (twins & ~same[row]).sum() / max((~(same[row] | junk[row])).sum(), 1)
            other = int(gallery.identities[first])
            if drawn.alike(who, other):
                alike += 1
                differing = drawn.differences(who, other)
                parts.update({PART_NAMES[each.part] for each in differing})
                details.update({each.detail for each in differing})
    precision, rank1 = np.mean(in_group, axis=0) if in_group else (None, None)
    return Confusions(
        queries=valid,
        wrong=wrong,
        look_alikes=None if drawn is None else alike,
        expected=None if drawn is None else expected,
        by_part=dict(parts.most_common()),
        by_detail=dict(details.most_common()),
        group_mAP=None if precision is None else float(precision),
        group_rank1=None if rank1 is None else float(rank1),
        impostors=tuple(_hardest(impostors, keep=_HARDEST)),
    )


def _groups(drawn: DrawnPeople, identities: np.ndarray) -> np.ndarray:
    """The group of each gallery image, −1 without one, `[Ng]`."""
    known = {int(one): drawn.group.get(int(one), -1) for one in np.unique(identities)}
    known[_DISTRACTOR] = -1
    return np.array([known[int(one)] for one in identities])


def _ranked(distances: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Average precision (rectangular) and rank-1 of one short row."""
    order = np.argsort(distances, kind="stable")
    ranks = np.flatnonzero(same[order]) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)), float(ranks[0] == 1)


def _hardest(impostors: list[Impostor], *, keep: int = 0) -> list[Impostor]:
    """Those that are nearer than the true match by most; sorted only when there are many."""
    if not keep and len(impostors) < 50 * _HARDEST:
        return impostors
    ordered = sorted(impostors, key=lambda each: each.distance - each.nearest_match)
    return ordered[: keep or _HARDEST]
