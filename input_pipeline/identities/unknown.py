"""Junk, and cameras and tracklets that are not known, in every way in which data write them."""

from __future__ import annotations

import re
import unicodedata

JUNK = -1
"""The identity of bad detections in Market-1501: counted, and otherwise as if not there."""

UNKNOWN_CAMERA = -1
"""A camera that is not known. It equals no camera, not even another unknown one."""

UNKNOWN_TRACKLET = ""
"""A tracklet that is not known. It equals no tracklet, not even another unknown one."""

DASH = r"[-\N{MINUS SIGN}\N{HYPHEN}-\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}\N{SMALL HYPHEN-MINUS}]"
"""What is written for a minus, as a regular expression."""

_MINUS_ONE = re.compile(rf"{DASH}0*1([.,]0*)?")
_NO_CAMERA = {"", "?", "-", "na", "n/a", "nan", "none", "null", "unknown"}


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


def junk_notice(count: int) -> str:
    """Says how many images of junk are left out."""
    images = "image of identity −1 (junk) is" if count == 1 else "images of identity −1 (junk) are"
    return f"{count:,} {images} left out"
