"""Every answer that is no success, as `schemas.Failure`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from input_pipeline.errors import MagnifierError, printable
from magnifier_jax.serve import schemas
from magnifier_jax.serve.batching import BusyError, ClosedError
from magnifier_jax.serve.image_files import ImageMissingError
from magnifier_jax.serve.service import UnknownQueryError
from magnifier_jax.serve.uploads import BadUploadError

FAILURES: dict[int | str, dict[str, Any]] = {
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
"""What every route may answer besides a success, for the description of the API."""


class NoImageError(MagnifierError):
    """The gallery has no image of that number."""


def failure(status: int, code: str, message: str) -> JSONResponse:
    """An answer that is no success, as `schemas.Failure`."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def add_failures(app: FastAPI) -> None:
    """Answers every exception that leaves a route with a `schemas.Failure`."""

    @app.exception_handler(MagnifierError)
    async def cannot(request: Request, error: MagnifierError) -> Response:
        status, code = 400, "request"
        if isinstance(error, (UnknownQueryError, ImageMissingError, NoImageError)):
            status = 404
            code = "query" if isinstance(error, UnknownQueryError) else "image"
        elif isinstance(error, BadUploadError):
            code = "upload"
        return failure(status, code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return failure(422, "field", first_problem(error.errors()))

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


def first_problem(errors: Any) -> str:
    """What is wrong with a request's fields, in one line."""
    first = errors[0]
    place = ".".join(str(step) for step in first["loc"] if step not in ("body", "query", "path"))
    return printable(f"{place}: {first['msg']}" if place else str(first["msg"]))
