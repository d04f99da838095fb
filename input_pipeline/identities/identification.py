"""Who is on each image of a folder, told by names and places once for all of them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections import defaultdict
from collections.abc import Sequence

from input_pipeline.dataset import SPLITS
from input_pipeline.identities.file_names import (
    Who,
    camera_in_name,
    camera_of_folder,
    who_is_named,
    who_leads,
)
from input_pipeline.identities.spelling import near_spelling_notices, one_spelling
from input_pipeline.identities.unknown import JUNK, is_junk, junk_notice


@dataclasses.dataclass(frozen=True)
class Identified:
    """Who is on each image of a folder, and how that was decided.

    Attributes:
        who: For each image; None where nothing is told. Identities are all numbers, from names,
            or all text, from folders. Junk has the identity `JUNK`.
        by_folder: Whether the identities are names of folders.
        notices: What was taken as identities and from what, and what is not told; a sentence each.
    """

    who: tuple[Who | None, ...]
    by_folder: bool
    notices: tuple[str, ...]


def identify(
    names: Sequence[str], *, folder: str = "", folders_are_people: bool = False
) -> Identified:
    """Decides, once for all images of a folder, who is on each and which camera took it.

    A name in the manner of Market-1501 tells both. Otherwise the folder of a person does: one in
    `train`, `query` or `gallery`. Where names tell who, folders that look like cameras (`cam1`) are
    cameras. Where some names in the folders of persons tell who and others do not, folders decide
    if each holds one person by its names, too; otherwise names do.

    Args:
        names: Paths relative to the folder, with `/` between folders.
        folder: The folder's own name, which may be `query` or that of a camera.
        folders_are_people: Whether the user said that each person has a folder, so that names count
            only where folders are cameras.
    """
    places = _with_leading_numbers([_Place.of(name, folder) for name in names])
    persons = _person_folders(places)
    by_folder = _folders_decide(places, persons, folders_are_people=folders_are_people)
    who = tuple(
        _decided(place, person, by_folder=by_folder)
        for place, person in zip(places, persons, strict=True)
    )
    return Identified(who, by_folder, _notices(places, persons, who, by_folder=by_folder))


def who_is_on(path: pathlib.Path, *, by_folder: bool) -> Who | None:
    """Who is on one image, told as the identities of an identified folder are.

    Args:
        path: The image.
        by_folder: Whether these are names of folders, or numbers in file names.
    """
    above = path.absolute().parts[-4:-1]
    starts = [i for i, part in enumerate(above[:-1]) if part in SPLITS]
    place = _Place.of("/".join((*above[starts[-1] if starts else -1 :], path.name)), "")
    (place,) = _with_leading_numbers([place])
    if not by_folder:
        return _decided(place, None, by_folder=False)
    (person,) = _person_folders([dataclasses.replace(place, named=None)])
    return _decided(place, person, by_folder=True)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where an image lies.

    Attributes:
        path: As it was given.
        named: Who its file name tells.
        above: The folders above it, outermost first, and before them the one that was looked in.
        people: Those of them that may be the folder of a person.
    """

    path: str
    named: Who | None
    above: tuple[str, ...]
    people: tuple[str, ...]

    @classmethod
    def of(cls, path: str, folder: str) -> _Place:
        # A split may be the folder that was looked in or one in it; not one that leads to it.
        above = tuple(one_spelling(part) for part in (folder, *path.split("/")[:-1]))
        split = next((i for i, part in enumerate(above[:2]) if part in SPLITS), len(above))
        return cls(path, who_is_named(path), above, above[split + 1 :])

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def in_spelled_out_camera(self) -> bool:
        """Whether no folder but a camera's tells who is on it, and that one is no mere `c1`."""
        nearest = [part for part in self.above if camera_of_folder(part) is not None][-1:]
        others = [part for part in self.people if camera_of_folder(part) is None]
        return not others and any(part.lower().startswith("cam") for part in nearest)

    def camera(self, person: str | None) -> int | None:
        """The camera in its name, else that of the nearest folder that is not the person's."""
        if self.named is not None and self.named.camera is not None:
            return self.named.camera
        camera = camera_in_name(self.name)
        return self.folder_camera(person) if camera is None else camera

    def folder_camera(self, person: str | None) -> int | None:
        cameras = [camera_of_folder(part) for part in self.above if part != person]
        return next((camera for camera in reversed(cameras) if camera is not None), None)


def _with_leading_numbers(places: list[_Place]) -> list[_Place]:
    """Takes `0002_7.jpg` in `cam1` as identity 2, where all names in such folders are like that."""
    named = {
        i: who_leads(place.name)
        for i, place in enumerate(places)
        if place.named is None and place.in_spelled_out_camera
    }
    if not all(named.values()):
        return places
    return [
        dataclasses.replace(place, named=named[i]) if i in named else place
        for i, place in enumerate(places)
    ]


def _person_folders(places: Sequence[_Place]) -> list[str | None]:
    """The folder of a person that each image lies in, if it does."""
    led = [
        place for place in places if place.people and camera_of_folder(place.people[0]) is not None
    ]
    names_tell = any(place.named for place in led)
    deeper = {i: _first_person(place.people) for i, place in enumerate(places) if place.people}
    cameras_lead = len(led) == len(deeper) and all(deeper.values())
    persons: list[str | None] = []
    for i, place in enumerate(places):
        if not place.people:
            persons.append(None)
        elif camera_of_folder(place.people[0]) is None or cameras_lead:
            persons.append(deeper[i])
        else:
            persons.append(None if names_tell else place.people[0])
    return persons


def _first_person(folders: Sequence[str]) -> str | None:
    return next((part for part in folders if camera_of_folder(part) is None), None)


def _folders_decide(
    places: Sequence[_Place], persons: Sequence[str | None], *, folders_are_people: bool
) -> bool:
    in_person = [(place, person) for place, person in zip(places, persons, strict=True) if person]
    if not in_person:
        return False
    if folders_are_people or not any(place.named for place in places):
        return True
    if all(place.named for place, _ in in_person):
        return False
    told = defaultdict(set)
    for place, person in in_person:
        if place.named:
            told[person].add(place.named.identity)
    elsewhere = any(
        place.named for place, person in zip(places, persons, strict=True) if not person
    )
    return not elsewhere and all(len(identities) == 1 for identities in told.values())


def _decided(place: _Place, person: str | None, *, by_folder: bool) -> Who | None:
    named = place.named.identity if place.named else None
    identity: int | str | None = person if by_folder else named
    if (by_folder and person is not None and is_junk(person)) or named == JUNK:
        identity = JUNK
    camera = place.camera(person if by_folder else None)
    tracklet = place.named.tracklet if place.named else None
    return None if identity is None and camera is None else Who(identity, camera, tracklet)


def _notices(
    places: Sequence[_Place],
    persons: Sequence[str | None],
    who: Sequence[Who | None],
    *,
    by_folder: bool,
) -> tuple[str, ...]:
    told = [
        (place, each)
        for place, each in zip(places, who, strict=True)
        if each is not None and each.identity is not None and each.identity != JUNK
    ]
    junk = sum(each is not None and each.identity == JUNK for each in who)
    notices = [junk_notice(junk)] if junk else []
    if told:
        place, each = told[0]
        unused = next((person for person in persons if person and not by_folder), None)
        where = "the names of folders" if by_folder else "the numbers in file names"
        where += f" (rather than folders such as {unused})" if unused else ""
        camera = "" if each.camera is None else f", camera {each.camera}"
        notices.append(
            f"identities are {where}, such as {each.identity}{camera} for {place.path}"
            + _looks_like_camera(told, by_folder=by_folder)
        )
    untold = [
        place
        for place, each in zip(places, who, strict=True)
        if each is None or each.identity is None
    ]
    if untold:
        notices.append(
            f"{len(untold):,} of {len(places) - junk:,} images tell no identity, neither by a name "
            f"like 0002_c1_7.jpg nor by a folder like query/alice, such as {untold[0].path}"
        )
    notices += near_spelling_notices(
        {each.identity for _, each in told if isinstance(each.identity, str)}
    )
    other = [
        place
        for place, each in told
        if (folder := place.folder_camera(str(each.identity) if by_folder else None)) is not None
        and folder != each.camera
    ]
    if other:
        notices.append(
            f"{len(other):,} of {len(places):,} images lie in a folder of another camera than "
            f"their name says, such as {other[0].path}: the name counts"
        )
    return tuple(notices)


def _looks_like_camera(told: Sequence[tuple[_Place, Who]], *, by_folder: bool) -> str:
    folders = [str(who.identity) for _, who in told] if by_folder else []
    cameras = [folder for folder in folders if camera_of_folder(folder) is not None]
    if not cameras:
        return ""
    return (
        f"; if {cameras[0]} is a camera rather than a person, begin the file names with the "
        "identity, as in 0002_c1_7.jpg"
    )
