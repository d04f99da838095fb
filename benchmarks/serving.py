"""Times the search page's API under load: several users at once, on this machine.

    python -m benchmarks.serving --workdir runs/quickstart --users 8 --seconds 30
    python -m benchmarks.serving --workdir runs/quickstart --users 8 --seconds 30 --images 100000

Starts `magnifier serve` at a loopback address on the gallery of the run's own test set, or on one
of that many images made of it, lets each user search as the page does, and prints how long each
kind of request took and how many failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import httpx2
import numpy as np

from magnifier_jax.gallery import Gallery
from magnifier_jax.serve.demo import demo_gallery
from magnifier_jax.tables import table

_SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", default="runs/quickstart", help="work directory of a run")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--pause", type=float, default=0, help="seconds between a user's requests")
    parser.add_argument("--images", type=int, default=0, help="images of the gallery; 0 is its own")
    options = parser.parse_args()
    _, gallery = demo_gallery(options.workdir)
    root = pathlib.Path(gallery.notes["images"])
    queries = [path.read_bytes() for path in sorted((root.parent / "query").glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(options.workdir) / "gallery.npz"
        if options.images:
            path = enlarged(gallery, pathlib.Path(folder), images=options.images)
        with served(path, pathlib.Path(options.workdir)) as address:
            load = Load(address, queries, pause=options.pause)
            load.run(users=options.users, seconds=options.seconds)
    count = options.images or len(gallery)
    print(f"{count:,} images, {options.users} users for {options.seconds:g} s")
    print(load.table())
    if load.failures:
        sys.exit(f"{len(load.failures)} failures, such as: {load.failures[0]}")


def enlarged(gallery: Gallery, folder: pathlib.Path, *, images: int) -> pathlib.Path:
    """A gallery of so many images: each is one of the gallery's, with noise in its vectors."""
    draw = np.random.default_rng(_SEED)
    rows = np.arange(images) % len(gallery)
    root, names = pathlib.Path(gallery.notes["images"]), []
    for i, row in enumerate(rows.tolist()):
        name = f"{i // 1000:05}/{i:08}.jpg"
        place = folder / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(root / gallery.names[row], place)
        names.append(name)

    def noisy(vectors: np.ndarray) -> np.ndarray:
        found = vectors[rows] + draw.normal(0, 0.02, (images, *vectors.shape[1:]))
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        return (found / np.maximum(length, 1e-12)).astype(np.float32)

    assert gallery.parts is not None
    assert gallery.visible is not None
    assert gallery.cameras is not None
    assert gallery.identities is not None
    path = folder / "large.npz"
    Gallery.build(
        noisy(np.asarray(gallery.descriptors)),
        names=names,
        identities=gallery.identities[rows],
        cameras=gallery.cameras[rows],
        parts=noisy(np.asarray(gallery.parts)),
        visible=gallery.visible[rows],
        metric=gallery.metric,
        model=gallery.model,
        notes={**gallery.notes, "images": str(folder / "images")},
    ).save(path)
    return path


@contextlib.contextmanager
def served(gallery: pathlib.Path, workdir: pathlib.Path) -> Iterator[str]:
    """The link to a server of that gallery."""
    command = [sys.executable, "-m", "magnifier_jax", "serve", "--no-open", "--port=0"]
    command += [f"--gallery={gallery}", f"--workdir={workdir}"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    print(f"started in {time.perf_counter() - start:.1f} s")
                    yield found[0]
                    break
        finally:
            process.terminate()


@dataclasses.dataclass
class Load:
    """What users do, and how long it takes.

    Attributes:
        address: The link to the page.
        queries: Image files.
        pause: Seconds between a user's requests.
        seconds: How long each request took, by its kind.
        failures: What went wrong.
    """

    address: str
    queries: list[bytes]
    pause: float
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    failures: list[str] = dataclasses.field(default_factory=list)
    elapsed: float = 0

    def run(self, *, users: int, seconds: float) -> None:
        """Lets users search for that long, all at once."""
        start = time.perf_counter()
        threads = [
            threading.Thread(target=self._use, args=(random.Random(i), start + seconds))
            for i in range(users)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.elapsed = time.perf_counter() - start

    def table(self) -> str:
        """How long each kind of request took."""
        rows = []
        for kind, seconds in self.seconds.items():
            shown = [f"{1000 * np.percentile(seconds, share):.0f}" for share in (50, 95, 100)]
            rate = f"{len(seconds) / self.elapsed:.1f}"
            rows.append([kind, str(len(seconds)), rate, *shown])
        header = ["request", "count", "a second", "p50 ms", "p95 ms", "most ms"]
        return table(header, rows, left=(0,))

    def _use(self, draw: random.Random, end: float) -> None:
        base, _, token = self.address.partition("?token=")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=base, headers=headers, timeout=60) as client:
            while time.perf_counter() < end:
                try:
                    self._search(client, draw)
                except Exception as error:
                    self.failures.append(repr(error))

    def _search(self, client: httpx2.Client, draw: random.Random) -> None:
        """One person's search: an image, its matches and their images, a part, marks, a reason."""

        def ask(kind: str, request: Callable[[], httpx2.Response]) -> httpx2.Response:
            start = time.perf_counter()
            answer = request()
            self.seconds[kind].append(time.perf_counter() - start)
            answer.raise_for_status()
            time.sleep(self.pause)
            return answer

        image = {"image": draw.choice(self.queries)}
        found = ask("embed", lambda: client.post("/embed", files=image)).json()
        query = {"query": found["query"]}
        matches = ask("search", lambda: client.post("/search", json=query)).json()["matches"]
        for match in matches[:12]:
            path = f"/image/{match['id']}?size=thumbnail"
            ask("thumbnail", lambda path=path: client.get(path))
        part = draw.choice([part["name"] for part in found["parts"] if part["visible"]])
        by_part = {**query, "parts": [part]}
        ask("search by a part", lambda: client.post("/search", json=by_part))
        filtered = {**query, "where": {"without_cameras": [draw.randint(1, 4)]}}
        ask("search with a filter", lambda: client.post("/search", json=filtered))
        marks = {**query, "right": [matches[0]["id"]], "wrong": [matches[-1]["id"]]}
        ask("search with marks", lambda: client.post("/search", json=marks))
        why = {**query, "match": matches[0]["id"]}
        ask("why", lambda: client.post("/why", json=why))
        ask("page of the gallery", lambda: client.get("/images?offset=48"))


if __name__ == "__main__":
    main()
