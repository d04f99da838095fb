"""A network and its weights as one object, which embeds images; `load` of `loading` gives it."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import jax
import numpy as np
import tqdm
from numpy.typing import NDArray

from input_pipeline.errors import FilesError, Problem, UserError
from input_pipeline.files import user_path
from magnifier_jax import weights
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.embeddings import Embeddings, visible_parts
from magnifier_jax.embedding.inputs import Channels, Images, Source, list_sources
from magnifier_jax.embedding.network import (
    EmbeddedArrays,
    JaxNetwork,
    Precision,
    Trained,
    adapted_to,
)

if TYPE_CHECKING:
    from magnifier_jax.evaluation import Score

_LEAST = 16  # images that say something about cameras
_POOL_FROM = 16  # images in memory from which threads are worth their start


class Network(Protocol):
    """What runs batches: `JaxNetwork`, `GraphNetwork` or `OnnxNetwork`."""

    @property
    def trained(self) -> Trained | None:
        """The network and its weights, where they are known."""
        ...

    @property
    def config(self) -> Config | None:
        """The configuration of its training, where it is known."""
        ...

    @property
    def step(self) -> int | None:
        """Training steps that it has seen, where that is known."""
        ...

    image_size: tuple[int, int]
    batch_multiple: int
    batch_size: int | None
    dimension: int
    model_id: str
    precision: Precision

    def start(self, images: NDArray[np.uint8], *, flip: bool) -> Any:
        """Begins to embed uint8 RGB `[N, H, W, 3]`."""
        ...

    def finish(self, started: Any) -> EmbeddedArrays:
        """Waits for what `start` began."""
        ...


class Model:
    """A network that embeds images.

    Attributes:
        path: The work directory or file that it came from.
        flip: Whether a descriptor is the mean of an image's and its mirror image's, unless `embed`
            is told otherwise.
    """

    def __init__(self, network: Network, *, path: pathlib.Path, flip: bool = False) -> None:
        self._network = network
        self.path = path
        self.flip = flip

    def __repr__(self) -> str:
        """What it is and where it came from."""
        height, width = self.image_size
        what = f"images {height} × {width}, descriptors [N, {self.dimension}]"
        return f"Model({str(self.path)!r}, {what})"

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that images are resized to."""
        return self._network.image_size

    @property
    def dimension(self) -> int:
        """Length D of a descriptor."""
        return self._network.dimension

    @property
    def model_id(self) -> str:
        """The same text for the same weights and `flip`, whatever folder they are in."""
        return f"{self._network.model_id}{' flip' if self.flip else ''}"

    @property
    def precision(self) -> Precision:
        """What its convolutions and matrix products are computed in."""
        return self._network.precision

    @property
    def trained(self) -> Trained:
        """The network, its weights and its configuration, for what looks inside.

        Raises:
            UserError: It came from an ONNX file, which can only be run.
        """
        trained = self._network.trained
        if trained is not None:
            return trained
        raise UserError(
            f"{self.path} can be run and no more: load the work directory of the training, or its "
            "weights, for this."
        )

    @property
    def metric(self) -> Literal["euclidean", "cosine"]:
        """How its descriptors are compared, unless said otherwise."""
        config = self._network.config
        return "euclidean" if config is None else config.evaluate.distance

    @property
    def notes(self) -> dict[str, Any]:
        """What `load` needs to load it again, as galleries note it."""
        notes: dict[str, Any] = {"workdir": weights.lasting_name(self.path), "flip": self.flip}
        config = self._network.config
        if config is not None:
            notes |= {"run": config.name, "step": self._network.step}
        return notes

    @property
    def has_parts(self) -> bool:
        """Whether it gives an embedding for each body part."""
        config = self._network.config
        return config is not None and config.model.use_fusion

    def embed(
        self,
        images: Images,
        *,
        channels: Channels = "RGB",
        batch_size: int = 64,
        flip: bool | None = None,
        skip_bad: bool = False,
        progress: bool = False,
    ) -> Embeddings:
        """Embeds images of any sizes.

        Batches are filled up to few sizes (1, 2, 4, 8, …, `batch_size`), and a program is compiled
        once for each, so that calls with changing numbers of images soon compile no more.

        Args:
            images: One image or several: paths, Pillow images, uint8 arrays `[H, W, 3]` of any
                sizes such as the crops of a tracker, or one uint8 array `[N, H, W, 3]`.
            channels: Order of the channels in arrays, `RGB` or `BGR` as OpenCV has them. Files and
                Pillow images know theirs.
            batch_size: Images at a time; more need more memory.
            flip: Whether a descriptor is the mean of an image's and its mirror image's; None is
                as the model says.
            skip_bad: Whether images that cannot be used are left out, with the reason in
                `problems`, instead of refused.
            progress: Whether to show a progress bar.

        Returns:
            Descriptors float32 `[N, D]`, one row for each image in the given order, and part
            embeddings, visible parts and part maps where the network has them.

        Raises:
            UserError: There are no images, an array is not what an image is, or an image in memory
                cannot be used.
            FilesError: Files cannot be used.
        """
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size} but must be 1 or more.")
        sources = list_sources(images, channels=channels)
        flip = self.flip if flip is None else flip
        found: list[EmbeddedArrays] = []
        positions: list[int] = []
        problems: dict[int, Problem] = {}
        waiting: tuple[Any, int] | None = None
        size = self._network.batch_size or batch_size
        with tqdm.tqdm(total=len(sources), unit="img", disable=not progress) as bar:
            for start, read in _batches(sources, self.image_size, size=size):
                pixels = []
                for place, image in enumerate(read, start):
                    if isinstance(image, Problem):
                        problems[place] = image
                    else:
                        pixels.append(image)
                        positions.append(place)
                if pixels:
                    started = self._network.start(self._padded(pixels, size), flip=flip)
                    # Waiting for the batch before keeps the devices busy meanwhile.
                    found += self._finished(waiting)
                    waiting = (started, len(pixels))
                bar.update(len(read))
        found += self._finished(waiting)
        if problems and not skip_bad:
            raise _refusal(sources, problems)
        return self._joined(found, sources, positions, problems)

    def adapt(
        self,
        images: Images,
        *,
        channels: Channels = "RGB",
        batch_size: int = 64,
        most: int = 4096,
        seed: int = 0,
        skip_bad: bool = False,
        progress: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> Model:
        """The same network with batch norms that fit other cameras, without labels.

        See `magnifier_jax.model.statistics`. Of n images, the statistics are n / (n + 16) those of
        the images and for the rest those of the training, as Schneider et al., "Improving
        robustness against common corruptions by covariate shift adaptation", NeurIPS 2020, weigh
        them. Descriptors of the two networks cannot be compared with each other.

        Args:
            images: Images of the cameras it is for, as for `embed`; of many people, best all those
                of the gallery. At least 16.
            channels: As for `embed`.
            batch_size: Images whose statistics are taken together; more need more memory.
            most: Of more images than this, so many are drawn.
            seed: Of the order, so that a batch holds images of all cameras.
            skip_bad: Whether images that cannot be used are left out, instead of refused.
            progress: Whether to show a progress bar.
            say: Told how many images were used, and which were left out.

        Returns:
            A model in memory, run by jax; `mj.export` writes it to a file.

        Raises:
            UserError: There are too few images, an image cannot be used, or the network can only be
                run.
            FilesError: Files cannot be used.
        """
        trained = self.trained
        if batch_size < _LEAST or most < _LEAST:
            raise UserError(f"batch_size and most must be {_LEAST} or more.")
        sources = list_sources(images, channels=channels)
        order = np.random.default_rng(seed).permutation(len(sources))[:most]
        chosen = [sources[place] for place in order]
        if len(chosen) < _LEAST:
            raise _too_few(len(chosen))
        network = self._network
        mesh = network.mesh if isinstance(network, JaxNetwork) else make_mesh(jax.local_devices())
        # Batches of one size, of which none is left half empty.
        size = len(chosen) // max(1, len(chosen) // batch_size)
        problems: dict[int, Problem] = {}

        def batches() -> Iterator[NDArray[np.uint8]]:
            waiting: list[NDArray[np.uint8]] = []
            given = 0
            with tqdm.tqdm(total=len(chosen), unit="img", disable=not progress) as bar:
                for start, read in _batches(chosen, self.image_size, size=size):
                    for place, image in enumerate(read, start):
                        if isinstance(image, Problem):
                            problems[place] = image
                        else:
                            waiting.append(image)
                    while len(waiting) >= size:
                        yield np.stack(waiting[:size])
                        waiting, given = waiting[size:], given + size
                    bar.update(len(read))
            if not given and len(waiting) >= _LEAST:
                yield np.stack(waiting)

        adapted = adapted_to(trained, batches(), mesh)
        if problems and not skip_bad:
            raise _refusal(chosen, problems)
        if adapted is None:
            raise _too_few(len(chosen) - len(problems))
        if say is not None:
            for problem in problems.values():
                say(f"left out: {problem.path}: {problem.what}")
            say(f"Adapted to {len(chosen) - len(problems):,} of {len(sources):,} images.")
        return Model(JaxNetwork(adapted, mesh), path=self.path, flip=self.flip)

    def evaluate(
        self,
        test: str,
        *,
        root: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> tuple[Score, ...]:
        """Measures the network on test sets.

        Args:
            test: The datasets as `config.data.test` names them, such as `market1501` or
                `folders:/data/mine,cuhk03`.
            root: Folder of the datasets; None is where they were in training.
            progress: Whether to show progress bars.
            **settings: Other fields of `config.evaluate`, such as `rerank=True`.

        Returns:
            The measures of each test set.

        Raises:
            UserError: A setting is unknown, or the model came from an ONNX file.
            DataError: A dataset cannot be used.
        """
        from magnifier_jax.datasets import open_test_sets
        from magnifier_jax.evaluation import Evaluator

        trained = self.trained
        fields = trained.config.to_mapping()
        fields["data"]["test"] = test
        if root is not None:
            fields["data"]["root"] = str(user_path(root))
        for name, value in settings.items():
            if name not in fields["evaluate"]:
                known = ", ".join(fields["evaluate"])
                raise UserError(f"evaluate has no setting {name!r}; there are {known}.")
            fields["evaluate"][name] = value
        config = Config.from_mapping(fields)
        sets = open_test_sets(config, progress=progress)
        mesh = make_mesh()
        evaluator = Evaluator(config, trained.model, sets, mesh, progress=progress)
        return evaluator(trained.variables)

    def _padded(self, pixels: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
        """The images as one batch of a size that few programs are compiled for."""
        total = size if self._network.batch_size else padded_size(len(pixels), at_most=size)
        total = -(-total // self._network.batch_multiple) * self._network.batch_multiple
        batch = np.empty((total, *self.image_size, 3), np.uint8)
        np.stack(pixels, out=batch[: len(pixels)])
        batch[len(pixels) :] = batch[0]
        return batch

    def _finished(self, waiting: tuple[Any, int] | None) -> list[EmbeddedArrays]:
        if waiting is None:
            return []
        started, count = waiting
        arrays = vars(self._network.finish(started))
        kept: dict[str, Any] = {
            name: None if array is None else array[:count] for name, array in arrays.items()
        }
        return [EmbeddedArrays(**kept)]

    def _joined(
        self,
        found: Sequence[EmbeddedArrays],
        sources: Sequence[Source],
        positions: Sequence[int],
        problems: Mapping[int, Problem],
    ) -> Embeddings:
        def join(name: str) -> NDArray[Any] | None:
            arrays = [getattr(batch, name) for batch in found]
            return np.concatenate(arrays) if arrays and arrays[0] is not None else None

        descriptors, parts, shares = join("descriptors"), join("parts"), join("part_shares")
        if descriptors is None:
            descriptors = np.zeros((0, self.dimension), np.float32)
        return Embeddings(
            descriptors,
            parts=parts,
            visible=None if parts is None or shares is None else visible_parts(shares),
            part_maps=join("part_maps"),
            names=tuple(sources[i].name for i in positions),
            positions=np.asarray(positions, np.int64),
            problems=tuple(problems[i] for i in sorted(problems)),
        )


def padded_size(count: int, *, at_most: int) -> int:
    """The batch size that `count` images are filled up to: a power of two, or the largest."""
    return min(at_most, 1 << max(0, count - 1).bit_length())


def _batches(
    sources: Sequence[Source], image_size: tuple[int, int], *, size: int
) -> Iterator[tuple[int, list[NDArray[np.uint8] | Problem]]]:
    """Batches of images with the place of their first; the next one is read meanwhile."""

    def read(source: Source) -> NDArray[np.uint8] | Problem:
        try:
            return source.read(image_size)
        except ValueError as error:
            path = source.content if isinstance(source.content, pathlib.Path) else source.name
            return Problem(pathlib.Path(path), str(error))

    starts = range(0, len(sources), size)
    if not sources[0].is_file and len(sources) < _POOL_FROM:
        for start in starts:
            yield start, [read(source) for source in sources[start : start + size]]
        return
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: list[tuple[int, list[concurrent.futures.Future[Any]]]] = []
        for start in starts:
            batch = sources[start : start + size]
            ahead.append((start, [pool.submit(read, source) for source in batch]))
            if len(ahead) > 2:
                first, tasks = ahead.pop(0)
                yield first, [task.result() for task in tasks]
        for first, tasks in ahead:
            yield first, [task.result() for task in tasks]


def _too_few(images: int) -> UserError:
    return UserError(
        f"{images} images are too few to adapt a network to: give {_LEAST} or more, of many people."
    )


def _refusal(sources: Sequence[Source], problems: Mapping[int, Problem]) -> UserError | FilesError:
    files = [problem for i, problem in problems.items() if sources[i].is_file]
    if files:
        return FilesError("Replace them, or give skip_bad=True to leave them out", files)
    place, problem = next(iter(problems.items()))
    count = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UserError(
        f"Image {place} cannot be embedded{count}: {problem.what}. Leave it out, or give "
        "skip_bad=True."
    )
