"""Bodies of requests, bounded in bytes and in the time that they take to arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magnifier_jax.serve.http.failures import failure

SECONDS = 60.0
"""Time for a whole body to arrive."""


class BodyLimit:
    """Refuses bodies that are too large, before they are read where they say so."""

    def __init__(
        self, app: ASGIApp, *, largest: Callable[[str], int], seconds: float = SECONDS
    ) -> None:
        """Takes the bounds.

        Args:
            app: What is bounded.
            largest: Bytes of a body, at most, by the request's path.
            seconds: Time for a whole body to arrive.
        """
        self.app, self.largest, self.seconds = app, largest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        largest = self.largest(scope["path"])
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > largest:
            text = f"The request is too large: {largest:,} bytes are allowed here."
            await failure(413, "size", text)(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self.seconds
        received, whole = 0, False

        async def receive_within_bounds() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()  # It waits for the client to go.
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The request took too long to arrive.") from None
            received += len(message.get("body", b""))
            if received > largest:
                raise HTTPException(413)
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, receive_within_bounds, send)
