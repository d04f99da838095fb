"""What is known of a gallery's images, and which of them pass the filters of a request."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_junk, is_unknown_camera

_NO_TIME = np.iinfo(np.int64).min  # of an entry whose time is not known


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a gallery.

    Attributes:
        id: What requests call it: 16 hexadecimal digits that depend on its name only.
        name: Its path below the folder of the images.
        identity: Who is on it, if that is known.
        camera: Which camera took it, if that is known.
        time: When, with the zone, if that is known.
    """

    id: str
    name: str
    identity: int | str | None = None
    camera: int | str | None = None
    time: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which entries are searched or listed.

    Attributes:
        cameras: Only of these, as text; None is all, known or not.
        without_cameras: None of these.
        identity: Only of this person, as text.
        since: Not before this time; entries of unknown time do not pass.
        until: Not after it.
        name: Only names that hold this text, in any case; in listings only.
        without: Entries that are left out, by id.
    """

    cameras: frozenset[str] | None = None
    without_cameras: frozenset[str] = frozenset()
    identity: str | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    name: str = ""
    without: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Listing:
    """A page of entries, and how many there are on all pages."""

    entries: tuple[Entry, ...]
    total: int


def entry_id(name: str) -> str:
    """What requests call the image of this name."""
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class Entries:
    """What a gallery knows of all of its images.

    Attributes:
        ids: What requests call each.
        names: Of each.
        cameras: How many entries each known camera has, by its name as text, in order.
        times: The first and the last known time, or None.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        identities: Sequence[int | str | None] | None = None,
        cameras: Sequence[int | str | None] | None = None,
        times: Sequence[datetime.datetime | None] | None = None,
    ) -> None:
        """Indexes what is known, of each image or None.

        Args:
            names: All different.
            identities: What stands for nobody in particular, -1, counts as unknown.
            cameras: The same.
            times: With their zones.
        """
        self.ids = [entry_id(name) for name in names]
        self.names = list(names)
        self._rows = {number: row for row, number in enumerate(self.ids)}
        self._identities = _known(identities, is_junk)
        self._cameras = _known(cameras, is_unknown_camera)
        self._camera_texts = None if self._cameras is None else _texts(self._cameras)
        self._identity_texts = None if self._identities is None else _texts(self._identities)
        self._times = times
        self._microseconds = None if times is None else _microseconds(times)
        counted: dict[int | str, int] = {}
        for camera in self._cameras or ():
            if camera is not None:
                counted[camera] = counted.get(camera, 0) + 1
        order = sorted(counted, key=lambda camera: (isinstance(camera, str), camera))
        self.cameras = {str(camera): counted[camera] for camera in order}
        known = [time for time in times or () if time is not None]
        self.times = (min(known), max(known)) if known else None

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.ids)

    def __contains__(self, number: str) -> bool:
        """Whether there is an entry of this id."""
        return number in self._rows

    @property
    def has_identities(self) -> bool:
        """Whether it is known who is on any image."""
        return self._identities is not None

    def row(self, number: str) -> int:
        """Where the entry of an id is.

        Raises:
            UserError: There is none.
        """
        row = self._rows.get(number)
        if row is None:
            raise UserError(f"The gallery has no image {number}.")
        return row

    def entry(self, row: int) -> Entry:
        """What is known of an image."""
        return Entry(
            id=self.ids[row],
            name=self.names[row],
            identity=None if self._identities is None else self._identities[row],
            camera=None if self._cameras is None else self._cameras[row],
            time=None if self._times is None else self._times[row],
        )

    def listing(self, filters: Filters, *, offset: int, limit: int) -> Listing:
        """The entries that pass the filters, in the gallery's order, a page of them."""
        rows = np.flatnonzero(self.passing(filters))
        shown = rows[offset : offset + limit].tolist()
        return Listing(tuple(map(self.entry, shown)), len(rows))

    def passing(self, filters: Filters) -> NDArray[np.bool_]:
        """Whether each entry passes, `[N]`."""
        passing = np.ones(len(self), bool)
        if filters.cameras is not None:
            passing &= _is_one_of(self._camera_texts, filters.cameras)
        if filters.without_cameras:
            passing &= ~_is_one_of(self._camera_texts, filters.without_cameras)
        if filters.identity is not None:
            passing &= _is_one_of(self._identity_texts, {filters.identity})
        if filters.since is not None or filters.until is not None:
            times = self._microseconds
            if times is None:
                return np.zeros(len(self), bool)
            passing &= times != _NO_TIME
            if filters.since is not None:
                passing &= times >= _microseconds([filters.since])
            if filters.until is not None:
                passing &= times <= _microseconds([filters.until])
        if filters.name:
            text = filters.name.lower()
            passing &= np.fromiter((text in name.lower() for name in self.names), bool, len(self))
        for number in filters.without:
            row = self._rows.get(number)
            if row is not None:
                passing[row] = False
        return passing


def _known(
    values: Sequence[int | str | None] | None, is_unknown: Any
) -> list[int | str | None] | None:
    """Values with None for what is not known; None if nothing is."""
    if values is None:
        return None
    known = [None if value is None or is_unknown(value) else value for value in values]
    return known if any(value is not None for value in known) else None


def _texts(values: Sequence[int | str | None]) -> NDArray[np.object_]:
    return np.array(["" if value is None else str(value) for value in values], object)


def _is_one_of(texts: NDArray[np.object_] | None, wanted: Any) -> NDArray[np.bool_]:
    if texts is None:
        return np.zeros(1, bool)  # for each entry alike
    return np.fromiter((text != "" and text in wanted for text in texts), bool, len(texts))


def _microseconds(times: Sequence[datetime.datetime | None]) -> NDArray[np.int64]:
    """Since 1970; the least number for what is not known."""
    zone = datetime.UTC
    naive = [None if time is None else time.astimezone(zone).replace(tzinfo=None) for time in times]
    return np.array(naive, "datetime64[us]").astype(np.int64)
