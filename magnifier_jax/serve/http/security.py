"""Who may ask: a token, names that the server answers to, and pages that may not use it.

A server on loopback is within reach of every page that its user visits. Three checks keep those
out, each by itself: they have no token; a name that an attacker points at 127.0.0.1 (DNS
rebinding) is not one that the server answers to; and a browser says which page a request comes
from, in `Origin` and `Sec-Fetch-Site`.
"""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magnifier_jax.serve.http.failures import failure

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_CONTENT = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_LOCKED = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Locked</title>
<h1>This page needs its link</h1>
<p>Open the whole link that <code>magnifier serve</code> printed when it started. It ends with
<code>?token=…</code>, and is another one each time the server starts.
"""


@dataclasses.dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: What a request has to know; None lets everybody in.
        cookie: Name of the cookie that holds it in a browser. Cookies know no ports, so the name
            should.
        names: Names that the server answers to besides `localhost` and addresses, which nobody
            can point elsewhere.
    """

    token: str | None
    cookie: str = "magnifier"
    names: frozenset[str] = frozenset()

    def knows(self, given: str) -> bool:
        """Whether that is the token, in a time that does not depend on how much of it is right."""
        return self.token is None or hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self.token.encode()
        )

    def answers_to(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower().rstrip(".")
        if name == "localhost" or name in self.names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


class Guard:
    """Lets only those requests through that `Access` allows, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # Nothing here speaks anything else.
        signs_in = self._signs_in(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if signs_in:
                    headers.append("Set-Cookie", self._cookie())
            await send(message)

        refusal = self._refusal(scope, signs_in=signs_in)
        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, *, signs_in: bool) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.answers_to(hosts[0]):
            return failure(
                403,
                "host",
                "This server does not go by that name: open it as localhost, by its address, or by "
                "a name given with --allow-host.",
            )
        page = scope["method"] == "GET" and scope["path"] == "/"
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = site not in (None, "same-origin", "none")
        if origin is not None:
            foreign = urlsplit(origin).netloc.lower() != hosts[0].lower()
        # A link on another page may lead here; nothing else that another page does may.
        visit = page and origin is None and headers.get("sec-fetch-mode") == "navigate"
        if foreign and not visit:
            return failure(403, "origin", "Another page may not use this server.")
        if self.access.token is None or signs_in:
            return None
        bearer = _bearer(headers)
        if bearer is not None:
            allowed = self.access.knows(bearer)
        else:
            allowed = self._has_cookie(headers)
            if allowed and scope["method"] not in ("GET", "HEAD") and origin is None:
                return failure(403, "origin", "The browser did not say which page asks.")
        if allowed:
            return None
        if page:
            return HTMLResponse(_LOCKED, 401)
        refusal = failure(
            401,
            "token",
            "A token is missing or wrong: send the one that magnifier serve printed, as the header "
            "Authorization: Bearer TOKEN.",
        )
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _signs_in(self, scope: Scope) -> bool:
        """Whether this is the page, opened by its link with the token."""
        if self.access.token is None or scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(given) == 1 and self.access.knows(given[0])

    def _has_cookie(self, headers: Headers) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return self.access.cookie in cookies and self.access.knows(
            cookies[self.access.cookie].value
        )

    def _cookie(self) -> str:
        return f"{self.access.cookie}={self.access.token}; Path=/; HttpOnly; SameSite=Strict"


def _bearer(headers: Headers) -> str | None:
    kind, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None
