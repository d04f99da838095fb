"""A trained network that describes picture files."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.errors import Problem
from input_pipeline.images import read_image
from input_pipeline.loader import Batch
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.embedding.forward import EmbeddedSplit, EmbedFunction, embed_split, make_embed
from magnifier_jax.embedding.network import Trained, load_trained

_AHEAD = 2  # batches that are decoded while the devices work
VISIBLE_SHARE = 0.005
"""Share of a picture's cells from which a part counts as visible."""


@dataclasses.dataclass(eq=False)
class PictureFiles:
    """Picture files, decoded when they are asked for; see `pictures.Pictures`.

    Attributes:
        paths: The files.
        image_size: Height and width that they are resized to.
        problems: By position, the files that could not be read so far; black pictures stand for
            them.
    """

    paths: Sequence[pathlib.Path]
    image_size: tuple[int, int]
    problems: dict[int, Problem] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting: collections.deque[tuple[np.ndarray, list[Any]]] = collections.deque()
            for chosen in ids:
                waiting.append((chosen, [pool.submit(self._read, i) for i in np.unique(chosen)]))
                if len(waiting) > _AHEAD:
                    yield _collect(*waiting.popleft())
            while waiting:
                yield _collect(*waiting.popleft())

    def _read(self, position: int) -> np.ndarray:
        path = self.paths[position]
        try:
            return read_image(path, image_size=self.image_size)
        except ValueError as error:
            self.problems[int(position)] = Problem(path, str(error))
            return np.zeros((*self.image_size, 3), np.uint8)


def _collect(chosen: np.ndarray, tasks: list[concurrent.futures.Future[np.ndarray]]) -> Batch:
    images = np.stack([task.result() for task in tasks])
    _, places = np.unique(chosen, return_inverse=True)
    return Batch(images[places], None, chosen)


@dataclasses.dataclass(frozen=True, eq=False)
class FileDescriber:
    """Describes picture files with one network.

    Attributes:
        trained: The network.
        mesh: The devices.
        flip: Whether a descriptor is the mean of a picture's and its mirror image's.
        model_id: The same text for the same weights and `flip`, whatever folder they are in.
        describe: The jitted function.
    """

    trained: Trained
    mesh: Mesh
    flip: bool
    model_id: str
    describe: EmbedFunction

    @classmethod
    def load(
        cls,
        workdir: str | pathlib.Path,
        mesh: Mesh,
        *,
        which: Which = "latest",
        flip: bool | None = None,
    ) -> FileDescriber:
        """Loads the network of a work directory.

        Args:
            workdir: Where it was trained.
            mesh: The devices.
            which: Which checkpoint.
            flip: None is as configured when it was trained.

        Raises:
            UserError: There is no checkpoint, or none that can be read.
        """
        trained = load_trained(workdir, mesh, which=which)
        flip = trained.config.evaluate.flip if flip is None else flip
        model_id = f"magnifier {fingerprint(trained.variables)}{' flip' if flip else ''}"
        describe = make_embed(trained.model, mesh, flip=flip)
        return cls(trained, mesh, flip, model_id, describe)

    def files(self, paths: Sequence[pathlib.Path]) -> PictureFiles:
        """The files at the size that the network takes."""
        return PictureFiles(paths, self.trained.config.data.image_size)

    def __call__(self, files: PictureFiles, *, batch_size: int) -> EmbeddedSplit:
        """Describes the files, with the embeddings of their parts where the network has them."""
        return embed_split(
            self.describe,
            self.trained.variables,
            files,
            batch_size=batch_size,
            mesh=self.mesh,
            parts=True,
            progress=False,
        )


def visible_parts(part_shares: np.ndarray) -> np.ndarray:
    """Which parts pictures show, bool `[n, P]`; never the background, which is no part of anybody.

    Args:
        part_shares: Share of the cells of each part, `[n, P]`.
    """
    visible = part_shares >= VISIBLE_SHARE
    visible[:, 0] = False
    return visible


def fingerprint(variables: Any) -> str:
    """16 hexadecimal digits that differ for different weights."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()[:16]
