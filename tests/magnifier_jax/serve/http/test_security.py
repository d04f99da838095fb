import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from magnifier_jax.serve.http.security import Access, Guard

TOKEN = "0123456789abcdef"
HERE = "http://127.0.0.1:8765"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
COOKIE = {"Cookie": f"magnifier={TOKEN}"}


def client(access=None):
    return TestClient(
        Guard(PlainTextResponse("inside"), access=access or Access(TOKEN)), base_url=HERE
    )


def test_nobody_comes_in_without_the_token():
    for path in ("/", "/info", "/style.css", "/nothing"):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Cookie": "magnifier=wrong"},
            {"Cookie": f"other={TOKEN}"},
            {"Cookie": "\x01=;;="},
        ):
            answer = client().get(path, headers=headers)
            assert answer.status_code == 401
            assert "inside" not in answer.text
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("query", ["", f"{TOKEN}x", TOKEN[:-1], f"{TOKEN}&token={TOKEN}", "ä"])
def test_the_link_needs_the_whole_token_once(query):
    answer = client().get(f"/?token={query}")
    assert answer.status_code == 401
    assert "magnifier serve" in answer.text


def test_the_link_gives_a_cookie_that_lets_in():
    browser = client()
    answer = browser.get(f"/?token={TOKEN}")
    assert answer.text == "inside"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert browser.get("/info").text == "inside"
    assert browser.post("/search", headers={"Origin": HERE}).text == "inside"


def test_the_token_in_a_link_opens_the_page_only():
    assert client().get(f"/info?token={TOKEN}").status_code == 401
    assert client().post(f"/?token={TOKEN}").status_code == 401


def test_programs_send_the_token_as_a_header():
    assert client().post("/search", headers=BEARER).text == "inside"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost@evil", ""]
)
def test_names_that_point_here_are_not_answered(host):
    """DNS rebinding: the browser believes that evil.example is the page's own server."""
    for headers in (BEARER, COOKIE):
        assert client().get("/info", headers={**headers, "Host": host}).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost:1", "127.0.0.1", "[::1]:8765", "192.168.1.9", "Box:80"]
)
def test_own_names_are_answered(host):
    access = Access(TOKEN, names=frozenset({"box"}))
    assert client(access).get("/info", headers={**BEARER, "Host": host}).status_code == 200


def test_other_pages_cannot_use_the_cookie_of_this_one():
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method in ("GET", "POST"):
            answer = client().request(method, "/info", headers={**COOKIE, **headers})
            assert answer.status_code == 403
    # A form of another page, in a browser that says nothing.
    assert client().post("/embed", headers=COOKIE).status_code == 403


def test_a_link_on_another_page_leads_here_and_no_further():
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client().get(f"/?token={TOKEN}", headers=visit).text == "inside"
    assert client().get("/image/1", headers={**visit, **COOKIE}).status_code == 403
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client().get("/", headers={**framed, **COOKIE}).status_code == 403


def test_every_answer_forbids_what_the_page_does_not_need():
    for headers in (BEARER, {}):
        answer = client().get("/", headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_without_a_token_names_and_origins_still_count():
    everybody = client(Access(None))
    assert everybody.get("/info").text == "inside"
    assert everybody.post("/search").text == "inside"
    assert everybody.get("/info", headers={"Host": "evil.example"}).status_code == 403
    assert everybody.post("/search", headers={"Origin": "http://evil.example"}).status_code == 403
