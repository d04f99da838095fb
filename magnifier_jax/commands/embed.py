"""`python -m magnifier_jax.embed`: describes a folder of pictures into one gallery file."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from input_pipeline.errors import FilesError, Problem, UserError, printable
from input_pipeline.identities import JUNK, UNKNOWN_CAMERA
from input_pipeline.image_folder import ImageFolder, list_folder
from magnifier_jax.commands import console
from magnifier_jax.devices import enable_compilation_cache, make_mesh
from magnifier_jax.embedding.journal import Chunk, Journal
from magnifier_jax.embedding.model import FileDescriber, visible_parts
from magnifier_jax.retrieval import file_header

_CHUNK = 512  # pictures that an interruption can cost


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_embed, _parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m magnifier_jax.embed",
        description="Describes every picture under a folder with a trained network, and writes "
        "descriptors, names, visible body parts and part embeddings to a gallery file for "
        "magnifier_jax.search and magnifier_jax.retrieval. Identities and cameras are kept where "
        "names tell them, as 0002_c1_7.jpg does; in folders train, query and gallery with a folder "
        "for each person, as query/alice/c1_7.jpg, these are the identities. If it is interrupted, "
        "the same command goes on where it stopped.",
    )
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, help="work directory of a training run"
    )
    parser.add_argument(
        "--images",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="folder of pictures (.jpg, .jpeg, .png), with everything under it",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, metavar="FILE.npz", help="file to write"
    )
    parser.add_argument(
        "--checkpoint",
        choices=["latest", "best"],
        default="latest",
        help="which checkpoint of the run: latest (default), or best by mAP",
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="whether to average the descriptors of a picture and its mirror image; as the run "
        "was evaluated if not given",
    )
    parser.add_argument(
        "--float16", action="store_true", help="store numbers in half precision: half the file"
    )
    parser.add_argument(
        "--no_parts",
        action="store_true",
        help="leave the part embeddings out: a smaller file, but no search by visible parts",
    )
    parser.add_argument(
        "--skip_bad",
        action="store_true",
        help="leave out files that cannot be read, instead of stopping at the end",
    )
    parser.add_argument(
        "--batch_size", type=console.positive, default=64, help="pictures at a time (64)"
    )
    return parser


def _embed(options: argparse.Namespace) -> None:
    output = options.output.expanduser().absolute()
    if output.suffix != ".npz":
        raise UserError(f"--output {options.output} must end with .npz.")
    if output.exists():
        raise UserError(f"{output} exists already: remove it, or give another --output.")
    folder = list_folder(options.images.expanduser())
    _tell_names(folder)
    enable_compilation_cache()
    describer = FileDescriber.load(
        options.workdir.expanduser(), make_mesh(), which=options.checkpoint, flip=options.flip
    )
    kind = np.dtype(np.float16 if options.float16 else np.float32)
    parts = not options.no_parts and describer.trained.config.model.use_fusion
    key = f"{describer.model_id} {kind.name}{' parts' if parts else ''}"
    unfinished = Journal(output, key=key)
    if unfinished.restarted:
        print("The unfinished gallery beside it was of another model or type: starting anew.")
    bad = _describe(
        folder, describer, unfinished, kind=kind, parts=parts, batch_size=options.batch_size
    )
    for problem in bad:
        print(f"bad file: {problem}", file=sys.stderr)
    if bad and not options.skip_bad:
        raise FilesError(
            "Replace or remove them and give the same command again, which goes on from here; or "
            "leave them out with --skip_bad",
            bad,
        )
    without = {problem.path for problem in bad}
    kept = [i for i, name in enumerate(folder.names) if folder.root / name not in without]
    if not kept:
        raise UserError(f"No picture under {folder.root} can be read.")
    unfinished.finish(
        [folder.names[i] for i in kept],
        extra=_entries(folder, kept, describer, workdir=options.workdir.expanduser()),
    )
    megabytes = output.stat().st_size / 1e6
    print(f"{output}: {len(kept):,} pictures, {megabytes:,.1f} MB")


def _tell_names(folder: ImageFolder) -> None:
    for notice in folder.notices:
        print(f"{printable(notice[:1].upper() + notice[1:])}.")


def _describe(
    folder: ImageFolder,
    describer: FileDescriber,
    unfinished: Journal,
    *,
    kind: np.dtype[Any],
    parts: bool,
    batch_size: int,
) -> list[Problem]:
    """Describes what has not been described yet; returns the files that cannot be read."""
    states = {name: _state(folder.root / name) for name in folder.names}
    rest = [name for name in folder.names if not unfinished.has(name, state=states[name])]
    bad: list[Problem] = []
    total, done = len(folder.names), len(folder.names) - len(rest)
    with tqdm.tqdm(total=total, initial=done, desc="Describing", unit="img") as bar:
        for start in range(0, len(rest), _CHUNK):
            names = rest[start : start + _CHUNK]
            files = describer.files([folder.root / name for name in names])
            described = describer(files, batch_size=batch_size)
            bad += [files.problems[i] for i in sorted(files.problems)]
            good = [i for i in range(len(names)) if i not in files.problems]
            arrays = {"descriptors": described.descriptors}
            if parts and described.part_embeddings is not None:
                assert described.part_shares is not None
                arrays["parts"] = described.part_embeddings
                arrays["visible"] = visible_parts(described.part_shares)
            if good:
                chosen = [names[i] for i in good]
                unfinished.add(
                    Chunk(
                        names=chosen,
                        states=[states[name] for name in chosen],
                        arrays={
                            name: array[good] if name == "visible" else array[good].astype(kind)
                            for name, array in arrays.items()
                        },
                    )
                )
            bar.update(len(names))
    return bad


def _state(path: pathlib.Path) -> str:
    """What changes when a file does."""
    try:
        status = pathlib.Path(path).stat()
    except OSError:
        return ""  # It will be found to be bad.
    return f"{status.st_size} {status.st_mtime_ns}"


def _entries(
    folder: ImageFolder, kept: Sequence[int], describer: FileDescriber, *, workdir: pathlib.Path
) -> dict[str, Any]:
    """What a gallery file holds beside the descriptors and the names."""
    trained = describer.trained
    notes = {
        "workdir": str(workdir.absolute()),
        "run": trained.config.name,
        "step": trained.step,
        "flip": describer.flip,
        "images": str(folder.root.absolute()),
    }
    entries = file_header(
        metric=trained.config.evaluate.distance, model=describer.model_id, notes=notes
    )
    chosen = [folder.who[i] for i in kept]
    identities = [JUNK if who is None or who.identity is None else who.identity for who in chosen]
    cameras = [
        UNKNOWN_CAMERA if who is None or who.camera is None else who.camera for who in chosen
    ]
    if any(identity != JUNK for identity in identities):
        entries["identities"] = np.array(identities, np.str_ if folder.by_folder else np.int64)
    if any(camera != UNKNOWN_CAMERA for camera in cameras):
        entries["cameras"] = np.array(cameras, np.int64)
    return entries


if __name__ == "__main__":
    sys.exit(main())
