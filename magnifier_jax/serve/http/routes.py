"""The HTTP API: what each route takes, and what it answers from `SearchService`."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import pydantic
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool

import magnifier_jax
from input_pipeline.errors import UserError
from magnifier_jax.serve import schemas
from magnifier_jax.serve.catalog.entries import Entry, Filters
from magnifier_jax.serve.explaining import part_color
from magnifier_jax.serve.http.failures import NoImageError, first_problem
from magnifier_jax.serve.image_files import Size
from magnifier_jax.serve.service import Found, QueryImage, SearchService, in_utc

JSON_BODY = 2**20
"""Bytes of a request that holds no image, at most."""
UPLOADS = {"/embed": 1, "/search/image": schemas.MOST_TOGETHER}
"""Routes whose requests hold images, and how many at most."""
_SECONDS_KEPT = 300  # in which a browser need not ask whether an image has changed


def search_routes(service: SearchService) -> APIRouter:
    """The routes that embed images, search for them and explain what was found."""
    routes = APIRouter(tags=["search"])

    @routes.post("/embed")
    async def embed(
        image: Annotated[UploadFile, File(description="JPEG, PNG, BMP, TIFF or WebP.")],
        descriptor: Annotated[bool, Form(description="Whether to return the descriptor.")] = False,
    ) -> schemas.Embedded:
        """Embeds an image, and keeps it for searches."""
        query = await service.embed_upload(await _content(image, service))
        return _embedded(service, query, descriptor=descriptor)

    @routes.post("/search")
    async def search(request: schemas.SearchRequest) -> schemas.Matches:
        """Searches the gallery for embedded images, some of its own images, or a descriptor.

        Several images show the same person, and are searched for as one.
        """
        return _matches(request, await service.search(request))

    @routes.post("/search/image")
    async def search_image(
        image: Annotated[
            list[UploadFile],
            File(
                description="JPEG, PNG, BMP, TIFF or WebP; several show the same person.",
                max_length=schemas.MOST_TOGETHER,
            ),
        ],
        options: Annotated[
            str, Form(description="The options of POST /search, as JSON.", max_length=JSON_BODY)
        ] = "{}",
    ) -> schemas.Matches:
        """Embeds an image, or several of one person, and searches for it, in one request."""
        try:
            asked = schemas.SearchOptions.model_validate_json(options)
        except pydantic.ValidationError as error:
            raise UserError(f"options: {first_problem(error.errors())}") from error
        queries = [await service.embed_upload(await _content(one, service)) for one in image]
        request = schemas.SearchRequest(
            query=[query.name for query in queries], **asked.model_dump()
        )
        return _matches(request, await service.search(request))

    @routes.post("/why")
    async def why(request: schemas.WhyRequest) -> schemas.Why:
        """Explains a match: part by part, branch by branch, and where in both images."""
        return await service.why(request)

    return routes


def gallery_routes(service: SearchService, *, title: str) -> APIRouter:
    """The routes that show what the gallery holds.

    Args:
        service: What answers.
        title: What the gallery is called.
    """
    routes = APIRouter(tags=["gallery"])
    _add_listing(routes, service, title=title)
    _add_images(routes, service)
    return routes


def _add_listing(routes: APIRouter, service: SearchService, *, title: str) -> None:
    """The gallery as a whole, and page by page."""
    catalog = service.catalog

    @routes.get("/info")
    async def info() -> schemas.Info:
        """What the gallery holds, and what the server can do with it."""
        entries = catalog.entries
        first, last = entries.times or (None, None)
        return schemas.Info(
            gallery=_text(title),
            images=len(entries),
            cameras=[
                schemas.Camera(camera=_text(camera), images=images)
                for camera, images in entries.cameras.items()
            ],
            first=first,
            last=last,
            identities=entries.has_identities,
            tracklets=catalog.has_tracklets,
            parts=list(service.part_names[1:]),
            why=service.explains,
            metric=catalog.metric,
            max_distance=service.max_distance,
            thresholds=[
                schemas.Threshold(rate=rate, distance=distance)
                for rate, distance in service.thresholds.items()
            ],
            largest_upload=service.limits.bytes,
            largest_image=service.limits.pixels,
            version=magnifier_jax.__version__,
        )

    @routes.get("/images")
    async def images(
        camera: Annotated[list[str] | None, Query(description="Only of these cameras.")] = None,
        without_camera: Annotated[
            list[str] | None, Query(description="Of none of these cameras.")
        ] = None,
        identity: Annotated[str | None, Query(description="Only of this person.")] = None,
        since: Annotated[datetime.datetime | None, Query(description="From this time on.")] = None,
        until: Annotated[datetime.datetime | None, Query(description="Up to this time.")] = None,
        name: Annotated[str, Query(description="Only names that hold this.", max_length=200)] = "",
        offset: Annotated[int, Query(ge=0, lt=2**40)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
    ) -> schemas.Listing:
        """Lists images of the gallery, a page at a time."""
        filters = Filters(
            cameras=None if camera is None else frozenset(camera),
            without_cameras=frozenset(without_camera or ()),
            identity=identity,
            since=in_utc(since),
            until=in_utc(until),
            name=name,
        )
        service.check_times(filters)
        entries = catalog.entries
        found = await run_in_threadpool(entries.listing, filters, offset=offset, limit=limit)
        return schemas.Listing(
            images=[schemas.Entry(**_entry(entry)) for entry in found.entries], total=found.total
        )


def _add_images(routes: APIRouter, service: SearchService) -> None:
    """Single images of the gallery."""

    @routes.get("/image/{number}/entry")
    async def entry(number: str) -> schemas.Entry:
        """What is known of an image of the gallery."""
        return schemas.Entry(**_entry(_known(service, number)))

    @routes.get("/image/{number}", response_class=Response)
    async def image(number: str, request: Request, size: Size = "full") -> Response:
        """An image of the gallery as a JPEG, at most 2048 pixels long, or 256 as a thumbnail."""
        name = _known(service, number).name
        shown = await run_in_threadpool(service.files.show, name, size)
        headers = {
            "ETag": f'"{shown.tag}"',
            "Cache-Control": f"private, max-age={_SECONDS_KEPT}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(shown.data, media_type="image/jpeg", headers=headers)

    @routes.get("/image/{number}/parts")
    async def parts(number: str) -> schemas.Embedded:
        """The body parts that the network sees in an image of the gallery."""
        _known(service, number)
        return _embedded(service, await service.embed_entry(number), descriptor=False)


def _known(service: SearchService, number: str) -> Entry:
    try:
        return service.entry(number)
    except UserError as error:
        raise NoImageError(str(error)) from None


# --- Answers --------------------------------------------------------------------------------------


async def _content(image: UploadFile, service: SearchService) -> bytes:
    return await image.read(service.limits.bytes + 1)


def _embedded(service: SearchService, query: QueryImage, *, descriptor: bool) -> schemas.Embedded:
    visible, names = query.vectors.visible, service.part_names
    seen = query.part_map
    return schemas.Embedded(
        query=query.name,
        height=query.size[0],
        width=query.size[1],
        parts=[
            schemas.Part(part=i, name=name, color=part_color(i), visible=bool(visible[0, i]))
            for i, name in enumerate(names)
            if i and visible is not None
        ],
        part_map=None
        if seen is None
        else schemas.PartMap(
            height=seen.shape[0], width=seen.shape[1], cells=seen.reshape(-1).tolist()
        ),
        descriptor=query.vectors.descriptors[0].tolist() if descriptor else None,
    )


def _matches(request: schemas.SearchRequest, found: Found) -> schemas.Matches:
    right = set(request.right)
    return schemas.Matches(
        matches=[
            schemas.Match(
                **_entry(match.entry),
                rank=rank,
                distance=match.distance,
                mark="right" if match.entry.id in right else None,
                images=match.images,
            )
            for rank, match in enumerate(found.matches, request.offset + 1)
        ],
        more=found.more,
        nobody=found.nearest is not None and not found.matches and not request.offset,
        nearest=found.nearest,
        by=found.by,
        milliseconds=round(1000 * found.seconds, 2),
    )


def _entry(entry: Entry) -> dict[str, Any]:
    identity, camera = entry.identity, entry.camera
    return {
        "id": entry.id,
        "name": _text(entry.name),
        "identity": _text(identity) if isinstance(identity, str) else identity,
        "camera": _text(camera) if isinstance(camera, str) else camera,
        "time": entry.time,
    }


def _text(text: str) -> str:
    """Text that JSON can hold: bytes of a file's name that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()
