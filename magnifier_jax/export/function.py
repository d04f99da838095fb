"""The function that is exported: images in, descriptors out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.config import Config, suggest
from magnifier_jax.embedding.forward import unit_length
from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.projection import Projection
from magnifier_jax.export.settings import ExportSettings
from magnifier_jax.model import MagnifierNet
from magnifier_jax.training.augmentation import MEAN, STD, normalize

# Branch names as users say them, in the order of the descriptor, and their variables.
_MODULES = {"global": "global_branch", "adversarial": "adversarial", "fusion": "fusion"}

NETWORK_FIELDS = (
    "num_parts",
    "use_global",
    "use_adversarial",
    "use_fusion",
    "use_parsing",
    "parsing_features",
    "stem_relu",
    "stem_norm",
)
"""Settings of a network, by the names that `MagnifierNet` and `Config.model` have for them."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """One branch's numbers in a descriptor: `descriptor[:, start:stop]` before any projection."""

    branch: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, eq=False)
class DescriptorFunction:
    """A trained network as a function, with nothing that the descriptor does not need.

    Attributes:
        model: The network, with the chosen branches only, computing in float32.
        variables: Its variables, on the host.
        config: The configuration of its training, with all of its branches.
        identities: Name of each training identity, in the order of the classifiers.
        settings: What the export is asked to be.
        step: Training steps behind it.
        projection: The projection after it, if asked for.
    """

    model: MagnifierNet
    variables: Mapping[str, Any]
    config: Config
    identities: tuple[str, ...]
    settings: ExportSettings
    step: int
    projection: Projection | None = None

    def __call__(self, images: jax.Array) -> jax.Array:
        """Embeds images in the layout and type that the settings say; `[N, d]`."""
        if self.settings.layout == "NCHW":
            images = images.transpose(0, 2, 3, 1)
        if self.settings.normalise == "inside":
            images = normalize(images)
        outputs: Any = self.model.apply(self.variables, images, train=False)
        descriptor = outputs.descriptor
        if self.projection is not None:
            shifted = unit_length(descriptor) - jnp.asarray(self.projection.mean)[None]
            descriptor = shifted @ jnp.asarray(self.projection.components)
        return unit_length(descriptor) if self.settings.l2 == "inside" else descriptor

    @property
    def backbone(self) -> str:
        """Name of its ResNet, in `model.BACKBONES`."""
        return self.config.model.backbone

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its input, in pixels."""
        return self.config.data.image_size

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Where each branch's numbers are."""
        return _pieces(self.variables)

    @property
    def definition(self) -> dict[str, Any]:
        """What `MagnifierNet` is made with: `identities`, `backbone` and the `network` settings."""
        network = {name: getattr(self.model, name) for name in NETWORK_FIELDS}
        identities = self.model.num_identities
        return {"identities": identities, "backbone": self.backbone, "network": network}

    @property
    def dimension(self) -> int:
        """Numbers in a descriptor."""
        return self.projection.dimension if self.projection else self.pieces[-1].stop

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one image, in the layout asked for."""
        height, width = self.image_size
        return (3, height, width) if self.settings.layout == "NCHW" else (height, width, 3)

    @property
    def input_type(self) -> np.dtype:
        """Type of the image's numbers."""
        return np.dtype(np.uint8 if self.settings.normalise == "inside" else np.float32)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Makes uint8 RGB `[N, H, W, 3]` into what the export takes, without jax."""
        if self.settings.normalise == "outside":
            wide = images.astype(np.float32) / 255
            images = (wide - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        if self.settings.layout == "NCHW":
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images)


def make_descriptor_function(
    trained: Trained, settings: ExportSettings, projection: Projection | None = None
) -> DescriptorFunction:
    """Takes from a trained network what the settings ask for.

    Raises:
        UserError: The network lacks a branch that is asked for.
    """
    model = select_branches(trained.model, settings.branches)
    kept = set(_modules(model))
    variables = jax.device_get(
        {
            collection: {name: tree for name, tree in modules.items() if name in kept}
            for collection, modules in trained.variables.items()
        }
    )
    return DescriptorFunction(
        model=model.clone(dtype=jnp.float32),
        variables=variables,
        config=trained.config,
        identities=trained.identities,
        settings=settings,
        step=trained.step,
        projection=projection,
    )


def select_branches(model: MagnifierNet, branches: tuple[str, ...]) -> MagnifierNet:
    """Switches every branch off but those; none named keeps all.

    Raises:
        UserError: The network lacks one.
    """
    if not branches:
        return model
    present = [name for name in _MODULES if getattr(model, f"use_{name}")]
    for name in branches:
        if name not in present:
            raise UserError(
                f"--branches names {name!r}, but this network has {', '.join(present)}"
                f"{suggest(name, present) or '.'}"
            )
    return model.clone(
        use_global="global" in branches,
        use_adversarial="adversarial" in branches,
        use_fusion="fusion" in branches,
        # Fusion reads the parts that the parsing head predicts; nothing else does.
        use_parsing="fusion" in branches,
    )


def expected_descriptors(
    trained: Trained, function: DescriptorFunction, images: np.ndarray
) -> np.ndarray:
    """What an export must give for uint8 images `[N, H, W, 3]`.

    It comes from the whole trained network, on the CPU where jax may use it, and the rest from
    NumPy, so that a mistake in choosing branches, in the layout or in the projection is seen.
    """
    variables = jax.device_get(trained.variables)
    whole = embed_on_cpu(
        trained.model.clone(dtype=jnp.float32), variables, normalize(jnp.asarray(images))
    )
    chosen = {piece.branch for piece in function.pieces}
    found = np.concatenate(
        [whole[:, p.start : p.stop] for p in _pieces(variables) if p.branch in chosen], axis=1
    )
    if function.projection is not None:
        found = function.projection(_unit(found))
    return _unit(found) if function.settings.l2 == "inside" else found


def embed_on_cpu(model: MagnifierNet, variables: Mapping[str, Any], images: Any) -> np.ndarray:
    """The descriptors of normalized images `[N, H, W, 3]`, not scaled, by the network itself."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS=cuda, for example, leaves it out.
        device = jax.local_devices()[0]
    # An accelerator would round to fewer bits than an export is compared in.
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        return np.asarray(_embed(model, variables, np.asarray(images)))


@functools.partial(jax.jit, static_argnums=0)
def _embed(model: MagnifierNet, variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
    outputs: Any = model.apply(variables, images, train=False)
    return outputs.descriptor


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _modules(model: MagnifierNet) -> Iterator[str]:
    yield "backbone"
    if model.use_parsing:
        yield "parsing"
    for branch, module in _MODULES.items():
        if getattr(model, f"use_{branch}"):
            yield module


def _pieces(variables: Mapping[str, Any]) -> tuple[Piece, ...]:
    found: list[Piece] = []
    for branch, module in _MODULES.items():
        if module in variables["params"]:
            start = found[-1].stop if found else 0
            size = variables["params"][module]["neck"]["scale"].shape[0]
            found.append(Piece(branch, start, start + size))
    return tuple(found)
