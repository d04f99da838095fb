"""Other cloth, prints and light on a drawn person: neither color nor shading may tell parts."""

from __future__ import annotations

import numpy as np

from input_pipeline.dataset import (
    FOOT,
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
)
from input_pipeline.part_labels.drawn.examples.textures import TextureBank, random_color

_WHOLE_SUIT = (TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG)
_LEGS = (UPPER_LEG, LOWER_LEG)
_SKIN = np.array(((236, 196, 170), (208, 160, 130), (150, 104, 78), (92, 62, 48)), np.float32)
_GRAY = np.array((0.30, 0.59, 0.11), np.float32)


def dress(
    rng: np.random.Generator, pixels: np.ndarray, parts: np.ndarray, bank: TextureBank
) -> np.ndarray:
    """The person in other cloth and other light.

    Args:
        rng: Decides all of it.
        pixels: float32 `[H, W, 3]` in 0-255.
        parts: uint8 `[H, W]`.
        bank: Textures for the cloth.

    Returns:
        float32 `[H, W, 3]`; pixels of the background are unchanged.
    """
    person = parts > 0
    dressed = pixels.copy()
    for classes, share in _cuts(rng):
        if rng.random() < share:
            mask = np.isin(parts, classes)
            if mask.sum() > 8:
                dressed[mask] = _cloth(rng, pixels, mask, bank)
    if rng.random() < 0.5:
        _patches(rng, dressed, parts, bank)
    if rng.random() < 0.7:  # light and shade that know nothing of the body's form
        shade = bank.noise(rng, parts.shape) * rng.uniform(0.02, 0.3)
        dressed[person] *= np.exp(shade)[person][:, None]
    if rng.random() < 0.4:
        slope = rng.normal(0, 0.5, 2)
        row, column = np.mgrid[: parts.shape[0], : parts.shape[1]]
        light = slope[0] * (row / parts.shape[0] - 0.5) + slope[1] * (column / parts.shape[1] - 0.5)
        dressed[person] *= np.exp(light).astype(np.float32)[person][:, None]
    return np.where(person[..., None], dressed, pixels)


def _cuts(rng: np.random.Generator) -> list[tuple[tuple[int, ...], float]]:
    """Which parts share a cloth, each with the chance that it is changed."""
    kind = rng.random()
    if kind < 0.12:
        return [(_WHOLE_SUIT, 0.9), ((FOOT,), 0.4), ((HEAD,), 0.3)]
    sleeves = rng.random()
    if sleeves < 0.55:
        top: list[tuple[tuple[int, ...], float]] = [((TORSO, UPPER_ARM, LOWER_ARM), 0.7)]
    elif sleeves < 0.8:
        top = [((TORSO, UPPER_ARM), 0.7), ((LOWER_ARM,), 0.4)]
    else:
        top = [((TORSO,), 0.7), ((UPPER_ARM, LOWER_ARM), 0.6)]
    if rng.random() < 0.1:  # a coat down to the knees
        return [((TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG), 0.9), ((LOWER_LEG,), 0.5)]
    legs = [(_LEGS, 0.7)] if rng.random() < 0.85 else [((UPPER_LEG,), 0.7), ((LOWER_LEG,), 0.6)]
    foot = [((LOWER_LEG, FOOT), 0.3)] if rng.random() < 0.1 else [((FOOT,), 0.5)]
    return [*top, *legs, *foot, ((HEAD,), 0.3)]


def _cloth(
    rng: np.random.Generator, pixels: np.ndarray, mask: np.ndarray, bank: TextureBank
) -> np.ndarray:
    """The pixels of `mask` in another cloth, `[n, 3]`, with more or less of their own shading."""
    own = pixels[mask]
    middle = own.mean(0)
    shading = (own @ _GRAY) / max(float(middle @ _GRAY), 8.0)
    shading = 1 + rng.uniform(0.1, 1.3) * (shading - 1)
    kind = rng.random()
    if kind < 0.5:
        cloth = np.broadcast_to(random_color(rng), own.shape)
    elif kind < 0.85:
        cloth = bank.cut(rng, (mask.shape[0], mask.shape[1]))[mask]
        calm = rng.uniform(0.2, 1.0)
        cloth = calm * cloth + (1 - calm) * random_color(rng)
    elif kind < 0.92:
        cloth = np.broadcast_to(_SKIN[int(rng.integers(len(_SKIN)))], own.shape)
    else:
        cloth = own
    return np.clip(cloth * shading[:, None].clip(0.2, 2), 0, 255)


def _patches(
    rng: np.random.Generator, pixels: np.ndarray, parts: np.ndarray, bank: TextureBank
) -> None:
    """Prints, bags, belts and straps on the body, which keep the class of what they lie on."""
    rows, columns = np.nonzero(parts)
    if not len(rows):
        return
    tall, wide = float(np.ptp(rows)) + 1, float(np.ptp(columns)) + 1
    row, column = np.ogrid[: parts.shape[0], : parts.shape[1]]
    for _ in range(int(rng.integers(1, 4))):
        pick = int(rng.integers(len(rows)))
        angle = rng.uniform(0, np.pi)
        down, right = row - rows[pick], column - columns[pick]
        along = (np.cos(angle) * down + np.sin(angle) * right) / (tall * rng.uniform(0.02, 0.14))
        across = (np.cos(angle) * right - np.sin(angle) * down) / (wide * rng.uniform(0.05, 0.35))
        shape = np.maximum(np.abs(along), np.abs(across)) if rng.random() < 0.5 else None
        near = (along**2 + across**2 if shape is None else shape) < 1
        near &= parts > 0
        if rng.random() < 0.5:
            near &= parts == parts[rows[pick], columns[pick]]
        texture = random_color(rng) if rng.random() < 0.5 else bank.cut(rng, parts.shape)[near]
        pixels[near] = 0.15 * pixels[near] + 0.85 * texture
