"""Galleries by URL: a folder, and S3 as moto emulates it, where that is installed."""

import concurrent.futures
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

import magnifier_jax as mj
from input_pipeline.errors import UserError

pytest.importorskip("lance")

EYE = np.eye(4, dtype=np.float32)


def change_and_search(place, **settings):
    """Appends, replaces, deletes and searches through two objects."""
    with pytest.raises(UserError, match="there is no gallery"):
        mj.Gallery.open(place, **settings)
    writer = mj.Gallery.open(place, create=True, network="one", **settings)
    writer.append(EYE, names=list("abcd"), cameras=[1, 2, 3, 4])
    reader = mj.Gallery.open(place, **settings)
    assert reader.model == "one"
    assert reader.search(EYE[0], top=2, where="camera > 1").names.tolist() == [["b", "c"]]
    writer.replace(np.ones((1, 4), np.float32), names=["a"], cameras=[9])
    writer.delete(names=["b"])
    assert sorted(reader.names()) == list("acd")
    assert reader.search(EYE[0], where="camera = 9").names.tolist() == [["a"]]


def test_a_folder_by_its_url(tmp_path):
    change_and_search(f"file://{tmp_path}/people.lance")
    assert sorted(mj.Gallery.open(tmp_path / "people.lance").names()) == list("acd")


@pytest.fixture
def bucket():
    """An empty bucket: its URL, and what Lance needs to reach it."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto, which emulates S3, is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        endpoint = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{endpoint}/people", method="PUT")
        signed = "Credential=a/20260101/us-east-1/s3/aws4_request"
        request.add_header("Authorization", f"AWS4-HMAC-SHA256 {signed}, Signature=x")
        urllib.request.urlopen(request).close()
        keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
        yield "s3://people/people.lance", {"endpoint": endpoint, "allow_http": "true", **keys}
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_object_storage(bucket):
    place, options = bucket
    change_and_search(place, options=options)

    def write(number):
        """Adds names that the other writer adds too."""
        store = mj.Gallery.open(place, options=options)
        for batch in range(3):
            vectors = np.random.default_rng(number).standard_normal((3, 4)).astype(np.float32)
            try:
                store.append(vectors, names=[f"{batch}-{row}" for row in range(3)])
            except UserError as error:
                yield str(error)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        refused = list(pool.map(lambda number: list(write(number)), (0, 1)))
    names = mj.Gallery.open(place, options=options).names().tolist()
    assert len(names) == len(set(names)) == 3 + 9
    assert len(refused[0] + refused[1]) == 3
