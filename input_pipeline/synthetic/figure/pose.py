"""A skeleton in a walking or standing pose, seen by a camera."""

from __future__ import annotations

import dataclasses
import math

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


def _down(forward: float, outward: float, side: float) -> np.ndarray:
    return np.array(
        (
            side * math.sin(outward),
            math.sin(forward) * math.cos(outward),
            -math.cos(forward) * math.cos(outward),
        )
    )


def joints(pose: Pose, build: Build) -> np.ndarray:
    """Joint positions `[len(JOINTS), 3]` in units of body height.

    The axes are the person's left, forward and up; the lowest foot stands on 0.
    """
    trunk = np.array((0.0, math.sin(pose.lean), math.cos(pose.lean)))
    pelvis = np.array((0.0, 0.0, 0.52))
    neck = pelvis + 0.325 * trunk
    points = [pelvis, neck, neck + 0.082 * trunk + (0.0, 0.012, 0.0)]
    cos_t, sin_t = math.cos(pose.twist), math.sin(pose.twist)
    for index, side in enumerate((1.0, -1.0)):
        reach = 0.096 * build.shoulders * side
        shoulder = neck - 0.050 * trunk + (reach * cos_t, reach * sin_t, 0.0)
        swing, lift = pose.swing[index], pose.lift[index]
        elbow = shoulder + 0.158 * _down(swing, lift, side)
        forearm = _down(swing + pose.elbow[index], lift * 0.6 - pose.inward[index], side)
        wrist = elbow + 0.135 * forearm
        hip = pelvis + np.array((0.05 * build.hips * side, 0.0, -0.01))
        thigh = pose.hip[index]
        knee = hip + 0.235 * build.legs * _down(thigh, pose.spread, side)
        shin = thigh - pose.knee[index]
        ankle = knee + 0.225 * build.legs * _down(shin, pose.spread * 0.5, side)
        tilt = 0.7 * min(shin, 0.0) - 0.05
        ahead = np.array((0.1 * side, math.cos(tilt), math.sin(tilt)))
        sole = ankle - np.array((0.0, 0.0, 0.028))
        points += [shoulder, elbow, wrist, wrist + 0.045 * forearm]
        points += [hip, knee, ankle, sole - 0.024 * ahead, sole + 0.078 * ahead]
    result = np.stack(points)
    result[:, 2] -= result[:, 2].min() - 0.016
    return result


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
    """Joints in the image: `xy` `[J, 2]` in pixels and `near` `[J]`, larger in front."""

    xy: np.ndarray
    near: np.ndarray

    def at(self, joint: str) -> tuple[float, float]:
        """Column and row of a joint in pixels."""
        x, y = self.xy[JOINTS.index(joint)]
        return float(x), float(y)

    def depth(self, joint: str) -> float:
        """How near the joint is to the camera, in body heights."""
        return float(self.near[JOINTS.index(joint)])


def project(points: np.ndarray, yaw: float, view: View) -> Skeleton:
    """Orthographic projection of `joints`, widened toward the head by `View.taper`."""
    right = points[:, 0] * math.cos(yaw) + points[:, 1] * math.sin(yaw)
    toward = points[:, 1] * math.cos(yaw) - points[:, 0] * math.sin(yaw)
    up = points[:, 2] * math.cos(view.pitch) - toward * math.sin(view.pitch)
    if view.taper:
        right, up = right * (1 + view.taper * up), up * (1 + 0.5 * view.taper * up)
    xy = np.stack((view.x + view.scale * right, view.y - view.scale * up), axis=1)
    return Skeleton(xy=xy, near=toward)
