"""What the HTTP API takes and returns, as its OpenAPI document describes it."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_SEARCH = 1000
"""Matches of one query that can be reached, page by page."""
MOST_TOGETHER = 16
"""Images of one query."""
_MARKS = 200  # images marked right or wrong
_ID = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_CAMERA = Annotated[int | str, Field(union_mode="left_to_right")]
_NAME = Annotated[str, Field(min_length=1, max_length=200)]
_QUERY = Annotated[str, Field(max_length=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(BaseModel):
    """A body part in an image."""

    part: int = Field(description="Its number in the part map.")
    name: str = Field(description="Its name, by which a search can ask for it.")
    color: str = Field(description="Its color in drawings, as #rrggbb.")
    visible: bool = Field(description="Whether the network sees it in the image.")


class PartMap(BaseModel):
    """The part that each cell of an image shows, row by row."""

    width: int
    height: int
    cells: list[int] = Field(description="height × width numbers of parts; 0 is the background.")


class Embedded(BaseModel):
    """An image that can be searched for."""

    query: str = Field(description="Its name in later requests, until newer queries displace it.")
    height: int = Field(description="Of the image as it was sent, in pixels.")
    width: int = Field(description="Of the image as it was sent, in pixels.")
    parts: list[Part] = Field(description="Empty where the network or the gallery has none.")
    part_map: PartMap | None
    descriptor: list[float] | None = Field(
        description="The vector that is compared, of unit length; only if asked for."
    )


class Where(_Strict):
    """Which images of the gallery are searched."""

    cameras: list[_CAMERA] | None = Field(
        default=None, max_length=10_000, description="Only images of these cameras."
    )
    without_cameras: list[_CAMERA] = Field(
        default=[], max_length=10_000, description="No images of these cameras."
    )
    identity: _NAME | None = Field(default=None, description="Only images of this person.")
    since: datetime.datetime | None = Field(
        default=None, description="Only images from this time on; without a zone it is UTC."
    )
    until: datetime.datetime | None = Field(default=None, description="Only images up to it.")


class SearchOptions(_Strict):
    """How a query is searched for."""

    parts: list[_NAME] | None = Field(
        default=None,
        max_length=64,
        description="Compare only these body parts, by name; an empty list is all that the query "
        "shows. If not given, whole images are compared.",
    )
    where: Where = Field(default_factory=Where)
    tracklets: bool = Field(
        default=False,
        description="Rank tracklets rather than images, each under the name of its first image, "
        "whose camera and time count; that of the query is left out.",
    )
    other_cameras: bool = Field(
        default=False,
        description="Leave out the camera of the query, where it is an image of the gallery.",
    )
    max_distance: float | None = Field(
        default=None,
        ge=0,
        description="Farther images are no matches; if none is left, nobody was found.",
    )
    right: list[_ID] = Field(
        default=[], max_length=_MARKS, description="Images that show the person: move toward them."
    )
    wrong: list[_ID] = Field(
        default=[],
        max_length=_MARKS,
        description="Images that do not: move away from them, and leave them out.",
    )
    offset: int = Field(default=0, ge=0, lt=LONGEST_SEARCH)
    limit: int = Field(default=24, ge=1, le=200)


class SearchRequest(SearchOptions):
    """A search: give a query, images of the gallery or both, or else a descriptor.

    Several images are searched for as one: they show the same person.
    """

    query: _QUERY | Annotated[list[_QUERY], Field(max_length=MOST_TOGETHER)] = Field(
        default=[], description="What POST /embed called the image, or several."
    )
    image: _ID | Annotated[list[_ID], Field(max_length=MOST_TOGETHER)] = Field(
        default=[], description="An image of the gallery, by its id, or several."
    )
    descriptor: list[float] | None = Field(
        default=None, max_length=100_000, description="A descriptor of the gallery's network."
    )

    @property
    def queries(self) -> list[str]:
        """The names of all embedded images."""
        return [self.query] if isinstance(self.query, str) else self.query

    @property
    def images(self) -> list[str]:
        """The ids of all images of the gallery that are searched for."""
        return [self.image] if isinstance(self.image, str) else self.image


class Entry(BaseModel):
    """An image of the gallery."""

    id: str = Field(description="What requests call it; it depends on its name only.")
    name: str
    identity: int | str | None = Field(description="Who is on it, if that is known.")
    camera: int | str | None = Field(description="Which camera took it, if that is known.")
    time: datetime.datetime | None = Field(description="When, if that is known.")


class Match(Entry):
    """An image of the gallery that a search found."""

    rank: int = Field(description="1 is the nearest.")
    distance: float
    mark: Literal["right", "wrong"] | None
    images: int = Field(description="How many images it stands for: 1, or those of a tracklet.")


class Matches(BaseModel):
    """What a search found, nearest first."""

    matches: list[Match]
    more: bool = Field(description="Whether there are more, at a larger offset.")
    nobody: bool = Field(
        description="Whether images were searched and none is near enough: the person is not in "
        "this part of the gallery."
    )
    nearest: float | None = Field(
        description="The distance of the nearest image, whether or not it is near enough; null "
        "where none passes the filters or shares a body part with the query."
    )
    by: Literal["image", "parts"] = Field(description="What was compared.")
    milliseconds: float = Field(description="Time that the search took, waiting included.")


class Listing(BaseModel):
    """Images of the gallery, in its order."""

    images: list[Entry]
    total: int = Field(description="Images on all pages.")


class Camera(BaseModel):
    """A camera of the gallery."""

    camera: str
    images: int


class Threshold(BaseModel):
    """A distance that keeps errors rare, as `magnifier gallery verify` noted it."""

    rate: float = Field(description="Share of pairs of different people that are nearer.")
    distance: float


class Info(BaseModel):
    """The gallery and what the server can do with it."""

    gallery: str
    images: int
    cameras: list[Camera]
    first: datetime.datetime | None = Field(description="The earliest time, if any is known.")
    last: datetime.datetime | None = Field(description="The latest time, if any is known.")
    identities: bool = Field(description="Whether the gallery says who is on its images.")
    tracklets: bool = Field(description="Whether tracklets can be ranked.")
    parts: list[str] = Field(description="Body parts that can be searched by; empty if none can.")
    why: bool = Field(description="Whether POST /why can explain a match.")
    metric: str
    max_distance: float | None = Field(description="The cut-off that the server was started with.")
    thresholds: list[Threshold] = Field(
        description="For the cut-off of a search by whole images; empty if the gallery notes none."
    )
    largest_upload: int = Field(description="Bytes of an uploaded image, at most.")
    largest_image: int = Field(description="Pixels of an uploaded image, at most.")
    version: str


class WhyRequest(_Strict):
    """Which match to explain: one of `query` and `image`, and the match."""

    query: str | None = Field(default=None, max_length=100)
    image: _ID | None = None
    match: _ID


class PartReason(BaseModel):
    """How alike a body part is in both images."""

    name: str
    color: str
    similarity: float | None = Field(description="Cosine, −1 to 1; null where it is hidden.")
    score: float | None = Field(
        description="The same in standard deviations from what is usual for two images of one "
        "person; null where the gallery does not tell that."
    )
    hidden_in: list[str] = Field(description="`query`, `match` or both.")


class BranchReason(BaseModel):
    """What a branch of the network adds to the squared distance."""

    name: str
    squared_distance: float
    share: float


class Panel(BaseModel):
    """Two drawings side by side, as PNG in base64."""

    name: str
    query: str
    match: str


class Why(BaseModel):
    """Why a match is as far from the query as it is."""

    distance: float
    summary: str
    parts: list[PartReason]
    branches: list[BranchReason]
    panels: list[Panel]


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="The same for the same kind of problem.")
    message: str = Field(description="One sentence that says what to do.")


class Failure(BaseModel):
    """Every answer that is no success."""

    error: Problem
