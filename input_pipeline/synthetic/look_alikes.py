"""Groups of people who differ in one or two details of one part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from input_pipeline.synthetic.figure import palette
from input_pipeline.synthetic.people import (
    BagKind,
    Cut,
    Hat,
    Person,
    Print,
    ShoeKind,
    draw_person,
)
from input_pipeline.synthetic.settings import WORLDS, SyntheticSettings
from input_pipeline.synthetic.worlds.wardrobe import draw_passenger

Draw = Callable[[np.random.Generator], Person]
"""Draws a person."""
Twist = Callable[[np.random.Generator, Person], Person]


def _head(rng: np.random.Generator, person: Person) -> Person:
    head = person.head
    if head.hat is not Hat.NONE:
        head = dataclasses.replace(head, hat_color=palette.contrasting(rng, head.hat_color))
    elif rng.random() < 0.4 or head.cut in (Cut.BALD, Cut.BUZZ):
        hanging = head.cut in (Cut.LONG, Cut.BOB, Cut.PONYTAIL)
        cuts = (Cut.SHORT, Cut.AFRO) if hanging else (Cut.LONG, Cut.BOB)
        head = dataclasses.replace(head, cut=cuts[rng.integers(len(cuts))])
    else:
        gap = [np.abs(np.subtract(hair, head.hair)).sum() for hair in palette.HAIR]
        far = [hair for hair, distance in zip(palette.HAIR, gap, strict=True) if distance > 150]
        head = dataclasses.replace(head, hair=far[rng.integers(len(far))])
    return dataclasses.replace(person, head=head)


def _torso(rng: np.random.Generator, person: Person) -> Person:
    """Another print or print color, opening and backpack pocket, but no more than two of them."""
    top, bag = person.top, person.bag
    color = palette.contrasting(rng, top.color, top.print_color)
    kinds = [kind for kind in Print if kind not in (Print.NONE, top.print)]
    kind = kinds[rng.integers(len(kinds))] if top.print is Print.NONE else top.print
    changed = dataclasses.replace(top, print=kind, print_color=color)
    packed = bag.kind is BagKind.BACKPACK
    if top.opens:
        # Under a backpack the print shows least, and the opening and the pocket are two details.
        inner = palette.contrasting(rng, top.color, top.inner)
        changed = dataclasses.replace(top if packed else changed, inner=inner)
    if packed:  # It hides the back print.
        bag = dataclasses.replace(bag, accent=palette.contrasting(rng, bag.color, bag.accent))
    return dataclasses.replace(person, top=changed, bag=bag)


def _upper_arm(rng: np.random.Generator, person: Person) -> Person:
    top = person.top
    if 0 < top.sleeve <= 1 and rng.random() < 0.5:
        color = palette.contrasting(rng, top.sleeve_color)
        return dataclasses.replace(person, top=dataclasses.replace(top, sleeve_color=color))
    cloth = top.sleeve_color if top.sleeve > 0 else person.head.skin
    band = palette.contrasting(rng, cloth, top.accent, top.band or cloth)
    return dataclasses.replace(person, top=dataclasses.replace(top, band=band))


def _lower_arm(rng: np.random.Generator, person: Person) -> Person:
    top = person.top
    if top.sleeve in (0.55, 0.6, 2.0) and rng.random() < 0.4:
        sleeve = 0.55 if top.sleeve == 2.0 else 2.0
        return dataclasses.replace(person, top=dataclasses.replace(top, sleeve=sleeve))
    cuff = palette.contrasting(rng, top.sleeve_color, person.head.skin, top.cuff or top.color)
    return dataclasses.replace(person, top=dataclasses.replace(top, cuff=cuff))


def _upper_leg(rng: np.random.Generator, person: Person) -> Person:
    bottom = person.bottom
    cloth = person.top.color if person.top.hangs else bottom.color
    stripe = palette.contrasting(rng, bottom.color, cloth, bottom.stripe or cloth)
    return dataclasses.replace(person, bottom=dataclasses.replace(bottom, stripe=stripe))


def _lower_leg(rng: np.random.Generator, person: Person) -> Person:
    bottom = person.bottom
    if person.bare_shins and not person.long_skirt:
        sock = palette.contrasting(rng, bottom.sock, person.head.skin)
        return dataclasses.replace(person, bottom=dataclasses.replace(bottom, sock=sock))
    cuff = palette.contrasting(rng, bottom.color, bottom.cuff or bottom.color)
    return dataclasses.replace(person, bottom=dataclasses.replace(bottom, cuff=cuff))


def _foot(rng: np.random.Generator, person: Person) -> Person:
    shoes = person.shoes
    color = palette.contrasting(rng, shoes.color)
    kind = shoes.kind if shoes.kind is not ShoeKind.PUMP else ShoeKind.SNEAKER
    return dataclasses.replace(person, shoes=dataclasses.replace(shoes, color=color, kind=kind))


TWISTS: tuple[Twist, ...] = (_head, _torso, _upper_arm, _lower_arm, _upper_leg, _lower_leg, _foot)
"""One per foreground part: the same person with that part changed."""


def draw_group(rng: np.random.Generator, size: int, *, draw: Draw = draw_person) -> list[Person]:
    """`size` different people: one, and others who differ from that one in one part."""
    group = [draw(rng)]
    order = rng.permutation(len(TWISTS))
    turn = 0
    while len(group) < size:
        twin = TWISTS[order[turn % len(order)]](rng, group[0])
        turn += 1
        if twin not in group:
            group.append(twin)
    return group


def draw_population(
    rng: np.random.Generator, number: int, settings: SyntheticSettings
) -> list[Person]:
    """`number` people, the given share of them in groups of look-alikes, side by side."""
    draw = draw_passenger if settings.drawing == WORLDS else draw_person
    grouped = int(number * settings.look_alike_share) // settings.look_alikes * settings.look_alikes
    people: list[Person] = []
    while len(people) < grouped:
        people.extend(draw_group(rng, settings.look_alikes, draw=draw))
    people.extend(draw(rng) for _ in range(number - grouped))
    return people
