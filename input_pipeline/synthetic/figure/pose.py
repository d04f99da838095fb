"""A skeleton in a walking or standing pose, seen by a camera."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.synthetic.figure.shapes import Tone
from input_pipeline.synthetic.people import Build

JOINTS = (
    "pelvis",
    "neck",
    "head",
    *(
        f"{joint}_{side}"
        for side in ("left", "right")
        for joint in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "heel", "toe")
    ),
)
SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Pose:
    """Joint angles in radians; pairs are (left, right), forward and outward positive.

    Attributes:
        yaw: Viewing side: 0 faces the camera, π/2 walks to the right of the image.
        lean: Forward lean of the trunk.
        twist: Rotation of the shoulders against the hips.
        nod: Turn of the head against the trunk.
        hip: Forward swing of the thighs.
        knee: Flexion of the knees.
        spread: Outward angle of the legs.
        swing: Forward swing of the upper arms.
        elbow: Flexion of the elbows.
        lift: Outward angle of the arms.
        inward: How much the lower arms point inward, against `lift`.
    """

    yaw: float
    lean: float
    twist: float
    nod: float
    hip: tuple[float, float]
    knee: tuple[float, float]
    spread: float
    swing: tuple[float, float]
    elbow: tuple[float, float]
    lift: tuple[float, float]
    inward: tuple[float, float] = (0.0, 0.0)


def draw_pose(rng: np.random.Generator, yaw: float, *, ahead: float = 0.0) -> Pose:
    """A person walking (mostly) or standing, now and then with a raised hand.

    Args:
        rng: Decides how.
        yaw: The viewing side.
        ahead: How much later in the gait cycle, in radians.
    """
    phase = rng.uniform(0, 2 * math.pi) + ahead
    stride = rng.uniform(0.2, 0.48) if rng.random() < 0.75 else rng.uniform(0.0, 0.08)
    gait = (math.sin(phase), -math.sin(phase))
    late = (math.cos(phase), -math.cos(phase))
    hip = tuple(stride * g + 0.04 for g in gait)
    knee = tuple(
        0.06 + stride * (0.9 * max(0.0, c) + 0.25 * (1 - g))
        for g, c in zip(gait, late, strict=True)
    )
    swing = [-0.8 * stride * g + rng.normal(0, 0.06) for g in gait]
    elbow = [abs(rng.normal(0.22, 0.12)) + 0.5 * stride * (1 - g) * 0.5 for g in gait]
    lift = [abs(rng.normal(0.10, 0.05)) + 0.03 for _ in gait]
    raised = rng.random()
    if raised < 0.22:
        arm = int(rng.integers(2))
        swing[arm] = rng.uniform(0.2, 0.7)
        elbow[arm] = rng.uniform(1.2, 2.2)
    return Pose(
        yaw=yaw,
        lean=float(rng.normal(0.04, 0.03)),
        twist=float(-0.25 * stride * gait[0] + rng.normal(0, 0.05)),
        nod=float(rng.normal(0, 0.2)),
        hip=(hip[0], hip[1]),
        knee=(knee[0], knee[1]),
        spread=float(abs(rng.normal(0.03, 0.03))),
        swing=(swing[0], swing[1]),
        elbow=(elbow[0], elbow[1]),
        lift=(lift[0], lift[1]),
    )


Point = tuple[float, float, float]
"""Along the person's left, forward and up."""


def _reach(start: Point, length: float, forward: float, outward: float, side: float) -> Point:
    """The far end of a bone that hangs from `start` at these angles."""
    wide = math.cos(outward)
    return (
        start[0] + length * (side * math.sin(outward)),
        start[1] + length * (math.sin(forward) * wide),
        start[2] + length * (-math.cos(forward) * wide),
    )


@functools.lru_cache(maxsize=4)
def joints(pose: Pose, build: Build) -> tuple[Point, ...]:
    """The positions of `JOINTS` in units of body height.

    The axes are the person's left, forward and up; the lowest foot stands on 0.
    """
    # Asked for twice in each image: to frame the person and to draw them.
    # Plain numbers, as making an array of three takes longer than adding them.
    sin_l, cos_l = math.sin(pose.lean), math.cos(pose.lean)
    neck = (0.0, 0.325 * sin_l, 0.52 + 0.325 * cos_l)
    head = (0.0, neck[1] + 0.082 * sin_l + 0.012, neck[2] + 0.082 * cos_l)
    points: list[Point] = [(0.0, 0.0, 0.52), neck, head]
    cos_t, sin_t = math.cos(pose.twist), math.sin(pose.twist)
    for index, side in enumerate((1.0, -1.0)):
        span = 0.096 * build.shoulders * side
        below = (neck[1] - 0.050 * sin_l, neck[2] - 0.050 * cos_l)
        shoulder = (span * cos_t, below[0] + span * sin_t, below[1])
        swing, lift = pose.swing[index], pose.lift[index]
        elbow = _reach(shoulder, 0.158, swing, lift, side)
        forearm = (swing + pose.elbow[index], lift * 0.6 - pose.inward[index], side)
        wrist = _reach(elbow, 0.135, *forearm)
        points += [shoulder, elbow, wrist, _reach(wrist, 0.045, *forearm)]
        hip = (0.05 * build.hips * side, 0.0, 0.52 - 0.01)
        thigh = pose.hip[index]
        knee = _reach(hip, 0.235 * build.legs, thigh, pose.spread, side)
        shin = thigh - pose.knee[index]
        ankle = _reach(knee, 0.225 * build.legs, shin, pose.spread * 0.5, side)
        tilt = 0.7 * min(shin, 0.0) - 0.05
        ahead = (0.1 * side, math.cos(tilt), math.sin(tilt))
        x, y, z = ankle[0], ankle[1], ankle[2] - 0.028
        heel = (x - 0.024 * ahead[0], y - 0.024 * ahead[1], z - 0.024 * ahead[2])
        toe = (x + 0.078 * ahead[0], y + 0.078 * ahead[1], z + 0.078 * ahead[2])
        points += [hip, knee, ankle, heel, toe]
    floor = min(point[2] for point in points) - 0.016
    return tuple((x, y, z - floor) for x, y, z in points)


@dataclasses.dataclass(frozen=True)
class View:
    """Where the image shows the ground under the person, and at what scale.

    Attributes:
        x: Column of the ground point in pixels.
        y: Row of the ground point in pixels.
        scale: Pixels per body height.
        pitch: How far the camera looks down, in radians.
        light: Where light comes from: image right, image down, toward the camera.
        tone: How bright the light is; None for plain white.
        taper: How much larger the head is than it would be at the feet's distance, for a camera
            above the person; per body height.
    """

    x: float
    y: float
    scale: float
    pitch: float
    light: tuple[float, float, float]
    tone: Tone | None = None
    taper: float = 0.0

    def scale_at(self, row: float) -> float:
        """Pixels per body height where the image shows `row`."""
        return self.scale * (1 + self.taper * (self.y - row) / self.scale)


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Joints in the image by name.

    Attributes:
        xy: Column and row in pixels.
        near: How near to the camera, in body heights; larger in front.
    """

    xy: Mapping[str, tuple[float, float]]
    near: Mapping[str, float]

    def at(self, joint: str) -> tuple[float, float]:
        """Column and row of a joint in pixels."""
        return self.xy[joint]

    def depth(self, joint: str) -> float:
        """How near the joint is to the camera, in body heights."""
        return self.near[joint]


def project(points: Sequence[Point], yaw: float, view: View) -> Skeleton:
    """Orthographic projection of `joints`, widened toward the head by `View.taper`."""
    cos_y, sin_y = math.cos(yaw), math.sin(yaw)
    cos_p, sin_p = math.cos(view.pitch), math.sin(view.pitch)
    # Plain numbers, as a number of numpy in a place would make all arrays from it float64.
    column, row, scale, taper = float(view.x), float(view.y), float(view.scale), view.taper
    xy: dict[str, tuple[float, float]] = {}
    near: dict[str, float] = {}
    for joint, (side, forward, high) in zip(JOINTS, points, strict=True):
        right = side * cos_y + forward * sin_y
        toward = forward * cos_y - side * sin_y
        up = high * cos_p - toward * sin_p
        if taper:
            right, up = right * (1 + taper * up), up * (1 + 0.5 * taper * up)
        xy[joint] = (column + scale * right, row - scale * up)
        near[joint] = toward
    return Skeleton(xy=xy, near=near)
