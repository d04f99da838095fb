"""`magnifier gallery`: looks after galleries that grow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import user_path

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore

_LONG = "thresholds"  # A note of many numbers, which `verify` lays out.


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    return console.run(options.work, options)


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier gallery",
        description="Looks after galleries that grow, which `magnifier embed --gallery` makes.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", parser_class=console.Parser)

    def action(name: str, work: Callable[[argparse.Namespace], None], about: str) -> console.Parser:
        added = actions.add_parser(name, help=about, description=about)
        added.set_defaults(work=work)
        added.add_argument("gallery", metavar="PLACE", help="folder or URL of the gallery")
        if name != "info":
            added.add_argument(
                "--workdir",
                metavar="PATH",
                help="work directory of the network, if the gallery has images of several",
            )
        return added

    action("info", _info, "say what is in a gallery")
    added = action("import", _import, "add the images of a gallery file")
    added.add_argument("file", metavar="FILE.npz", help="gallery file")
    added.add_argument(
        "--replace", action="store_true", help="replace images whose names are there already"
    )
    added = action("export", _export, "write a gallery file, which holds no times and tracklets")
    added.add_argument("file", metavar="FILE.npz", help="file to write")
    added.add_argument("--where", metavar="FILTER", help="only these, such as 'camera = 3'")
    added.add_argument("--force", action="store_true", help="replace the file if it is there")
    added = action("delete", _delete, "remove images")
    which = added.add_mutually_exclusive_group(required=True)
    which.add_argument("--where", metavar="FILTER", help="these, such as \"time < '2026-11-01'\"")
    which.add_argument("--names", nargs="+", metavar="NAME", help="the images of these names")
    added = action("verify", _verify, "note thresholds by false positive rate, for --fpr")
    added.add_argument(
        "--images",
        type=console.positive,
        default=10_000,
        help="most images to compare with each other (10000)",
    )
    action("check", _check, "compare every row with its checksums")
    action("tidy", _tidy, "join small files, and remove versions older than an hour")
    return parser


def _open(options: argparse.Namespace) -> GalleryStore:
    from magnifier_jax.commands.search import open_gallery
    from magnifier_jax.gallery import Gallery

    opened = open_gallery(options.gallery, workdir=options.workdir)
    if isinstance(opened, Gallery):
        raise UserError(
            f"{options.gallery} is a gallery file; `magnifier gallery import` adds it to a "
            "gallery that grows."
        )
    return opened


def _info(options: argparse.Namespace) -> None:
    from magnifier_jax.gallery import Gallery
    from magnifier_jax.tables import table

    stores = Gallery.stores(options.gallery)
    if not stores:
        raise UserError(f"There is no gallery {options.gallery}.")
    for store in stores:
        print(printable(f"{store.place}: {len(store):,} images, version {store.version}"))
        about = {
            "network": store.model or "not known",
            "distance": store.metric,
            **{str(name): str(value) for name, value in store.notes.items() if name != _LONG},
            **{name: f"column, {kind}" for name, kind in store.columns.items()},
        }
        print(
            table(
                ["", ""], [[name, what] for name, what in about.items()], left=(0, 1), rules=False
            )
        )


_LONG = "thresholds"


def _import(options: argparse.Namespace) -> None:
    from magnifier_jax.gallery import Gallery

    found = Gallery.load(user_path(options.file))
    store = Gallery.open(
        options.gallery,
        network=found.model,
        metric=found.metric,
        create=True,
        notes=found.notes,
    )
    write = store.replace if options.replace else store.append
    print(printable(f"{store.place}: {write(found):,} images added, {len(store):,} in all"))


def _export(options: argparse.Namespace) -> None:
    from input_pipeline.files import check_output

    output = user_path(options.file).absolute()
    if output.suffix != ".npz":
        raise UserError(f"{output} must end with .npz.")
    check_output(output, force=options.force)
    found = _open(options).to_gallery(where=options.where)
    found.save(output)
    print(printable(f"{output}: {len(found):,} images"))


def _delete(options: argparse.Namespace) -> None:
    store = _open(options)
    removed = store.delete(names=options.names, where=options.where)
    print(printable(f"{store.place}: {removed:,} images removed, {len(store):,} left"))


def _verify(options: argparse.Namespace) -> None:
    from magnifier_jax.commands.rank import verification_table
    from magnifier_jax.devices import enable_compilation_cache

    enable_compilation_cache()
    store = _open(options)
    found = store.verify(most=options.images)
    store.keep_thresholds(found)
    print(verification_table(found))


def _check(options: argparse.Namespace) -> None:
    store = _open(options)
    print(printable(f"{store.place}: all {store.check():,} images are as they were written"))


def _tidy(options: argparse.Namespace) -> None:
    store = _open(options)
    store.tidy()
    print(printable(f"{store.place}: {len(store):,} images, version {store.version}"))


if __name__ == "__main__":
    sys.exit(main())
