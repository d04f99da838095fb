"""One image of `worlds` with its part map: backdrop, people, light, camera."""

from __future__ import annotations

import bisect
import dataclasses

import numpy as np
from PIL import Image

from input_pipeline.synthetic.figure.body import draw_body
from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.pose import View
from input_pipeline.synthetic.figure.shapes import Canvas
from input_pipeline.synthetic.occluders import draw_thing
from input_pipeline.synthetic.people import LoadKind, Person, either_way
from input_pipeline.synthetic.settings import SyntheticSettings
from input_pipeline.synthetic.worlds import lighting, loads
from input_pipeline.synthetic.worlds.backdrops import crop_backdrop, make_backdrop
from input_pipeline.synthetic.worlds.bystanders import Bystanders, Place
from input_pipeline.synthetic.worlds.framing import Crop, frame_person
from input_pipeline.synthetic.worlds.optics import (
    WorldCamera,
    develop,
    make_world_camera,
    tone_of,
)
from input_pipeline.synthetic.worlds.poses import draw_side, pose_of

_STREAM = 14
_FINER = 1.125
"""The drawing has so many times the rows of the image."""
_CROWDS = (0.65, 0.9, 1.0)
"""Shares of the images with nobody, with one person or fewer, with two or fewer behind."""


@dataclasses.dataclass(frozen=True)
class WorldDrawn:
    """An image, RGB, its part map, single-channel class ids, and how well the crop fits."""

    image: Image.Image
    part_map: Image.Image
    crop: Crop


class WorldStudio:
    """Draws images of one dataset; holds its cameras, and the scenes and bystanders so far."""

    def __init__(self, settings: SyntheticSettings) -> None:
        """Draws nothing yet."""
        self.settings = settings
        self.cameras = [make_world_camera(settings, n + 1) for n in range(settings.cameras)]
        self._scenes: dict[int, Image.Image] = {}
        self._bystanders = Bystanders(settings.seed)

    def draw(self, person: Person, camera_number: int, number: int) -> WorldDrawn:
        """Draws `person` as seen by a camera; the same arguments give the same bytes."""
        settings, camera = self.settings, self.cameras[camera_number - 1]
        rng = np.random.default_rng((settings.seed, _STREAM, number))
        finer = _FINER * (2 if settings.height < 100 else 1)
        height = round(settings.height * finer)
        width = round(settings.width * finer * camera.stretch * rng.uniform(0.94, 1.06))
        pose = pose_of(rng, person, draw_side(rng, camera.side))
        tone = tone_of(rng, camera)
        frame = frame_person(rng, camera, person, pose, size=(width, height), tone=tone)
        view = frame.view
        canvas = crop_backdrop(rng, self._scene(camera), (width, height), (view.x, view.y))
        self._crowd(rng, canvas, view)
        if rng.random() < camera.sun:
            lighting.ground_shadow(rng, canvas, view, camera.hardness)
        if person.load.kind is LoadKind.NONE:
            draw_body(canvas, person, pose, view)
        else:
            figure = Figure(canvas, person, pose, view)
            loads.behind(figure)
            draw_body(canvas, person, pose, view)
            loads.before(figure)
        self._hide(rng, canvas, view)
        lighting.overall(rng, canvas, camera)
        size = (settings.width, settings.height)
        image = develop(rng, canvas.planes, camera, size)
        parts = Image.fromarray(canvas.parts).resize(size, Image.Resampling.NEAREST)
        return WorldDrawn(image, parts, frame.crop)

    def _scene(self, camera: WorldCamera) -> Image.Image:
        if camera.number not in self._scenes:
            self._scenes[camera.number] = make_backdrop(self.settings.seed, camera)
        return self._scenes[camera.number]

    def _crowd(self, rng: np.random.Generator, canvas: Canvas, view: View) -> None:
        """People behind the person, and now and then one at their side."""
        for _ in range(bisect.bisect(_CROWDS, rng.random())):
            far = rng.uniform(0.3, 0.95)
            place = Place(
                x=float(rng.uniform(0, canvas.parts.shape[1])),
                y=view.y - (1 - far) * rng.uniform(0.1, 0.7) * view.scale,
                scale=view.scale * far,
                mirrored=bool(rng.random() < 0.5),
            )
            self._bystanders.paste(rng, canvas, place, covers=False)

    def _hide(self, rng: np.random.Generator, canvas: Canvas, view: View) -> None:
        """Something in front of the person, in the asked share of the images."""
        if rng.random() >= self.settings.occlusion_rate:
            return
        if rng.random() < 0.55:
            draw_thing(rng, canvas, view)
            return
        side = either_way(rng)
        place = Place(
            x=view.x + side * rng.uniform(0.15, 0.3) * view.scale,
            y=view.y + rng.uniform(0.0, 0.12) * view.scale,
            scale=view.scale * rng.uniform(0.95, 1.12),
            mirrored=bool(rng.random() < 0.5),
        )
        self._bystanders.paste(rng, canvas, place, covers=True)
