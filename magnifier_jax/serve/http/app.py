"""The application: routes and page over `SearchService`, behind the checks of who may ask."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable
from importlib import resources

from fastapi import FastAPI, Response

import magnifier_jax
from magnifier_jax.serve.http.body_limit import BodyLimit
from magnifier_jax.serve.http.failures import FAILURES, add_failures
from magnifier_jax.serve.http.routes import JSON_BODY, UPLOADS, gallery_routes, search_routes
from magnifier_jax.serve.http.security import Access, Guard
from magnifier_jax.serve.service import SearchService

_AROUND_UPLOAD = 2**16  # bytes of a form besides its image
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ABOUT = """Search a gallery of people by image, by body parts and by camera.

Send the token that `magnifier serve` printed with every request, as `Authorization: Bearer TOKEN`.
Every answer that is no success has a body `{"error": {"code": …, "message": …}}`."""


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
        responses=FAILURES,
    )
    app.include_router(gallery_routes(service, title=title))
    app.include_router(search_routes(service))
    _add_page(app)
    add_failures(app)
    largest = {
        path: images * service.limits.bytes + _AROUND_UPLOAD for path, images in UPLOADS.items()
    }
    app.add_middleware(BodyLimit, largest=lambda path: largest.get(path, JSON_BODY))
    app.add_middleware(Guard, access=access)
    return app


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
