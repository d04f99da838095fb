"""Examples for the parser: drawn people in other clothes, places and light."""

from __future__ import annotations

import dataclasses

import numpy as np

from input_pipeline.part_labels.drawn.examples import surroundings
from input_pipeline.part_labels.drawn.examples.exposure import expose
from input_pipeline.part_labels.drawn.examples.garments import dress
from input_pipeline.part_labels.drawn.examples.people import People
from input_pipeline.part_labels.drawn.examples.placement import draw_placement, place
from input_pipeline.part_labels.drawn.examples.textures import TextureBank
from input_pipeline.part_labels.drawn.network import PADDING

NOBODY = 0.02
"""Share of the examples that show no person at all."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with exact part maps.

    Attributes:
        images: uint8 `[N, H, W, 3]`.
        parts: uint8 `[N, H, W]`.
        shown: Which pixels are of the image and not of the letterbox around it, bool `[N, H, W]`.
    """

    images: np.ndarray
    parts: np.ndarray
    shown: np.ndarray


class Variation:
    """Makes examples out of drawn people; which ones is a function of the seed and their number."""

    def __init__(
        self, people: People, bank: TextureBank, *, seed: int, size: tuple[int, int]
    ) -> None:
        """Takes people and textures; `size` is height and width of the examples."""
        self._people, self._bank, self._seed, self._size = people, bank, seed, size

    def batch(self, first: int, count: int) -> Examples:
        """The examples `first` to `first + count - 1`."""
        made = [self.example(number) for number in range(first, first + count)]
        return Examples(*(np.stack(arrays) for arrays in zip(*made, strict=True)))

    def example(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An image, its part map, and where the image is; as in `Examples`."""
        rng = np.random.default_rng((self._seed, number))
        box = _draw_box(rng, self._size)
        height, width = box[1] - box[0], box[3] - box[2]
        image, parts = self._scene(rng, (height, width))
        whole = np.full((*self._size, 3), PADDING, np.uint8)
        classes = np.zeros(self._size, np.uint8)
        shown = np.zeros(self._size, bool)
        window = (slice(box[0], box[1]), slice(box[2], box[3]))
        whole[window], classes[window], shown[window] = image, parts, True
        return whole, classes, shown

    def _scene(
        self, rng: np.random.Generator, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A person in surroundings, uint8 `[h, w, 3]`, and the part map."""
        people, bank = self._people, self._bank
        pick = int(rng.integers(len(people)))
        layer = place(people.images[pick], people.parts[pick], draw_placement(rng), size=size)
        parts = layer.parts
        as_drawn = rng.random() < (0.6 if people.finished[pick] else 0.25)
        if rng.random() < (0.4 if as_drawn else 0.8):
            layer = dataclasses.replace(layer, pixels=dress(rng, layer.pixels, parts, bank))
        pixels = surroundings.backdrop(rng, bank, size)
        if rng.random() < 0.25:
            pixels = surroundings.alike(rng, pixels, layer)
        if rng.random() < 0.3:
            pixels, _ = surroundings.others(rng, pixels, people, before=False)
        if rng.random() < NOBODY:
            return expose(rng, pixels, bank), np.zeros(size, np.uint8)
        if as_drawn:  # with the drawn background, the shadow and the bags
            opacity = surroundings.softened(layer.inside, 1.0)
        else:
            opacity = surroundings.softened(parts > 0, rng.uniform(0.4, 1.3))
        pixels = pixels + opacity * (layer.pixels - pixels)
        covered = np.zeros(size, bool)
        if rng.random() < 0.25:
            pixels, mask = surroundings.hide(rng, pixels, bank)
            covered |= mask
        if rng.random() < 0.15:
            pixels, mask = surroundings.others(rng, pixels, people, before=True)
            covered |= mask
        mild = bool(as_drawn and people.finished[pick] and rng.random() < 0.6)
        image = expose(rng, pixels, bank, mild=mild)
        return image, np.where(covered, 0, parts).astype(np.uint8)


def _draw_box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the image in the letterbox: most fill it."""
    height, width = size
    kind = rng.random()
    if kind < 0.7:
        return 0, height, 0, width
    if kind < 0.88:  # narrow
        narrow = round(width * rng.uniform(0.62, 1.0))
        left = (width - narrow) // 2
        return 0, height, left, left + narrow
    low = round(height * rng.uniform(0.7, 1.0))  # wide
    top = (height - low) // 2
    return top, top + low, 0, width
