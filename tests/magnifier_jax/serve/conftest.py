"""A served gallery of the smallest network, shared by the tests of a module or of all."""

import dataclasses
import pathlib

import pytest
from starlette.testclient import TestClient

from magnifier_jax.embedding.folder import embed_folder
from magnifier_jax.embedding.loading import load
from magnifier_jax.gallery import Gallery
from magnifier_jax.serve.catalog.entries import entry_id
from magnifier_jax.serve.catalog.memory_catalog import MemoryCatalog
from magnifier_jax.serve.http.app import make_app
from magnifier_jax.serve.http.security import Access
from magnifier_jax.serve.image_files import ImageFiles
from magnifier_jax.serve.service import SearchService
from magnifier_jax.serve.uploads import UploadLimits

TOKEN = "a-token-of-the-tests"
LIMITS = UploadLimits(bytes=200_000, pixels=300_000)


@dataclasses.dataclass(frozen=True)
class Served:
    """What the tests search.

    Attributes:
        gallery: Of the tiny run's test images.
        path: Its file.
        images: The folder of the images.
        queries: Files of images that are not in the gallery.
    """

    gallery: Gallery
    path: pathlib.Path
    images: pathlib.Path
    queries: tuple[pathlib.Path, ...]

    def id(self, row: int) -> str:
        """What requests call the image of a row."""
        return entry_id(str(self.gallery.names[row]))


@pytest.fixture(scope="session")
def model(tiny_run):
    return load(tiny_run.workdir.path)


@pytest.fixture(scope="session")
def served(tiny_run, model, tmp_path_factory) -> Served:
    path = tmp_path_factory.mktemp("serve") / "people.npz"
    images = tiny_run.dataset / "bounding_box_test"
    embed_folder(model, images, path, progress=False, say=lambda text: None)
    queries = tuple(sorted((tiny_run.dataset / "query").glob("*.jpg")))
    return Served(Gallery.load(path), path, images, queries)


def make_service(model, served: Served, gallery: Gallery | None = None, **settings):
    """A service of its own, since it has threads that end with it."""
    return SearchService(
        model,
        MemoryCatalog(served.gallery if gallery is None else gallery),
        ImageFiles(served.images),
        limits=LIMITS,
        **settings,
    )


@pytest.fixture(scope="module")
def client(model, served):
    """A client that knows the token."""
    app = make_app(make_service(model, served), Access(TOKEN), title="people.npz")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(app, base_url="http://127.0.0.1:8765", headers=headers) as client:
        yield client
