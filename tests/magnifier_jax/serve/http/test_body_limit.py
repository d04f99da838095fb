import asyncio

import pytest
from starlette.exceptions import HTTPException

from magnifier_jax.serve.http.body_limit import BodyLimit


async def read_all(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


def ask(chunks, *, length=None, seconds=5.0):
    """Sends chunks of a body, as large as 10 bytes for /form and 3 elsewhere; None never comes."""
    headers = [] if length is None else [(b"content-length", length)]
    scope = {"type": "http", "path": "/form", "headers": headers, "method": "POST"}
    waiting, sent = list(chunks), []

    async def receive():
        chunk = waiting.pop(0)
        if chunk is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    limit = BodyLimit(read_all, largest={"/form": 10}.__getitem__, seconds=seconds)
    asyncio.run(limit(scope, receive, send))
    return sent[0]["status"], waiting


def test_bodies_within_bounds_pass():
    assert ask([b"12345", b"67890"]) == (200, [])
    assert ask([b""], length=b"10")[0] == 200


@pytest.mark.parametrize("length", [b"11", b"-1", b"1e3", b"99999999999999999999999"])
def test_what_says_that_it_is_too_large_is_not_read(length):
    assert ask([b"never read"], length=length) == (413, [b"never read"])


def test_what_grows_too_large_is_cut_off():
    with pytest.raises(HTTPException) as error:
        ask([b"12345", b"67890", b"1", b"never read"])
    assert error.value.status_code == 413


def test_what_never_ends_is_cut_off():
    with pytest.raises(HTTPException) as error:
        ask([b"1", None], seconds=0.05)
    assert error.value.status_code == 408
