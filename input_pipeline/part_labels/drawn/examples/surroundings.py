"""What is behind and before a person: clutter, other people, things that hide; all background."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from input_pipeline.dataset import LOWER_LEG, TORSO, UPPER_LEG
from input_pipeline.part_labels.drawn.examples.people import People
from input_pipeline.part_labels.drawn.examples.placement import Layer, draw_placement, place
from input_pipeline.part_labels.drawn.examples.textures import TextureBank, random_color


def backdrop(rng: np.random.Generator, bank: TextureBank, size: tuple[int, int]) -> np.ndarray:
    """A background with nobody, float32 `[height, width, 3]` in 0-255."""
    pixels = bank.cut(rng, size)
    if rng.random() < 0.5:  # ground below, or a wall beside
        other = bank.cut(rng, size)
        if rng.random() < 0.7:
            split = int(size[0] * rng.uniform(0.3, 0.95))
            pixels[split:] = other[split:]
        else:
            split = int(size[1] * rng.uniform(0.1, 0.9))
            pixels[:, split:] = other[:, split:]
    for _ in range(int(rng.integers(0, 3))):
        mask = _shape(rng, size)[..., None]
        pixels = pixels + mask * (_fill(rng, bank, size) - pixels)
    if rng.random() < 0.35:  # out of focus
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3))), np.float32)
    if rng.random() < 0.5:
        pixels = pixels.mean((0, 1)) + rng.uniform(0.2, 1.0) * (pixels - pixels.mean((0, 1)))
    return pixels


def alike(rng: np.random.Generator, pixels: np.ndarray, person: Layer) -> np.ndarray:
    """The background in a garment's color, so that the outline hardly shows."""
    cloth = rng.choice((TORSO, UPPER_LEG, LOWER_LEG))
    mask = person.parts == cloth
    if mask.sum() < 8:
        return pixels
    near = person.pixels[mask].mean(0) - pixels.mean((0, 1))
    return pixels + rng.uniform(0.5, 1.0) * near


def softened(mask: np.ndarray, radius: float) -> np.ndarray:
    """The opacity of a layer, float32 `[H, W, 1]`: 0 outside of `mask`, rising within it."""
    image = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(radius))
    return np.maximum(np.asarray(image, np.float32) / 127.5 - 1, 0)[..., None]


def others(
    rng: np.random.Generator, pixels: np.ndarray, people: People, *, before: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Adds another person at the side.

    Args:
        rng: Decides whom and where.
        pixels: float32 `[H, W, 3]`.
        people: Whom to take.
        before: Whether they stand nearer than the person of the image, and so more to the side.

    Returns:
        The pixels, and where the other one covers them, bool `[H, W]`.
    """
    size = (pixels.shape[0], pixels.shape[1])
    pick = int(rng.integers(len(people)))
    side = float(rng.choice((-1, 1)))
    away = rng.uniform(0.42, 0.7) if before else rng.uniform(0.3, 0.6)
    scale = rng.uniform(0.95, 1.4) if before else rng.uniform(0.45, 1.05)
    placement = dataclasses.replace(
        draw_placement(rng),
        center=(float(rng.uniform(-0.12, 0.2)), side * float(away)),
        scale=(float(scale), float(scale)),
    )
    other = place(people.images[pick], people.parts[pick], placement, size=size)
    opacity = softened(other.parts > 0, 0.7)
    tint = np.exp(rng.normal(0, 0.25, 3)).astype(np.float32)
    return pixels + opacity * (other.pixels * tint - pixels), other.parts > 0


def hide(
    rng: np.random.Generator, pixels: np.ndarray, bank: TextureBank
) -> tuple[np.ndarray, np.ndarray]:
    """Puts a thing before the person: a wall, a car, a bush, a pole.

    Returns:
        The pixels, and where the thing covers them, bool `[H, W]`.
    """
    height, width = size = (pixels.shape[0], pixels.shape[1])
    kind = rng.random()
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    if kind < 0.4:  # it stands on the ground
        top = height * (1 - rng.uniform(0.08, 0.5))
        left, right = sorted(rng.uniform(-0.3, 1.3, 2) * width)
        if rng.random() < 0.5:
            left, right = 0.0, float(width)
        pen.polygon(
            [(left, height), (left, top), (right, top + rng.normal(0, 4)), (right, height)],
            fill=255,
        )
    elif kind < 0.6:  # a pole
        x, half = width * rng.uniform(0, 1), width * rng.uniform(0.02, 0.12)
        lean = rng.normal(0, 3)
        pen.line([(x, 0), (x + lean, height)], fill=255, width=max(1, round(2 * half)))
    elif kind < 0.8:  # from the side
        x = width * rng.uniform(0.1, 0.4)
        box = (0, 0, x, height) if rng.random() < 0.5 else (width - x, 0, width, height)
        pen.rectangle(box, fill=255)
    else:
        return _cover(rng, pixels, bank, _shape(rng, size) > 0.5)
    mask = np.asarray(image) > 127
    if rng.random() < 0.3:  # a ragged edge
        mask = mask & (bank.noise(rng, size) > -0.6)
    return _cover(rng, pixels, bank, mask)


def _cover(
    rng: np.random.Generator, pixels: np.ndarray, bank: TextureBank, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    thing = _fill(rng, bank, mask.shape)
    return np.where(mask[..., None], thing, pixels), mask


def _fill(rng: np.random.Generator, bank: TextureBank, size: tuple[int, int]) -> np.ndarray:
    plain = rng.random() < 0.35
    thing = bank.cut(rng, size)
    if plain:
        return random_color(rng) * np.exp(0.1 * (thing - thing.mean()) / 64)
    return thing


def _shape(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A random ellipse, box or band, float32 `[height, width]` of 0 and 1."""
    row, column = np.ogrid[: size[0], : size[1]]
    angle = rng.normal(0, 0.3) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    down = row - size[0] * rng.uniform(0, 1)
    right = column - size[1] * rng.uniform(0, 1)
    tall, wide = size[0] * np.exp(rng.uniform(-3.5, -0.7)), size[1] * np.exp(rng.uniform(-3, -0.5))
    along = np.abs(np.cos(angle) * down + np.sin(angle) * right) / tall
    across = np.abs(np.cos(angle) * right - np.sin(angle) * down) / wide
    if rng.random() < 0.3:
        return (along**2 + across**2 < 1).astype(np.float32)
    return (np.maximum(along, across) < 1).astype(np.float32)
