"""`magnifier serve`: a page in the browser that searches a gallery, and its HTTP API."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import user_path

if TYPE_CHECKING:
    from magnifier_jax.embedding.model import Model
    from magnifier_jax.serve.catalog.catalog import Catalog
    from magnifier_jax.serve.service import SearchService

_PATIENCE = 5  # seconds
_OPEN = (
    "Other machines can reach this server, and what it sends is not encrypted: put a proxy with "
    "HTTPS in front of it, or listen at 127.0.0.1 and use a tunnel (ssh -L)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_serve, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier serve",
        description="Opens a search page in the browser: drop an image, see the most similar ones "
        "of a gallery, search by single body parts, ask why two images match, mark right and "
        "wrong. It prints a link with a token, and answers only to this machine and to whoever "
        "knows the token. The same server has an HTTP API, described at /openapi.json.",
    )
    add = parser.add_argument
    add("--gallery", metavar="PATH", help="gallery: a .npz file, or a store such as people.lance")
    add(
        "--demo",
        action="store_true",
        help="the gallery of the quickstart's own test set, made at first use",
    )
    add(
        "--workdir",
        metavar="PATH",
        help="work directory or file of the network, if it has moved since the gallery was made; "
        "with --demo, the run (runs/quickstart)",
    )
    add("--images", metavar="DIR", help="folder of the images, if it has moved")
    add("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this machine only)")
    add("--port", type=_port, default=8765, help="port to listen at (8765); 0 is any free one")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this machine that browsers may use, such as that of a proxy",
    )
    add(
        "--no-token",
        action="store_true",
        help="let every program and person on this machine in; only at a loopback address",
    )
    add(
        "--open",
        action=argparse.BooleanOptionalAction,
        help="open the page in a browser; as there is a screen if not given",
    )
    add(
        "--max-distance",
        type=_distance,
        metavar="D",
        help="images farther from the query than this are no matches",
    )
    add(
        "--fpr",
        type=_distance,
        metavar="RATE",
        help="images beyond the threshold that the gallery notes for this false positive rate are "
        "no matches",
    )
    add("--max-upload", type=console.positive, default=10, metavar="MB", help="of an image (10)")
    add(
        "--max-pixels",
        type=console.positive,
        default=24_000_000,
        metavar="N",
        help="pixels of an uploaded image (24000000)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return int(text)


def _distance(text: str) -> float:
    try:
        distance = float(text)
    except ValueError:
        distance = -1.0
    if not 0 <= distance < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a distance, a number from 0 on")
    return distance


def _serve(options: argparse.Namespace) -> None:
    if options.demo == (options.gallery is not None):
        raise UserError("Give either --gallery FILE or --demo.")
    try:
        from magnifier_jax.serve import server
    except ModuleNotFoundError as error:
        raise UserError(
            f"The server needs {error.name}: install it with `pip install 'magnifier_jax[serve]'`."
        ) from error
    from magnifier_jax.serve.http.app import make_app
    from magnifier_jax.serve.http.security import Access

    token = None if options.no_token else server.make_token()
    with contextlib.closing(server.listen(options.host, options.port)) as bound:
        if not server.is_loopback(bound):
            if token is None:
                raise UserError(f"--no-token would let everybody in at {options.host}.")
            warnings.warn(_OPEN, stacklevel=1)
        service, title = _service(options)
        port = bound.getsockname()[1]
        names = frozenset(name.lower() for name in options.allow_host)
        access = Access(token, cookie=f"magnifier_{port}", names=names)
        address = server.link(bound, token=token)
        with server.browser(address, wanted=options.open) as open_page:

            def ready() -> None:
                print(f"Search page: {address}", flush=True)
                print("Ctrl+C stops it.", flush=True)
                open_page()

            server.run_server(make_app(service, access, title=title), bound, ready=ready)
    print("Stopped.", flush=True)
    # A program that is still being compiled cannot be interrupted, and Python would wait for it.
    end = threading.Timer(_PATIENCE, os._exit, [0])
    end.daemon = True
    end.start()


def _service(options: argparse.Namespace) -> tuple[SearchService, str]:
    """What answers, ready for the first request, and what the gallery is called."""
    from magnifier_jax.embedding.queries import image_folder
    from magnifier_jax.gallery import Gallery
    from magnifier_jax.gallery.thresholds import greatest_distance
    from magnifier_jax.serve.catalog.memory_catalog import MemoryCatalog
    from magnifier_jax.serve.demo import QUICKSTART, demo_gallery
    from magnifier_jax.serve.image_files import ImageFiles
    from magnifier_jax.serve.service import SearchService
    from magnifier_jax.serve.uploads import UploadLimits

    catalog: Catalog
    if options.demo:
        model, gallery = demo_gallery(options.workdir or QUICKSTART)
        title = f"{model.path.name} (demo)"
    else:
        model, gallery = _open(options)
        title = user_path(options.gallery).name
    if isinstance(gallery, Gallery):
        catalog = MemoryCatalog(gallery)
    else:
        from magnifier_jax.serve.catalog.store_catalog import StoreCatalog

        catalog = StoreCatalog(gallery)
    service = SearchService(
        model,
        catalog,
        ImageFiles(image_folder(gallery, options.images)),
        limits=UploadLimits(options.max_upload * 2**20, options.max_pixels),
        max_distance=greatest_distance(
            catalog.notes,
            metric=catalog.metric,
            max_distance=options.max_distance,
            fpr=options.fpr,
        ),
    )
    count = len(catalog.entries)
    print(printable(f"{title}: {count:,} images in {service.files.root}"), flush=True)
    print("Getting ready …", flush=True)
    service.warm_up()
    return service, title


def _open(options: argparse.Namespace) -> tuple[Model, Any]:
    """The network and the gallery that was asked for."""
    from magnifier_jax.embedding.loading import load
    from magnifier_jax.embedding.queries import gallery_network
    from magnifier_jax.gallery import Gallery

    path = user_path(options.gallery)
    if path.suffix == ".npz":
        gallery: Any = Gallery.load(path)
        return gallery_network(gallery, options.workdir), gallery
    # Of several networks in a store, the one in the work directory is meant.
    moved = None if options.workdir is None else load(options.workdir)
    gallery = Gallery.open(options.gallery, network=moved)
    return moved or gallery_network(gallery), gallery


if __name__ == "__main__":
    sys.exit(main())
