"""The HTTP API and the page, over `SearchService`."""

from __future__ import annotations

import contextlib
import datetime
import logging
import pathlib
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Annotated, Any

import pydantic
from fastapi import APIRouter, FastAPI, File, Form, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import magnifier_jax
from input_pipeline.errors import MagnifierError, UserError, printable
from magnifier_jax.serve import schemas
from magnifier_jax.serve.batching import BusyError, ClosedError
from magnifier_jax.serve.body_limit import BodyLimit
from magnifier_jax.serve.catalog import Entry, Filters
from magnifier_jax.serve.explaining import part_color
from magnifier_jax.serve.image_files import ImageMissingError, Size
from magnifier_jax.serve.security import Access, Guard, failure
from magnifier_jax.serve.service import Found, QueryImage, SearchService, UnknownQueryError, in_utc
from magnifier_jax.serve.uploads import BadUploadError

_AROUND_UPLOAD = 2**16  # bytes of a form besides its image
_JSON_BODY = 2**20
_UPLOADS = ("/embed", "/search/image")
_SECONDS_KEPT = 300  # in which a browser need not ask whether an image has changed
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ABOUT = """Search a gallery of people by image, by body parts and by camera.

Send the token that `magnifier serve` printed with every request, as `Authorization: Bearer TOKEN`.
Every answer that is no success has a body `{"error": {"code": …, "message": …}}`."""
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Failure, "description": what}
    for status, what in (
        (400, "The request cannot be answered as it is; the message says why."),
        (401, "The token is missing or wrong."),
        (403, "The name of the server or the page that asks is not allowed."),
        (404, "There is no such image or query."),
        (413, "The request or the image in it is too large."),
        (422, "A field is missing, unknown or out of range."),
        (503, "Too many requests wait, or the server is shutting down: try again."),
    )
}


def make_app(service: SearchService, access: Access, *, title: str = "gallery") -> FastAPI:
    """The application.

    Args:
        service: What answers.
        access: Who may ask.
        title: What the gallery is called.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="magnifier serve",
        version=magnifier_jax.__version__,
        description=_ABOUT,
        docs_url=None,  # They load scripts from elsewhere.
        redoc_url=None,
        lifespan=lifespan,
        responses=_FAILURES,
    )
    app.include_router(_gallery_routes(service, title=title))
    app.include_router(_search_routes(service))
    _add_page(app)
    _add_failures(app)
    largest = dict.fromkeys(_UPLOADS, service.limits.bytes + _AROUND_UPLOAD)
    app.add_middleware(BodyLimit, largest=lambda path: largest.get(path, _JSON_BODY))
    app.add_middleware(Guard, access=access)
    return app


def _search_routes(service: SearchService) -> APIRouter:
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
        """Searches the gallery for an embedded image, one of its own images, or a descriptor."""
        return _matches(request, await service.search(request))

    @routes.post("/search/image")
    async def search_image(
        image: Annotated[UploadFile, File(description="JPEG, PNG, BMP, TIFF or WebP.")],
        options: Annotated[
            str, Form(description="The options of POST /search, as JSON.", max_length=_JSON_BODY)
        ] = "{}",
    ) -> schemas.Matches:
        """Embeds an image and searches for it, in one request."""
        try:
            asked = schemas.SearchOptions.model_validate_json(options)
        except pydantic.ValidationError as error:
            raise UserError(f"options: {_first(error.errors())}") from error
        query = await service.embed_upload(await _content(image, service))
        request = schemas.SearchRequest(query=query.name, **asked.model_dump())
        return _matches(request, await service.search(request))

    @routes.post("/why")
    async def why(request: schemas.WhyRequest) -> schemas.Why:
        """Explains a match: part by part, branch by branch, and where in both images."""
        return await service.why(request)

    return routes


def _gallery_routes(service: SearchService, *, title: str) -> APIRouter:
    routes = APIRouter(tags=["gallery"])
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
        entries = catalog.entries
        found = await run_in_threadpool(entries.listing, filters, offset=offset, limit=limit)
        return schemas.Listing(
            images=[schemas.Entry(**_entry(entry)) for entry in found.entries], total=found.total
        )

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

    return routes


def _add_page(app: FastAPI) -> None:
    for file in (resources.files("magnifier_jax.serve") / "page").iterdir():
        kind = _KINDS[pathlib.PurePath(file.name).suffix]
        path = "/" if file.name == "index.html" else f"/{file.name}"
        app.add_api_route(path, _sender(file.read_bytes(), kind), include_in_schema=False)


def _sender(content: bytes, kind: str) -> Callable[[], Response]:
    """What sends a file of the page."""

    def send() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return send


# --- Failures -------------------------------------------------------------------------------------


def _add_failures(app: FastAPI) -> None:
    """Every failure as `schemas.Failure`."""

    @app.exception_handler(MagnifierError)
    async def cannot(request: Request, error: MagnifierError) -> Response:
        status, code = 400, "request"
        if isinstance(error, (UnknownQueryError, ImageMissingError, _NoImageError)):
            status = 404
            code = "query" if isinstance(error, UnknownQueryError) else "image"
        elif isinstance(error, BadUploadError):
            code = "upload"
        return failure(status, code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return failure(422, "field", _first(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        texts = {
            404: "There is nothing at this path.",
            405: "This path does not take that method.",
            413: "The request is too large.",
        }
        text = texts.get(error.status_code, printable(str(error.detail)))
        return failure(error.status_code, f"http_{error.status_code}", text)

    async def wait(request: Request, error: Exception) -> Response:
        text = "Too many requests wait" if isinstance(error, BusyError) else "The server is closing"
        answer = failure(503, "busy", f"{text}: try again.")
        answer.headers["Retry-After"] = "1"
        return answer

    app.add_exception_handler(BusyError, wait)
    app.add_exception_handler(ClosedError, wait)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        logging.getLogger(__name__).error("%s %s", request.method, request.url.path, exc_info=error)
        return failure(500, "bug", "The server made a mistake; its terminal says more.")


class _NoImageError(MagnifierError):
    """The gallery has no image of that number."""


def _known(service: SearchService, number: str) -> Entry:
    try:
        return service.entry(number)
    except UserError as error:
        raise _NoImageError(str(error)) from None


def _first(errors: Any) -> str:
    """What is wrong with a request's fields, in one line."""
    first = errors[0]
    place = ".".join(str(step) for step in first["loc"] if step not in ("body", "query", "path"))
    return printable(f"{place}: {first['msg']}" if place else str(first["msg"]))


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
