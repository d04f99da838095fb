"""Queries against a gallery: what the HTTP API does, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import cachetools
import numpy as np
from numpy.typing import NDArray

from input_pipeline.dataset import BACKGROUND, PART_NAMES
from input_pipeline.errors import MagnifierError, UserError
from magnifier_jax.embedding.model import Model
from magnifier_jax.gallery.thresholds import greatest_distance
from magnifier_jax.retrieval.measures.verification import FALSE_POSITIVE_RATES
from magnifier_jax.retrieval.pooling import Groups, pool
from magnifier_jax.serve.batching import Batcher
from magnifier_jax.serve.catalog.catalog import By, Catalog, Match, Tracklets, Vectors, stacked
from magnifier_jax.serve.catalog.entries import Entry, Filters
from magnifier_jax.serve.explaining import MatchExplainer
from magnifier_jax.serve.image_files import ImageFiles
from magnifier_jax.serve.refinement import refine
from magnifier_jax.serve.schemas import (
    LONGEST_SEARCH,
    MOST_TOGETHER,
    SearchRequest,
    Why,
    WhyRequest,
)
from magnifier_jax.serve.uploads import UploadLimits, read_upload

T = TypeVar("T")
_KEPT_QUERIES = 512
_TOGETHER = 8  # images or searches in one call
_TOPS = (32, 128, 512, LONGEST_SEARCH + 1)  # so that many searches ask for as many


class UnknownQueryError(MagnifierError):
    """A query was never embedded, or newer ones have displaced it."""


@dataclasses.dataclass(frozen=True, eq=False)
class QueryImage:
    """An image that can be searched for.

    Attributes:
        name: What later requests call it.
        pixels: As the network sees it, uint8 `[H, W, 3]`.
        size: Height and width that it had.
        vectors: What is compared, of one image.
        part_map: The part of each cell, uint8 `[h, w]`, or None.
    """

    name: str
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    vectors: Vectors
    part_map: NDArray[np.uint8] | None


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        matches: Those on the page, nearest first.
        more: Whether there are more.
        nearest: Distance of the nearest entry, near enough or not; None if there is none.
        by: What was compared.
        seconds: How long it took.
    """

    matches: tuple[Match, ...]
    more: bool
    nearest: float | None
    by: By
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Search:
    """One query on its way into a batch; only those of the same key are searched together."""

    vectors: Vectors
    by: By
    filters: Filters
    top: int
    tracklets: bool

    @property
    def key(self) -> tuple[By, Filters, int, bool]:
        return self.by, self.filters, self.top, self.tracklets


class SearchService:
    """A network, a gallery and its images.

    Attributes:
        model: The network that made the gallery.
        catalog: The gallery.
        files: Its images.
        limits: What may be uploaded.
        max_distance: The cut-off of a search that gives none; None is none.
    """

    def __init__(
        self,
        model: Model,
        catalog: Catalog,
        files: ImageFiles,
        *,
        limits: UploadLimits | None = None,
        max_distance: float | None = None,
    ) -> None:
        if model.model_id != catalog.model:
            raise UserError(
                f"The gallery was made by another network than the one in {model.path}: name its "
                "work directory with --workdir, or embed the images again with `magnifier embed`."
            )
        self.model, self.catalog, self.files = model, catalog, files
        self.limits = limits or UploadLimits()
        self.max_distance = max_distance
        self._explainer = MatchExplainer(model, catalog)
        self._queries: cachetools.LRUCache[str, QueryImage] = cachetools.LRUCache(_KEPT_QUERIES)
        # One thread for whatever runs on the devices, so that calls do not get in each other's way.
        self._device = ThreadPoolExecutor(1, "device")
        self._explaining = ThreadPoolExecutor(1, "explainer")
        self._readers = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "reader")
        self._embed = Batcher(self._embed_batch, executor=self._device, most=_TOGETHER)
        self._search = Batcher(
            self._search_batch,
            executor=self._device,
            most=_TOGETHER,
            key=lambda search: search.key,
        )

    @property
    def part_names(self) -> tuple[str, ...]:
        """Body parts that can be searched by, in the order of their numbers; empty if none can."""
        count = self.catalog.parts if self.model.has_parts else 0
        names = PART_NAMES if count == len(PART_NAMES) else [f"part {i}" for i in range(count)]
        return tuple(names)

    @functools.cached_property
    def thresholds(self) -> dict[float, float]:
        """The largest distance of a match by false positive rate, as the gallery notes them."""
        found = {}
        for rate in FALSE_POSITIVE_RATES:
            with contextlib.suppress(UserError):  # It notes none for this rate.
                distance = greatest_distance(
                    self.catalog.notes, metric=self.catalog.metric, max_distance=None, fpr=rate
                )
                found[rate] = float(distance or 0)
        return found

    @property
    def explains(self) -> bool:
        """Whether the network can be looked into."""
        return self._explainer.possible

    def warm_up(self) -> None:
        """Compiles what requests need, so that none has to wait for it."""
        size = 1
        blank = np.zeros((*self.model.image_size, 3), np.uint8)
        while size <= _TOGETHER:
            found = self._embed_batch([blank] * size)
            size *= 2
        kinds: Sequence[By] = ("image", "parts") if self.part_names else ("image",)
        for by in kinds:
            self.catalog.nearest(found[0].vectors, Filters(), by=by, top=_TOPS[0])

    def start(self) -> None:
        """Begins to answer, in the running event loop."""
        self._embed.start()
        self._search.start()
        if self.explains:
            # It takes a while to compile, and nobody asks for it first.
            self._explaining.submit(self._explainer.warm_up)

    async def close(self) -> None:
        """Refuses whoever still waits, and waits for what is running, but for explanations."""
        await self._embed.close()
        await self._search.close()
        self._device.shutdown(cancel_futures=True)
        self._explaining.shutdown(wait=False, cancel_futures=True)  # It may still compile.
        self._readers.shutdown(cancel_futures=True)

    # --- Queries ---

    async def embed_upload(self, data: bytes) -> QueryImage:
        """Embeds an uploaded image, and remembers it.

        Raises:
            BadUploadError: It cannot be used.
        """
        read = functools.partial(
            read_upload, data, image_size=self.model.image_size, limits=self.limits
        )
        pixels, size = await self._in_reader(read)
        return await self._remember(f"q{secrets.token_hex(12)}", pixels, size)

    def entry(self, number: str) -> Entry:
        """The entry of an id.

        Raises:
            UserError: There is none.
        """
        entries = self.catalog.entries
        return entries.entry(entries.row(number))

    async def embed_entry(self, number: str) -> QueryImage:
        """Embeds an image of the gallery, to see its parts; as `embed_upload`.

        Raises:
            UserError: There is no such image.
            ImageMissingError: Its file cannot be read.
        """
        entry = self.entry(number)
        name = f"g{number}-{await self._in_reader(lambda: self.files.tag(entry.name, 'full'))}"
        if name in self._queries:
            return self._queries[name]
        pixels = await self._in_reader(
            lambda: self.files.pixels(entry.name, image_size=self.model.image_size)
        )
        return await self._remember(name, pixels, pixels.shape[:2])

    def query(self, name: str) -> QueryImage:
        """A query that was embedded before.

        Raises:
            UnknownQueryError: It is not known, or not any more.
        """
        try:
            return self._queries[name]
        except KeyError:
            raise UnknownQueryError(
                "This query is not known any more: send its image again."
            ) from None

    async def _remember(
        self, name: str, pixels: NDArray[np.uint8], size: tuple[int, ...]
    ) -> QueryImage:
        found = await self._embed(pixels)
        query = dataclasses.replace(found, name=name, size=(size[0], size[1]))
        self._queries[name] = query
        return query

    def _embed_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[QueryImage]:
        found = self.model.embed(np.stack(images), batch_size=_TOGETHER)

        def rows(array: NDArray[Any] | None, i: int) -> NDArray[Any] | None:
            return None if array is None else array[i : i + 1]

        return [
            QueryImage(
                name="",
                pixels=image,
                size=self.model.image_size,
                vectors=Vectors(
                    found.descriptors[i : i + 1], rows(found.parts, i), rows(found.visible, i)
                ),
                part_map=None if found.part_maps is None else found.part_maps[i],
            )
            for i, image in enumerate(images)
        ]

    # --- Searches ---

    async def search(self, request: SearchRequest) -> Found:
        """Searches the gallery.

        Raises:
            UserError: The request does not fit the gallery or the network.
            UnknownQueryError: Its query is not known any more.
        """
        start = time.perf_counter()
        asked = self._vectors(request)
        of_marked = self._tracklets.vectors if request.tracklets else self._of_entries
        vectors = refine(
            asked,
            right=of_marked(request.right) if request.right else None,
            wrong=of_marked(request.wrong) if request.wrong else None,
        )
        by: By = "image" if request.parts is None else "parts"
        if request.parts is not None:
            vectors = self._chosen(vectors, request.parts)
        end = request.offset + request.limit
        top = next(size for size in _TOPS if size > min(end, LONGEST_SEARCH))
        found = await self._search(
            _Search(vectors, by, self._filters(request), top, tracklets=request.tracklets)
        )
        limit = self.max_distance if request.max_distance is None else request.max_distance
        near = found if limit is None else tuple(one for one in found if one.distance <= limit)
        return Found(
            matches=near[request.offset : end],
            more=len(near) > end and end < LONGEST_SEARCH,
            nearest=found[0].distance if found else None,
            by=by,
            seconds=time.perf_counter() - start,
        )

    def _search_batch(self, searches: Sequence[_Search]) -> list[tuple[Match, ...]]:
        by, filters, top, tracklets = searches[0].key
        together = stacked([search.vectors for search in searches])
        searched = self._tracklets if tracklets else self.catalog
        return searched.nearest(together, filters, by=by, top=top)

    @property
    def _tracklets(self) -> Tracklets:
        found = self.catalog.tracklets
        if found is None:
            raise UserError(
                "The gallery does not say which images are a tracklet: give it a column "
                "'tracklet', or search its images."
            )
        return found

    def _vectors(self, request: SearchRequest) -> Vectors:
        count = len(request.queries) + len(request.images)
        if bool(count) == (request.descriptor is not None):
            raise UserError(
                "Give a query, an image of the gallery, several of both, or else a descriptor."
            )
        if count > MOST_TOGETHER:
            raise UserError(f"A search takes {MOST_TOGETHER} images at most, not {count}.")
        if request.descriptor is None:
            asked = [self.query(name).vectors for name in request.queries]
            asked += [self._of_entries([number]) for number in request.images]
            return asked[0] if count == 1 else _pooled(asked)
        descriptor = np.array([request.descriptor], np.float32)
        width = self.catalog.width
        if descriptor.shape[1] != width or not np.isfinite(descriptor).all():
            raise UserError(f"A descriptor of this gallery has {width} finite numbers.")
        return Vectors(descriptor)

    def _of_entries(self, numbers: Sequence[str]) -> Vectors:
        entries = self.catalog.entries
        return self.catalog.vectors([entries.row(number) for number in numbers])

    def _chosen(self, vectors: Vectors, names: Sequence[str]) -> Vectors:
        """The query with all but the chosen parts hidden."""
        known = self.part_names
        if not known or vectors.visible is None:
            raise UserError("There are no part embeddings to compare: search by the whole image.")
        for name in names:
            if name not in known[1:]:
                raise UserError(
                    f"There is no body part {name!r}; there are {', '.join(known[1:])}."
                )
        visible = vectors.visible.copy()
        if names:
            visible &= np.isin(known, names)
        visible[:, BACKGROUND] = False
        if not visible.any():
            what = "none of these body parts" if names else "no body part"
            raise UserError(f"The query shows {what}: choose others, or search by the whole image.")
        return dataclasses.replace(vectors, visible=visible)

    def _filters(self, request: SearchRequest) -> Filters:
        without = set(request.wrong)
        cameras = set(map(str, request.where.without_cameras))
        without.update(request.images)
        if request.other_cameras:
            own = [self.entry(number).camera for number in request.images]
            cameras.update(str(camera) for camera in own if camera is not None)
        only = request.where.cameras
        filters = Filters(
            cameras=None if only is None else frozenset(map(str, only)),
            without_cameras=frozenset(cameras),
            identity=request.where.identity,
            since=in_utc(request.where.since),
            until=in_utc(request.where.until),
            without=frozenset(without),
        )
        self.check_times(filters)
        return filters

    def check_times(self, filters: Filters) -> None:
        """Refuses filters by time where no time is known: nothing would pass them.

        Raises:
            UserError: That is so.
        """
        by_time = filters.since is not None or filters.until is not None
        if by_time and self.catalog.entries.times is None:
            raise UserError(
                "The gallery does not know when its images were taken, so they cannot be filtered "
                "by time: use a gallery that grows, with a column 'time'."
            )

    # --- Explanations ---

    async def why(self, request: WhyRequest) -> Why:
        """Explains a match.

        Raises:
            UserError: There is no such image, or the network cannot be looked into.
            UnknownQueryError: The query is not known any more.
            ImageMissingError: A file cannot be read.
        """
        if (request.query is None) == (request.image is None):
            raise UserError("Give one of query and image.")
        if not self.explains:
            raise UserError("This network can only be run, so its matches cannot be explained.")
        if request.query is not None:
            query = self.query(request.query).pixels
        else:
            assert request.image is not None
            query = await self._pixels(request.image)
        match = await self._pixels(request.match)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._explaining, self._explainer.explain, query, match)

    async def _pixels(self, number: str) -> NDArray[np.uint8]:
        name = self.entry(number).name
        return await self._in_reader(
            lambda: self.files.pixels(name, image_size=self.model.image_size)
        )

    async def _in_reader(self, read: Any) -> Any:
        """Reads in one of a few threads, which bounds the memory of images being decoded."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)


def in_utc(time: datetime.datetime | None) -> datetime.datetime | None:
    """The time with its zone, which is UTC if it has none."""
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=datetime.UTC)


def _pooled(images: Sequence[Vectors]) -> Vectors:
    """Several images of one person as if they were one."""
    together = pool(stacked(images), Groups.together(len(images)))
    return Vectors(together.descriptors, together.parts, together.visible)
