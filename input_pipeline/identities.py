"""Who a person is, which camera took an image, and what is junk: decided here, for everyone.

Readers, embedding, search, retrieval, galleries and training all ask this module, so that one name
means one person and one camera wherever it comes from:

- `is_junk`, `is_unknown_camera`, `is_unknown_tracklet` and `one_spelling` for a single identity,
  camera, tracklet or name;
- `who_is_named`, `camera_in_name` and `camera_of_folder` for a single file or folder name;
- `identify` for all images of a folder at once, and `who_is_on` for one image beside such a folder;
- `number_names` and `near_spellings` for the names of a table or of a folder per person.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import pathlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from input_pipeline.dataset import SPLITS

JUNK = -1
"""The identity of bad detections in Market-1501: counted, and otherwise as if not there."""

UNKNOWN_CAMERA = -1
"""A camera that is not known. It equals no camera, not even another unknown one."""

UNKNOWN_TRACKLET = ""
"""A tracklet that is not known. It equals no tracklet, not even another unknown one."""

LARGEST = 2**31 - 1
"""The largest number that an identity or a camera can have in a dataset."""

_LARGEST_IN_NAME = 2**63 - 1
_DASH = r"[-\N{MINUS SIGN}\N{HYPHEN}-\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}\N{SMALL HYPHEN-MINUS}]"
_MINUS_ONE = re.compile(rf"{_DASH}0*1([.,]0*)?")
_NO_CAMERA = {"", "?", "-", "na", "n/a", "nan", "none", "null", "unknown"}
_CAMERA = r"c(?:am(?:era)?[_-]?)?"
# The identity, the camera, the tracklet's sequence, and anything after a separator.
_MARKET = re.compile(
    rf"(?P<identity>{_DASH}0*1|[0-9]+)_{_CAMERA}(?P<camera>[0-9]+)(?:s[0-9]+)?(?:[_-].*)?\.\w+",
    re.IGNORECASE,
)
_MARKET_WITHOUT_CAMERA = re.compile(rf"(?P<identity>{_DASH}0*1|[0-9]+)(?:[_-].*)?\.\w+")
# MSMT17: identity, image, camera, month and day with the time of day.
_MSMT = re.compile(
    r"(?P<identity>[0-9]{4})_[0-9]{3}_(?P<camera>0[1-9]|1[0-5])_"
    r"[0-9]{4}(?:morning|noon|afternoon)_.*\.\w+"
)
# MARS: identity (junk is 00-1), camera, tracklet of the identity, frame.
_MARS = re.compile(
    r"(?P<tracklet>(?P<identity>[0-9]{4}|00-1)C(?P<camera>[1-9])T[0-9]{4})F[0-9]{3,4}\.\w+"
)
# Digits that begin a name in a folder such as cam1. Seven or more are dates and times.
_LEADING = re.compile(rf"(?P<identity>{_DASH}0*1|[0-9]{{1,6}})[_-].*\.\w+")
# Not a bare `c` after a hyphen, and no more than three digits: random names are full of `-c123-`.
_CAMERA_IN_NAME = re.compile(
    r"(?:(?:^|_)c|(?:^|[_-])cam(?:era)?[_-]?)(?P<camera>[0-9]{1,3})(?=[_.-]|s[0-9])", re.IGNORECASE
)
_CAMERA_FOLDER = re.compile(
    r"c(?:[ _-]?|am(?:era)?[ _-]?)(?P<number>[0-9]{1,3})|cam(?:era)?[ _-](?P<letter>[a-z])",
    re.IGNORECASE,
)


# --- One identity, camera or name -----------------------------------------------------------------


def is_junk(identity: object) -> bool:
    """Whether an identity is that of bad detections, in every way in which −1 can be written.

    Args:
        identity: A number, or text such as `-1`, `-0001` or `-1.0`; bytes are read as UTF-8.
    """
    if isinstance(identity, bytes):
        identity = identity.decode("utf-8", "replace")
    if isinstance(identity, str):
        # Compatibility forms too: keyboards for Chinese and Japanese write digits of full width.
        return _MINUS_ONE.fullmatch(unicodedata.normalize("NFKC", identity).strip()) is not None
    return bool(identity == JUNK)


def is_unknown_camera(camera: object) -> bool:
    """Whether a camera is not known: −1, None, empty text, or a word such as `nan` or `unknown`."""
    if isinstance(camera, str) and camera.strip().casefold() in _NO_CAMERA:
        return True
    return camera is None or is_junk(camera)


def is_unknown_tracklet(tracklet: object) -> bool:
    """Whether a tracklet is not known, as a camera is not, or NaN: it equals no other one."""
    return tracklet != tracklet or is_unknown_camera(tracklet)


def whole_number(text: str) -> int | None:
    """The number that plain digits say, or None where it is no number or too large."""
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > len(str(LARGEST)):
        return None
    number = int(text)
    return number if number <= LARGEST else None


def one_spelling(name: str) -> str:
    """The name in Unicode's composed form: computers write `é` as one letter or as two."""
    return unicodedata.normalize("NFC", name)


def number_names(names: Iterable[str]) -> Mapping[str, int]:
    """Gives every name a number.

    Names that are all different whole numbers of up to 2³¹ − 1 keep their value; otherwise the
    names count from 0 in alphabetical order. Names of junk become `JUNK`, and decide nothing.
    """
    given = set(names)
    junk = {name: JUNK for name in given if is_junk(name)}
    ordered = sorted(given - set(junk))
    values = {name: number for name in ordered if (number := whole_number(name)) is not None}
    if len(set(values.values())) != len(ordered):
        values = {name: number for number, name in enumerate(ordered)}
    return {**values, **junk}


def near_spellings(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that count as different and may well be meant as one.

    These are numbers of one value (`4`, `0004`, `4.0`), and names that differ only in capitals,
    blanks or the width of their letters.
    """
    groups: dict[object, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        groups[_gist(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _gist(name: str) -> object:
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        number = decimal.Decimal(text.replace("_", "\0"))
    except decimal.InvalidOperation:
        return text
    return number if number.is_finite() else text


# --- One file or folder name ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Who:
    """What the name or the place of an image tells.

    Attributes:
        identity: A number from a name such as `0002_c1s1_000451_03.jpg`, or the name of the folder
            of a person, as in `query/alice/7.jpg`; None if it is not told.
        camera: None if it is not told.
        tracklet: What the images of one tracklet have in common, such as `0001C1T0002` in names of
            MARS; None if it is not told.
    """

    identity: int | str | None
    camera: int | None = None
    tracklet: str | None = None


def who_is_named(path: pathlib.PurePath | str, *, camera_required: bool = True) -> Who | None:
    """What a file name in the manner of Market-1501, MSMT17 or MARS tells, or None.

    Args:
        path: The file, with `/` between folders; only its name counts.
        camera_required: Whether a name without a camera, such as `17_anything.jpg`, tells nothing.
    """
    name = path.rpartition("/")[2] if isinstance(path, str) else path.name
    match = _MARS.fullmatch(name)
    if match is not None:
        identity = JUNK if match["identity"] == "00-1" else int(match["identity"])
        return Who(identity, int(match["camera"]), match["tracklet"])
    match = _MSMT.fullmatch(name) or _MARKET.fullmatch(name)
    if match is not None:
        return _who(match["identity"], match["camera"])
    match = None if camera_required else _MARKET_WITHOUT_CAMERA.fullmatch(name)
    return _who(match["identity"], None) if match else None


def camera_in_name(name: str) -> int | None:
    """The camera in a file name such as `c3_0001.jpg`, `door_c3.jpg` or `x-cam3-1.jpg`, or None."""
    match = _CAMERA_IN_NAME.search(name)
    return int(match["camera"]) if match else None


@functools.lru_cache(maxsize=65_536)
def camera_of_folder(name: str) -> int | None:
    """The camera that a folder is called after, or None.

    `cam1`, `c02`, `camera_3` and `Cam-3` look like cameras, and `cam_a` like camera 1.
    """
    match = _CAMERA_FOLDER.fullmatch(name.strip())
    if match is None:
        return None
    if match["letter"]:
        return ord(match["letter"].lower()) - ord("a") + 1
    return int(match["number"])


def _who(identity: str, camera: str | None) -> Who | None:
    """Identity and camera from their digits; None where they are too many for an integer."""
    if is_junk(identity):
        number = JUNK
    elif len(identity) > 30 or int(identity) > _LARGEST_IN_NAME:
        return None
    else:
        number = int(identity)
    if camera is None:
        return Who(number)
    return Who(number, int(camera)) if len(camera) <= 9 else None


# --- All images of a folder -----------------------------------------------------------------------


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
    matches = {
        i: _LEADING.fullmatch(place.name)
        for i, place in enumerate(places)
        if place.named is None and place.in_spelled_out_camera
    }
    if not all(matches.values()):
        return places
    named = {i: _who(match["identity"], None) for i, match in matches.items() if match}
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


def junk_notice(count: int) -> str:
    """Says how many images of junk are left out."""
    images = "image of identity −1 (junk) is" if count == 1 else "images of identity −1 (junk) are"
    return f"{count:,} {images} left out"


def near_spelling_notices(names: Iterable[str], *, kind: str = "identities") -> list[str]:
    """Says which names count as different though they may well be meant as one."""
    groups = near_spellings(name for name in names if not is_junk(name))
    if not groups:
        return []
    named = "; ".join(", ".join(map(repr, group)) for group in groups[:3])
    more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
    return [f"different {kind} with almost the same name: {named}{more}. Write each in one way"]
