import pathlib
import re
import signal
import socket
import subprocess
import sys

import httpx2
import pytest

from magnifier_jax.commands import serve
from magnifier_jax.embedding.folder import embed_folder
from magnifier_jax.embedding.loading import load
from magnifier_jax.serve.server import browser, is_loopback, link, listen, make_token


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --gallery FILE or --demo"),
        (["--demo", "--gallery=a.npz"], "either --gallery FILE or --demo"),
        (["--demo", "--workdir=nowhere", "--port=0"], "configs/quickstart.py` first"),
        (["--gallery=nowhere.npz", "--port=0"], "nowhere.npz"),
        (["--demo", "--host=0.0.0.0", "--port=0", "--no-token"], "let everybody in at 0.0.0.0"),
        (["--demo", "--host=host.invalid"], "host.invalid is no address of this machine"),
    ],
)
def test_what_cannot_be_served(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert serve.main([*arguments, "--no-open"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port=65536", "--port=-1", "--max-distance=nan", "--fpr=x"])
def test_options_that_are_no_numbers(option, capsys):
    with pytest.raises(SystemExit) as end:
        serve.main(["--demo", option])
    assert end.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert serve.main(["--demo", f"--port={other.getsockname()[1]}"]) == 2
    assert "--port 0 for any that is free" in capsys.readouterr().err


def test_links_and_loopback():
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert is_loopback(bound)
        assert link(bound, token="t") == f"http://127.0.0.1:{port}/?token=t"
        assert link(bound, token=None) == f"http://127.0.0.1:{port}/"
    with listen("0.0.0.0", 0) as bound:
        assert not is_loopback(bound)
        assert link(bound, token=None).startswith(f"http://{socket.gethostname()}:")


def test_tokens(monkeypatch):
    monkeypatch.delenv("MAGNIFIER_TOKEN", raising=False)
    first, second = make_token(), make_token()
    assert first != second
    assert len(first) == 43  # 256 bits, 6 in a character
    monkeypatch.setenv("MAGNIFIER_TOKEN", "0123456789abcdef")
    assert make_token() == "0123456789abcdef"
    for bad in ("0123456789abcde", "0123456789abcde;", "0123456789abcdeé"):
        monkeypatch.setenv("MAGNIFIER_TOKEN", bad)
        with pytest.raises(ValueError, match="16 to 200 letters"):
            make_token()


def test_the_browser_is_not_given_the_token_as_an_argument(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    with browser("http://127.0.0.1/?token=secret", wanted=True) as open_page:
        open_page()
        page = pathlib.Path(opened[0].removeprefix("file://"))
        assert "url=http://127.0.0.1/?token=secret" in page.read_text(encoding="utf-8")
    assert "secret" not in opened[0]
    with browser("http://127.0.0.1/", wanted=False) as open_page:
        open_page()
    assert len(opened) == 1


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(tiny_run, tmp_path):
    images, gallery = tiny_run.dataset / "bounding_box_test", tmp_path / "people.npz"
    model = load(tiny_run.workdir.path)
    embed_folder(model, images, gallery, progress=False, say=lambda text: None)
    command = [sys.executable, "-m", "magnifier_jax", "serve", f"--gallery={gallery}"]
    with subprocess.Popen(
        [*command, "--port=0", "--no-open", "--max-distance=1.5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        address = next(
            found[0] for line in process.stdout if (found := re.search(r"http://\S+", line))
        )
        base, _, token = address.partition("?token=")
        assert httpx2.get(address).status_code == 200
        assert httpx2.get(f"{base}info").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        info = httpx2.get(f"{base}info", headers=headers).json()
        assert (info["gallery"], info["max_distance"]) == ("people.npz", 1.5)
        # Its threads must not keep the process from ending.
        assert httpx2.get(f"{base}images", headers=headers).json()["total"] == 20
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")
    assert errors == ""
