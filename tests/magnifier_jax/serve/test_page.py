"""The page in Chromium, end to end: what a person does, and what they see."""

import base64
import contextlib
import dataclasses
import os
import shutil
import threading
import time

import numpy as np
import pytest
import uvicorn

from magnifier_jax.embedding.folder import embed_folder
from magnifier_jax.embedding.loading import load
from magnifier_jax.gallery import Gallery
from magnifier_jax.gallery.tracklets import gallery_of_tracklets
from magnifier_jax.retrieval.pooling import Groups, pool
from magnifier_jax.serve.http.app import make_app
from magnifier_jax.serve.http.security import Access
from magnifier_jax.serve.server import link, listen

from .conftest import LIMITS, TOKEN, make_service

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ODD = "<img src=x onerror=document.title='caught'>.jpg"
PATIENCE = 60  # seconds, for a machine that does much else

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="there is no Chromium with its driver (apt install chromium chromium-driver)",
)


@contextlib.contextmanager
def serving(service):
    """The link to a server."""
    with listen("127.0.0.1", 0) as bound:
        access = Access(TOKEN, cookie="magnifier_tests")
        config = uvicorn.Config(make_app(service, access), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield link(bound, token=TOKEN)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(model, served):
    """The link to a server, whose gallery has an image with an odd name and without a file."""
    names = [*served.gallery.names[:-1].tolist(), ODD]
    gallery = dataclasses.replace(served.gallery, names=np.array(names))
    with serving(make_service(model, served, gallery)) as link_:
        yield link_


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--disable-dev-shm-usage")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


class Page:
    """What a person sees and does."""

    def __init__(self, browser, address, *, width=1200, dark=False):
        self.browser = browser
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get("about:blank")
        browser.get(address)
        self.wait(lambda: self.cards())

    def wait(self, done):
        end = time.monotonic() + PATIENCE
        while not (found := done()):
            assert time.monotonic() < end, f"waited in vain: {self.find('#results').text[:300]}"
            time.sleep(0.05)
        return found

    def find(self, css):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def cards(self):
        return self.browser.find_elements(By.CSS_SELECTOR, ".card")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def texts(self, css):
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
        return self.run(script, css)

    def names(self):
        return self.texts(".card .name")

    def status(self):
        return self.find("#status").text

    def until(self, status):
        """Waits until the page says that, with the matches that go with it."""
        self.wait(lambda: status in self.status() and not self.find("#progress").is_displayed())

    def give(self, *paths, kind="drop", on="body"):
        """Drops or pastes files."""
        self.run(
            """
            const data = new DataTransfer();
            for (const [content, name] of arguments[0]) {
              const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
              data.items.add(new File([bytes], name, {type: "image/jpeg"}));
            }
            document.querySelector(arguments[2]).dispatchEvent(arguments[1] === "drop"
              ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
              : new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
            """,
            [[base64.b64encode(path.read_bytes()).decode(), path.name] for path in paths],
            kind,
            on,
        )
        self.until("by the whole image")

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self, css):
        return self.run("return document.activeElement.closest(arguments[0])", css)

    def complaints(self):
        """What the browser's console holds, but for the image that is not there."""
        entries = self.browser.get_log("browser")
        return [one["message"] for one in entries if "404" not in one["message"]]


@pytest.fixture
def page(chromium, address):
    page = Page(chromium, address)
    yield page
    assert page.complaints() == []
    assert page.browser.title != "caught"


def test_an_image_is_dropped_and_its_matches_are_seen(page, served, model):
    assert "token" not in page.browser.current_url
    page.give(served.queries[0])
    expected = served.gallery.search(model.embed(served.queries[0]), top=20)
    names = [ODD if name == served.gallery.names[-1] else name for name in expected.names[0]]
    assert page.names() == names
    distances = [float(text) for text in page.texts(".card .distance")]
    np.testing.assert_allclose(distances, expected.distances[0], atol=1e-3)
    assert page.texts(".card .who")[0] == f"{int(names[0][:4])} · camera {names[0][6]}"
    page.wait(lambda: page.run("return document.querySelector('.card img').naturalWidth > 0"))
    page.give(served.queries[1], kind="paste")
    assert page.find("#query-name").text == served.queries[1].name


def click_a_part(page, found):
    """Clicks a part that a query shows, and returns its name and number."""
    part_map, visible = found.part_maps[0], found.visible[0]
    rows, columns = np.nonzero(visible[part_map])
    row, column = int(rows[0]), int(columns[0])
    part = int(part_map[row, column])
    canvas = page.wait(lambda: page.find("#query-parts"))
    box = page.run(
        "const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", canvas
    )
    x = (column + 0.5) / part_map.shape[1] * box[0] - box[0] / 2
    y = (row + 0.5) / part_map.shape[0] * box[1] - box[1] / 2
    ActionChains(page.browser).move_to_element_with_offset(canvas, x, y).click().perform()
    name = page.texts("#part-list label")[part - 1]
    return name, part


def test_a_click_on_a_part_searches_by_it(page, served, model):
    page.give(served.queries[0])
    found = model.embed(served.queries[0])
    name, part = click_a_part(page, found)
    page.until(f"by {name}")
    only = np.zeros_like(found.visible)
    only[0, part] = True
    expected = served.gallery.search_parts(found.parts, only, top=20)
    seen = expected.names[0][np.isfinite(expected.distances[0])].tolist()
    assert page.names() == [ODD if name == served.gallery.names[-1] else name for name in seen]
    page.find("#by-image").click()
    page.until("by the whole image")
    assert len(page.names()) == 20


def found_together(model, gallery, *paths):
    """Names of the images nearest to several of one person, by the library."""
    pooled = pool(model.embed(paths), Groups.together(len(paths)))
    return gallery.search(pooled, top=20).names[0].tolist()


def test_several_images_of_one_person_are_searched_for_as_one(page, served, model):
    one, two = served.queries[:2]
    odd = served.gallery.names[-1]
    page.give(one, two)
    page.until("by the whole image of 2 together")
    names = found_together(model, served.gallery, one, two)
    assert page.names() == [ODD if name == odd else name for name in names]
    # A match is added by a key, and is a match no more.
    place = next(i for i, name in enumerate(page.names()) if name != ODD)
    added = page.names()[place]
    page.cards()[place].find_element(By.CSS_SELECTOR, ".add").send_keys("a")
    page.until("of 3 together")
    names = found_together(model, served.gallery, one, two, served.images / added)
    expected = [ODD if name == odd else name for name in names if name != added]
    assert page.names()[: len(expected)] == expected
    assert len(page.texts("#query-list li")) == 3
    # The first is taken out by the keyboard, and the next one has the focus.
    page.run("document.querySelector('#query-list .remove').focus()")
    page.press(Keys.ENTER)
    page.until("of 2 together")
    assert page.focused("#query-list")
    label = page.find("#query-list .shown").get_attribute("aria-label")
    assert label == f"Show {two.name}"
    page.find("#query-list .shown").click()
    assert page.find("#query-name").text == two.name
    assert page.find("#query-list .shown").get_attribute("aria-pressed") == "true"
    # A file is added where it is dropped for that, or chosen; elsewhere it is another search.
    page.give(one, on="#add")
    page.until("of 3 together")
    page.find("#add-file").send_keys(str(served.queries[2]))
    page.until("of 4 together")
    page.browser.back()
    page.until("of 3 together")
    page.give(one)
    page.wait(lambda: "together" not in page.status())
    names = served.gallery.search(model.embed(one), top=20).names[0].tolist()
    assert page.names() == [ODD if name == odd else name for name in names]
    assert not page.find("#query-list").is_displayed()


def test_a_file_that_is_no_image_is_left_out_among_several(page, served, model, tmp_path):
    broken, text = tmp_path / "broken.jpg", tmp_path / "notes.jpg"
    broken.write_bytes(served.queries[0].read_bytes()[:-300])
    text.write_text("no image")
    one, two = served.queries[:2]
    odd = served.gallery.names[-1]

    def told(*names):
        """What the page says was left out."""
        message = page.wait(lambda: page.find("#message").is_displayed() and page.find("#message"))
        assert "Left out" in message.text
        assert message.get_attribute("role") == "alert"
        assert [name for name in ("broken", "notes") if f"{name}.jpg: " in message.text] == [*names]
        assert len(page.complaints()) == len(names)  # The browser notes every refusal.

    page.give(one, broken, two, text)
    told("broken", "notes")
    names = found_together(model, served.gallery, one, two)
    assert page.names() == [ODD if name == odd else name for name in names]
    assert len(page.texts("#query-list li")) == 2
    assert page.find("#query-name").text == two.name
    # One that is added leaves the query as it was.
    page.give(broken, on="#add")
    told("broken")
    assert page.names() == [ODD if name == odd else name for name in names]
    # With one image left it is a query of one image, its calibrated cuts included.
    page.give(text, one)
    told("notes")
    assert "together" not in page.status()
    assert not page.find("#query-list").is_displayed()
    assert not page.run("return document.querySelector('#cut-rates').hidden")
    # Too large a file, which is not sent at all.
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(LIMITS.bytes + 1))
    page.give(large, two)
    message = page.wait(lambda: page.find("#message").is_displayed() and page.find("#message"))
    assert "large.jpg: It has" in message.text
    assert page.complaints() == []
    assert page.find("#query-name").text == two.name
    # Nothing but bad files is no query.
    page.find("#file").send_keys(f"{broken}\n{text}")
    page.wait(lambda: "did not work" in page.find("#message").text)
    assert "broken.jpg: " in page.find("#message").text
    assert "notes.jpg: " in page.find("#message").text
    assert len(page.complaints()) == 2


def test_tracklets_are_ranked_where_they_are_known(chromium, model, served):
    gallery = dataclasses.replace(
        served.gallery,
        names=np.array([f"{i:04d}C1T0001F001.jpg" for i in range(len(served.gallery))]),
        identities=np.arange(len(served.gallery)),
        cameras=np.ones(len(served.gallery), int),
    )
    names = gallery.names.copy()
    names[1], identities = "0000C1T0001F002.jpg", gallery.identities.copy()
    identities[1] = 0
    gallery = dataclasses.replace(gallery, names=names, identities=identities)
    with serving(make_service(model, served, gallery)) as link_:
        page = Page(chromium, link_)
        page.give(served.queries[0])
        page.find("#rank-tracklets").click()
        page.until("tracklets, by the whole image")
        pooled = gallery_of_tracklets(gallery)
        expected = pooled.search(model.embed(served.queries[0]), top=len(gallery))
        assert page.names() == expected.names[0].tolist()
        sizes = dict(zip(page.names(), page.texts(".card .size"), strict=True))
        assert {name: size for name, size in sizes.items() if size} in (
            {"0000C1T0001F001.jpg": "2 images"},
            {},
        )
        page.find("#rank-images").click()
        page.until("matches, by the whole image")
        assert page.complaints() == []


@pytest.mark.slow
def test_the_network_that_comes_with_the_package(chromium, served, tmp_path):
    drawn = load("drawn")
    path = tmp_path / "people.npz"
    embed_folder(drawn, served.images, path, progress=False, say=lambda text: None)
    gallery = Gallery.load(path)
    with serving(make_service(drawn, served, gallery)) as link_:
        page = Page(chromium, link_)
        page.give(served.queries[0])
        found = drawn.embed(served.queries[0])
        assert page.names() == gallery.search(found, top=24).names[0].tolist()
        name, part = click_a_part(page, found)
        page.until(f"by {name}")
        only = np.zeros_like(found.visible)
        only[0, part] = True
        expected = gallery.search_parts(found.parts, only, top=24)
        seen = np.isfinite(expected.distances[0])
        assert page.names() == expected.names[0][seen].tolist()
        assert page.complaints() == []


def test_cameras_are_left_out_and_nobody_is_near_enough(page, served):
    page.give(served.queries[0])
    page.find("#camera-list input[value='2']").click()
    page.wait(lambda: {text[-8:] for text in page.texts(".card .who")} == {"camera 1"})
    page.run(
        "const field = document.getElementById('cut-number'); field.value = '0.001';"
        "field.dispatchEvent(new Event('input'))"
    )
    message = page.wait(lambda: page.find("#message").is_displayed() and page.find("#message"))
    assert message.text.startswith("Nobody")
    assert page.cards() == []
    message.find_element(By.TAG_NAME, "button").click()
    page.wait(lambda: page.cards())
    assert not page.find("#message").is_displayed()


def test_marks_refine_the_search_and_are_exported(page, served):
    page.give(served.queries[0])
    before = page.names()
    cards = page.cards()
    cards[1].find_element(By.CSS_SELECTOR, ".mark.right").click()
    cards[0].find_element(By.CSS_SELECTOR, ".mark.wrong").click()
    page.run(
        "window.saved = null; URL.createObjectURL = (blob) => { window.saved = blob; "
        "return 'about:blank#'; }; HTMLAnchorElement.prototype.click = () => {};"
    )
    page.find("#export").click()
    lines = page.browser.execute_async_script("window.saved.text().then(arguments[0])").split(
        "\r\n"
    )
    assert lines[0] == "query,mark,rank,id,name,distance,identity,camera,time"
    assert [line.split(",")[1:3] + line.split(",")[4:5] for line in lines[1:3]] == [
        ["right", "2", before[1]],
        ["wrong", "1", before[0]],
    ]
    page.find("#refine").click()
    page.until("refined")
    assert page.names()[0] == before[1]
    assert before[0] not in page.names()


def test_the_keyboard_is_enough(page):
    for _ in range(40):
        page.press(Keys.TAB)
        if page.focused(".card"):
            break
    page.press(Keys.ARROW_RIGHT, Keys.ENTER)
    page.until("by the whole image")
    page.wait(lambda: page.focused(".card"))
    page.press(Keys.HOME, Keys.ARROW_RIGHT, "r")
    assert page.focused(".card").get_attribute("class").split() == ["card", "is-right"]
    page.press("y")
    page.wait(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#why-body .bars li"))
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "#why-body .pair img")) >= 6
    page.press(Keys.ESCAPE)
    assert page.wait(lambda: page.focused(".card.is-right"))
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for _ in range(40):
        page.press(Keys.SHIFT, Keys.TAB, Keys.NULL)
        if page.run("return document.activeElement.id") == "refine":
            break
    page.press(Keys.ENTER)
    page.until("refined")


def test_a_phone_and_the_dark(chromium, address, served):
    page = Page(chromium, address, width=420, dark=True)
    page.give(*served.queries[:3])
    page.until("of 3 together")
    assert page.run("return document.documentElement.scrollWidth") <= 420
    small = page.run(
        "return [...document.querySelectorAll('button, .chip')].filter(one => one.offsetParent)"
        ".map(one => one.getBoundingClientRect()).filter(box => Math.min(box.width, box.height)"
        " < 24).length"
    )
    assert small == 0  # A finger hits them.
    page.cards()[0].find_element(By.CSS_SELECTOR, ".why").click()
    page.wait(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#why-body .bars li"))
    assert page.run(
        "const box = document.getElementById('why'); return box.scrollWidth <= box.clientWidth"
    )
    page.press(Keys.ESCAPE)

    def lightness(css, what):
        color = page.run(f"return getComputedStyle(document.querySelector('{css}')).{what}")
        return sum(float(one) for one in color[color.index("(") + 1 : -1].split(",")[:3]) / 3

    for css in ("body", ".card"):
        assert lightness(css, "backgroundColor") < 60
        assert lightness(css, "color") > 180


def test_what_goes_wrong_is_said(page, served, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(served.queries[0].read_bytes()[:-300])
    page.find("#file").send_keys(str(broken))
    message = page.wait(lambda: page.find("#message").is_displayed() and page.find("#message"))
    assert "cannot be read" in message.text
    assert message.get_attribute("role") == "alert"
    assert "400" in page.complaints()[0]  # The browser notes every refusal.
    page.give(served.queries[0])
    assert not page.find("#message").is_displayed()
    lost = page.cards()[page.names().index(ODD)]
    page.run("arguments[0].scrollIntoView()", lost)
    page.wait(
        lambda: "lost" in lost.find_element(By.CSS_SELECTOR, ".picture").get_attribute("class")
    )
