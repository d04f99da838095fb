"""What the name of one file, or of one folder, tells of a person and a camera."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re

from input_pipeline.identities.unknown import DASH, JUNK, is_junk

_LARGEST_IN_NAME = 2**63 - 1
_CAMERA = r"c(?:am(?:era)?[_-]?)?"
# The identity, the camera, the tracklet's sequence, and anything after a separator.
_MARKET = re.compile(
    rf"(?P<identity>{DASH}0*1|[0-9]+)_{_CAMERA}(?P<camera>[0-9]+)(?:s[0-9]+)?(?:[_-].*)?\.\w+",
    re.IGNORECASE,
)
_MARKET_WITHOUT_CAMERA = re.compile(rf"(?P<identity>{DASH}0*1|[0-9]+)(?:[_-].*)?\.\w+")
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
_LEADING = re.compile(rf"(?P<identity>{DASH}0*1|[0-9]{{1,6}})[_-].*\.\w+")
# Not a bare `c` after a hyphen, and no more than three digits: random names are full of `-c123-`.
_CAMERA_IN_NAME = re.compile(
    r"(?:(?:^|_)c|(?:^|[_-])cam(?:era)?[_-]?)(?P<camera>[0-9]{1,3})(?=[_.-]|s[0-9])", re.IGNORECASE
)
_CAMERA_FOLDER = re.compile(
    r"c(?:[ _-]?|am(?:era)?[ _-]?)(?P<number>[0-9]{1,3})|cam(?:era)?[ _-](?P<letter>[a-z])",
    re.IGNORECASE,
)


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


def who_leads(name: str) -> Who | None:
    """The number that a file name such as `0002_7.jpg` begins with, if it is no date, or None."""
    match = _LEADING.fullmatch(name)
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
