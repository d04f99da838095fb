"""The server itself: its socket, its link, its browser, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import pathlib
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from input_pipeline.errors import UserError

_GRACE = 10  # seconds that requests may take to end
_CONNECTIONS = 256
_TOKEN = "MAGNIFIER_TOKEN"
_TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{16,200}")


def make_token() -> str:
    """A token that nobody guesses, or the one that `MAGNIFIER_TOKEN` gives.

    Raises:
        UserError: The one given is too short or cannot be sent.
    """
    given = os.environ.get(_TOKEN)
    if not given:
        return secrets.token_urlsafe(32)
    if not _TOKEN_FORM.fullmatch(given):
        raise UserError(f"{_TOKEN} has to be 16 to 200 letters, digits, - and _.")
    return given


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is any free one.

    Raises:
        UserError: There is no such address here, or the port is taken.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host} is no address of this machine ({error}).") from error
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_CONNECTIONS)
    except OSError as error:
        found.close()
        raise UserError(
            f"Cannot listen at {host}, port {port} ({error.strerror or error}): give another "
            "--port, or --port 0 for any that is free."
        ) from error
    return found


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(bound.getsockname()[0]).is_loopback


def link(bound: socket.socket, *, token: str | None) -> str:
    """The address of the page, as a person opens it."""
    host, port = bound.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = socket.gethostname()
    elif address.version == 6:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def run_server(app: FastAPI, bound: socket.socket, *, ready: Callable[[], None]) -> None:
    """Serves until it is interrupted or told to end, and lets running requests finish.

    Args:
        app: The application.
        bound: Where it listens.
        ready: Called when the first request can be answered.
    """
    config = uvicorn.Config(
        app,
        log_level="critical",  # The application logs its own mistakes.
        access_log=False,  # It would hold the token of the link.
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )
    asyncio.run(_Server(config, ready).serve(sockets=[bound]))


class _Server(uvicorn.Server):
    """A server that says when it is ready, and whose end by a signal is an end like any other."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends the server by SIGINT and SIGTERM, and does not raise them again afterwards.

        As an exception out of the event loop they would leave its threads behind, and the process
        waiting for them.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # Only the main thread may handle signals.
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def browser(address: str, *, wanted: bool | None) -> Iterator[Callable[[], None]]:
    """Something that opens the page in a browser, where there is one to see.

    The address holds the token, and every user of a machine sees the arguments of its programs. So
    the browser is given a file that only this user can read, and that leads there.

    Args:
        address: Of the page.
        wanted: Whether to open it; None is: if there is a screen and a person at it.
    """
    if wanted is None:
        screen = sys.platform in ("darwin", "win32") or bool(
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        )
        wanted = screen and sys.stdout.isatty()
    if not wanted:
        yield lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="magnifier-") as folder:
        page = pathlib.Path(folder) / "open.html"
        page.write_text(
            f'<!doctype html><meta charset="utf-8"><title>Search page</title>'
            f'<meta http-equiv="refresh" content="0;url={address}">',
            encoding="utf-8",
        )

        def open_page() -> None:
            webbrowser.open(page.as_uri())

        yield open_page
