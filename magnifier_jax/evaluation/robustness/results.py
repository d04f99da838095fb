"""How well networks take it when parts of people are hidden: the figures and their table."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from input_pipeline.files import read_json, reading
from magnifier_jax.evaluation.robustness.look_alikes import Confusions
from magnifier_jax.evaluation.robustness.regions import Kind
from magnifier_jax.tables import table

Side = Literal["query", "gallery", "both"]
WHOLE, PARTS = "whole", "visible parts"


@dataclasses.dataclass(frozen=True)
class Figures:
    """Mean average precision and rank-1, 0 to 1."""

    mAP: float  # noqa: N815
    rank1: float


@dataclasses.dataclass(frozen=True)
class Hidden:
    """What one network does when one region is hidden.

    Attributes:
        region: What is hidden.
        kind: What the region follows: `part`, `group`, `side` or `box`.
        images: Share of the covered side's images that show the region; the others stay.
        person: Mean share of the person, over those images, that lies behind objects.
        views: Figures by what is compared: `whole` descriptors, those of a branch alone
            (`global`, `adversarial`, `fusion`), or the `visible parts`.
    """

    region: str
    kind: str
    images: float
    person: float
    views: Mapping[str, Figures]


@dataclasses.dataclass(frozen=True)
class NetworkRobustness:
    """How one network takes it.

    Attributes:
        name: The network.
        step: Training steps that it has seen.
        clean: Figures of the images as they are, by what is compared.
        hidden: One for each region.
        confusions: Wrong first matches of the clean images, by what is compared.
    """

    name: str
    step: int
    clean: Mapping[str, Figures]
    hidden: tuple[Hidden, ...]
    confusions: Mapping[str, Confusions]

    def loss(self, region: str, view: str = WHOLE) -> float:
        """Points of mAP, 0 to 1, that hiding a region costs; negative for a gain."""
        found = {each.region: each for each in self.hidden}
        return self.clean[view].mAP - found[region].views[view].mAP

    def mean_loss(self, kind: Kind, view: str = WHOLE) -> float:
        """The mean of `loss` over the regions of a kind."""
        regions = [each.region for each in self.hidden if each.kind == kind]
        return float(np.mean([self.loss(region, view) for region in regions]))


@dataclasses.dataclass(frozen=True)
class Robustness:
    """How networks take it when parts of people are hidden.

    Attributes:
        test_set: What they were measured on.
        side: Which images were covered.
        seed: Decides the objects.
        part_maps: Where the regions come from.
        networks: One for each network, on the same images.
    """

    test_set: str
    side: Side
    seed: int
    part_maps: str
    networks: tuple[NetworkRobustness, ...]

    def to_mapping(self) -> dict[str, Any]:
        """The object that `robustness.json` holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Robustness:
        """Reads what `to_mapping` made, after a way through JSON."""

        def figures(views: Mapping[str, Any]) -> dict[str, Figures]:
            return {name: Figures(**values) for name, values in views.items()}

        networks = tuple(
            NetworkRobustness(
                name=each["name"],
                step=each["step"],
                clean=figures(each["clean"]),
                hidden=tuple(
                    Hidden(**{**hidden, "views": figures(hidden["views"])})
                    for hidden in each["hidden"]
                ),
                confusions={
                    name: Confusions.from_mapping(found)
                    for name, found in each["confusions"].items()
                },
            )
            for each in mapping["networks"]
        )
        return cls(**{**mapping, "networks": networks})

    def of(self, name: str) -> Robustness:
        """The same for one of the networks alone."""
        chosen = tuple(network for network in self.networks if network.name == name)
        return dataclasses.replace(self, networks=chosen)

    def table(self) -> str:
        """The figures as text."""
        texts = [self._regions_table(network) for network in self.networks]
        if len(self.networks) > 1:
            texts.append(self._comparison())
        texts += [text for network in self.networks if (text := _confusion_table(network))]
        note = (
            f"mAP in percent (loss in points) on {self.test_set}; the {_SIDES[self.side]} behind "
            f"drawn objects, seed {self.seed}; regions from {self.part_maps}"
        )
        return "\n\n".join([*texts, note])

    def _regions_table(self, network: NetworkRobustness) -> str:
        views = list(network.clean)
        rows = [["nothing", "", *(_per_cent(network.clean[view].mAP) for view in views)]]
        for hidden in network.hidden:
            cells = [
                f"{_per_cent(hidden.views[view].mAP)} "
                f"({-100 * network.loss(hidden.region, view):+.1f})"
                for view in views
            ]
            rows.append([hidden.region, f"{hidden.person:.0%}", *cells])
        return table([f"{network.name}, hidden", "of person", *views], rows)

    def _comparison(self) -> str:
        header = ["whole descriptor, loss", *(network.name for network in self.networks)]
        rows = [
            [
                hidden.region,
                *(f"{100 * network.loss(hidden.region):.1f}" for network in self.networks),
            ]
            for hidden in self.networks[0].hidden
        ]
        return table(header, rows)


def read_robustness(path: pathlib.Path) -> Robustness | None:
    """Reads a `robustness.json`; None if there is none.

    Raises:
        DataError: It is not one.
    """
    if not path.exists():
        return None
    advice = "remove it, or run magnifier robustness again"
    with reading(path, what="record of robustness", advice=advice):
        return Robustness.from_mapping(read_json(path, what="record of robustness", advice=advice))


_SIDES = {"query": "queries", "gallery": "gallery images", "both": "queries and gallery images"}


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f}"


def _confusion_table(network: NetworkRobustness) -> str:
    """Wrong first matches by what is compared."""
    rows = []
    for view, found in network.confusions.items():
        row = [view, f"{found.wrong} of {found.queries}"]
        if found.look_alikes is None:
            nearest = found.impostors[0] if found.impostors else None
            row += ["not known", "", "", "" if nearest is None else f"{nearest.gallery}"]
        else:
            assert found.expected is not None
            row += [
                f"{found.look_alikes} (by chance {found.expected:.0f})",
                "" if found.group_mAP is None else _per_cent(found.group_mAP),
                "" if found.group_rank1 is None else _per_cent(found.group_rank1),
                ", ".join(f"{part} {count}" for part, count in list(found.by_part.items())[:3]),
            ]
        rows.append(row)
    known = any(found.by_part for found in network.confusions.values())
    last = "most differ in" if known else "hardest impostor"
    header = [f"{network.name}, compared", "first match wrong", "look-alikes", "mAP in groups"]
    return table([*header, "rank-1 in groups", last], rows, left=(0, 5))
