"""The gallery of a run's own test set, made at first use: `magnifier serve --demo`."""

from __future__ import annotations

import os
import pathlib

from input_pipeline.errors import UserError
from input_pipeline.files import user_path
from magnifier_jax.datasets import list_sets
from magnifier_jax.embedding.folder import embed_folder
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import Model
from magnifier_jax.gallery import Gallery

QUICKSTART = pathlib.Path("runs/quickstart")
"""Work directory of the quickstart, where its command is run."""
_GALLERY = "gallery.npz"


def demo_gallery(workdir: str | os.PathLike[str]) -> tuple[Model, Gallery]:
    """The network of a run, and the gallery of its first test set.

    The gallery is kept in the work directory, and made again where the network has changed since.

    Args:
        workdir: Of a finished training.

    Raises:
        UserError: There is no such run, or its images are not there.
    """
    folder = user_path(workdir)
    if not (folder / "checkpoints").is_dir():
        raise UserError(
            f"{folder} holds no trained network: run `python -m magnifier_jax.main --config "
            "configs/quickstart.py` first, or name another run with --workdir."
        )
    model = load(folder)
    path = folder / _GALLERY
    if path.exists():
        gallery = Gallery.load(path)
        if gallery.model == model.model_id and pathlib.Path(gallery.notes["images"]).is_dir():
            return model, gallery
    embed_folder(model, _images(model), path, force=True, skip_bad=True)
    return model, Gallery.load(path)


def _images(model: Model) -> pathlib.Path:
    """The folder of the gallery of the run's first test set, which is drawn again if need be."""
    listing = list_sets(model.trained.config, train=False)
    reading = listing.readings[listing.test[0]]
    assert reading.dataset is not None  # `list_sets` refuses others.
    return pathlib.Path(os.path.commonpath([s.path.parent for s in reading.dataset.gallery]))
