"""`magnifier embed`: embeds a folder of images into a gallery file, or a gallery that grows."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import FilesError, UserError, printable
from input_pipeline.files import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_embed, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier embed",
        description="Embeds every image under a folder with a trained network, and writes "
        "descriptors, names, visible body parts and part embeddings to a gallery file for "
        "`magnifier search` and `magnifier rank`. Identities and cameras are kept where names "
        "tell them, as 0002_c1_7.jpg does; in folders train, query and gallery with a folder for "
        "each person, as query/alice/c1_7.jpg, these are the identities. If it is interrupted, "
        "the same command resumes where it stopped. With --gallery, images that are new or have "
        "changed are added to a gallery that grows; several processes of one run, named by "
        "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, each take a share.",
    )
    add = parser.add_argument
    add(
        "--workdir",
        required=True,
        metavar="PATH",
        help="work directory of a training run, or a file that `magnifier export` wrote",
    )
    add(
        "--images",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="folder of images (JPEG, PNG, BMP, TIFF, WebP), with everything under it",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", type=pathlib.Path, metavar="FILE.npz", help="file to write")
    where.add_argument(
        "--gallery",
        metavar="PLACE",
        help="gallery to add to, made if it is not there: a folder such as people.lance, or a "
        "URL such as s3://bucket/people.lance",
    )
    add(
        "--columns",
        type=pathlib.Path,
        metavar="FILE.csv",
        help="with --gallery: what else is known of the images, such as time and tracklet; a "
        "table with a header, whose column name holds paths in the folder of images",
    )
    add("--force", action="store_true", help="replace the file if it is there")
    add(
        "--checkpoint",
        choices=["latest", "best"],
        default="latest",
        help="which checkpoint of the run: latest (default), or best by mAP",
    )
    add(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="whether to average the descriptors of an image and its mirror image; as the run "
        "was evaluated if not given",
    )
    add("--float16", action="store_true", help="store numbers in half precision: half the file")
    add(
        "--no-parts",
        action="store_true",
        help="leave the part embeddings out: a smaller file, but no search by visible parts",
    )
    add(
        "--skip-bad",
        action="store_true",
        help="leave out files that cannot be read, instead of stopping at the end",
    )
    add(
        "--runtime",
        choices=["jax", "onnxruntime", "openvino"],
        default="jax",
        help="what runs the network: jax (default), on whatever device there is; or onnxruntime or "
        "openvino, which are faster on CPUs (pip install 'magnifier_jax[cpu]')",
    )
    add(
        "--precision",
        choices=["float32", "bf16"],
        help="what the network computes in; if not given, jax takes that of the training, and the "
        "others float32",
    )
    add("--batch-size", type=console.positive, default=64, help="images at a time (64)")
    return parser


def _embed(options: argparse.Namespace) -> None:
    from input_pipeline.images.folder import list_folder
    from magnifier_jax.embedding.folder import check_gallery_output, embed_folder
    from magnifier_jax.embedding.loading import load

    if options.gallery is not None:
        _embed_into(options)
        return
    if options.columns is not None:
        raise UserError("--columns needs --gallery: a gallery file has no such columns.")
    output = check_gallery_output(options.output, force=options.force)
    folder = list_folder(user_path(options.images))
    for notice in folder.notices:
        print(printable(f"{notice}."), flush=True)
    try:
        done = embed_folder(
            load(
                options.workdir,
                checkpoint=options.checkpoint,
                flip=options.flip,
                runtime=options.runtime,
                precision=options.precision,
            ),
            folder,
            output,
            force=options.force,
            dtype="float16" if options.float16 else "float32",
            parts=not options.no_parts,
            skip_bad=options.skip_bad,
            batch_size=options.batch_size,
        )
        problems = done.problems
    except FilesError as error:
        _name_all(error.problems)
        raise
    _name_all(problems)
    megabytes = done.output.stat().st_size / 1e6
    print(printable(f"{done.output}: {done.images:,} images, {megabytes:,.1f} MB"))


def _embed_into(options: argparse.Namespace) -> None:
    from input_pipeline.images.folder import list_folder
    from magnifier_jax.devices import start_distributed, wait_for_all
    from magnifier_jax.embedding.growing import embed_into, read_columns
    from magnifier_jax.embedding.loading import load
    from magnifier_jax.gallery import Gallery

    start_distributed()
    model = load(options.workdir, checkpoint=options.checkpoint, flip=options.flip)
    store = Gallery.open(options.gallery, network=model, create=True)
    folder = list_folder(user_path(options.images))
    for notice in folder.notices:
        print(printable(f"{notice}."), flush=True)
    columns = None
    if options.columns is not None:
        columns = read_columns(user_path(options.columns), names=folder.names)
    try:
        done = embed_into(
            model,
            folder,
            store,
            columns=columns,
            dtype="float16" if options.float16 else "float32",
            parts=not options.no_parts,
            skip_bad=options.skip_bad,
            batch_size=options.batch_size,
        )
    except FilesError as error:
        _name_all(error.problems)
        wait_for_all()
        raise
    wait_for_all()
    _name_all(done.problems)
    print(
        printable(
            f"{store.place}: {len(store):,} images; {done.added:,} added, {done.replaced:,} "
            f"replaced, {done.unchanged:,} there already"
        )
    )


def _name_all(problems: Sequence[object]) -> None:
    for problem in problems:
        print(f"bad file: {problem}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
