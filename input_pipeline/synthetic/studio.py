"""One image with its part map: scene, person, occluder, camera."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from input_pipeline.synthetic.cameras import Camera, expose, make_camera
from input_pipeline.synthetic.figure.body import draw_body
from input_pipeline.synthetic.figure.pose import View, draw_pose
from input_pipeline.synthetic.figure.shapes import Canvas
from input_pipeline.synthetic.occluders import draw_occluder
from input_pipeline.synthetic.people import Person
from input_pipeline.synthetic.scenes import crop_scene, make_scene
from input_pipeline.synthetic.settings import SyntheticSettings
from input_pipeline.synthetic.tracklets import make_step

_STREAM = 4
_SMALL = 100
"""Images lower than this are drawn at twice their size, so that thin details survive."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An image, RGB, and its part map, single-channel class ids, both of one size."""

    image: Image.Image
    part_map: Image.Image


class Studio:
    """Draws images of one dataset; holds its cameras and their scenes."""

    def __init__(self, settings: SyntheticSettings) -> None:
        """Draws the scenes, some milliseconds each."""
        self.settings = settings
        self._cameras = [make_camera(settings, n + 1) for n in range(settings.cameras)]
        self._scenes = [make_scene(settings.seed, camera) for camera in self._cameras]
        self._zoom = 2 if settings.height < _SMALL else 1

    def draw(
        self, person: Person, camera_number: int, number: int, frame: int | None = None
    ) -> Drawn:
        """Draws `person` as seen by a camera; the same arguments give the same bytes.

        Args:
            person: Who.
            camera_number: The camera.
            number: Seeds everything that varies.
            frame: Which image of tracklet `number`; None for a single image.
        """
        settings, camera = self.settings, self._cameras[camera_number - 1]
        rng = np.random.default_rng((settings.seed, _STREAM, number))
        width, height = settings.width * self._zoom, settings.height * self._zoom
        view = _place(rng, camera, person, width, height)
        step = None if frame is None else make_step(settings, number, frame)
        if step is not None:
            view = step.seen(view, (width, height))
        backdrop = crop_scene(
            rng,
            self._scenes[camera_number - 1],
            (width, height),
            (view.x, view.y),
            1.06 + 0.2 * rng.random(),
        )
        canvas = Canvas.on(backdrop)
        spread = rng.normal(0, 0.5) if rng.random() < 0.5 else rng.uniform(-math.pi, math.pi)
        pose = draw_pose(rng, camera.yaw + spread, ahead=0.0 if step is None else step.ahead)
        draw_body(canvas, person, pose, view)
        if rng.random() < settings.occlusion_rate:
            draw_occluder(rng, canvas, view if step is None else step.before(view))
        noise = rng if step is None else step.noise
        image = expose(noise, canvas.planes, camera, (settings.width, settings.height))
        offset = self._zoom - 1
        parts = np.ascontiguousarray(canvas.parts[offset :: self._zoom, offset :: self._zoom])
        return Drawn(image, Image.fromarray(parts))


def _place(
    rng: np.random.Generator, camera: Camera, person: Person, width: int, height: int
) -> View:
    jitter = camera.jitter
    size = camera.zoom * (1 + jitter * rng.normal(0, 0.7)) * person.build.stature
    size *= min(1.0, 2 * width / height)
    row = 0.945 + 0.3 * jitter * rng.normal()
    return View(
        x=width * (0.5 + jitter * rng.normal()),
        y=height * min(row, 0.985),
        scale=height * min(size, 1.02),
        pitch=camera.pitch,
        light=camera.light,
    )
