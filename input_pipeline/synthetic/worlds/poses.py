"""How people hold themselves under a camera: walking mostly, seen from the sides it sees most."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from input_pipeline.synthetic.figure.pose import Pose, draw_pose
from input_pipeline.synthetic.people import LoadKind, Person

Pair = tuple[float, float]
_LOWERED = 0.75
"""Share of the raised hands of `draw_pose` that hang after all: on a street, few are raised."""
_RAISED = 1.1


def draw_side(rng: np.random.Generator, along: float) -> float:
    """A viewing side: most people walk along one path under a camera, one way or the other."""
    kind = rng.random()
    if kind < 0.4:
        return along + float(rng.normal(0, 0.3))
    if kind < 0.75:
        return along + math.pi + float(rng.normal(0, 0.3))
    return float(rng.uniform(-math.pi, math.pi))


def pose_of(rng: np.random.Generator, person: Person, yaw: float) -> Pose:
    """A pose that fits what the person carries."""
    pose = draw_pose(rng, yaw)
    if rng.random() < _LOWERED:
        pose = _with_low_hands(pose)
    load = person.load.kind
    if load is LoadKind.BICYCLE:
        return _cycling(rng, pose)
    if load is LoadKind.PRAM:
        return dataclasses.replace(
            pose, swing=(0.35, 0.35), elbow=(0.9, 0.9), lift=(0.12, 0.12), lean=0.12
        )
    if load is LoadKind.UMBRELLA:
        return _right(pose, swing=0.35, elbow=1.9, lift=0.1)
    if load is LoadKind.SUITCASE:
        return _right(pose, swing=-0.35, elbow=0.1, lift=0.18)
    return _doing(rng, pose)


def _with_low_hands(pose: Pose) -> Pose:
    """The pose with arms that swing against the thighs, where one was raised."""
    up = [elbow > _RAISED for elbow in pose.elbow]
    if not any(up):
        return pose
    swing = [
        -0.8 * hip if high else s for hip, s, high in zip(pose.hip, pose.swing, up, strict=True)
    ]
    elbow = [0.25 if high else e for e, high in zip(pose.elbow, up, strict=True)]
    return dataclasses.replace(pose, swing=(swing[0], swing[1]), elbow=(elbow[0], elbow[1]))


def _doing(rng: np.random.Generator, pose: Pose) -> Pose:
    """Now and then something other than walking with free arms."""
    kind = rng.random()
    if kind < 0.05:  # arms crossed
        return dataclasses.replace(
            pose, swing=(0.25, 0.2), elbow=(1.5, 1.35), lift=(0.12, 0.12), inward=(1.2, 1.15)
        )
    if kind < 0.11:  # phone at the ear
        return _right(pose, swing=0.55, elbow=2.35, lift=0.45, inward=0.5)
    if kind < 0.18:  # looks at a phone
        return _right(
            dataclasses.replace(pose, lean=pose.lean + 0.06),
            swing=0.35,
            elbow=1.6,
            lift=0.1,
            inward=0.5,
        )
    if kind < 0.30:  # hands in pockets
        return dataclasses.replace(
            pose, swing=(-0.15, -0.15), elbow=(0.55, 0.55), lift=(0.3, 0.3), inward=(0.45, 0.45)
        )
    if kind < 0.34:  # carries something before the chest
        return dataclasses.replace(
            pose, swing=(0.2, 0.2), elbow=(1.3, 1.3), lift=(0.15, 0.15), inward=(0.3, 0.3)
        )
    if kind < 0.40:  # hurries
        return dataclasses.replace(
            pose,
            lean=pose.lean + 0.12,
            hip=(1.5 * pose.hip[0], 1.5 * pose.hip[1]),
            knee=(1.4 * pose.knee[0], 1.4 * pose.knee[1]),
            elbow=(1.2, 1.2),
        )
    return pose


def _right(pose: Pose, *, swing: float, elbow: float, lift: float, inward: float = 0.0) -> Pose:
    """The pose with another right arm."""
    return dataclasses.replace(
        pose,
        swing=(pose.swing[0], swing),
        elbow=(pose.elbow[0], elbow),
        lift=(pose.lift[0], lift),
        inward=(pose.inward[0], inward),
    )


def _cycling(rng: np.random.Generator, pose: Pose) -> Pose:
    turn = rng.uniform(0, 2 * math.pi)
    hip: Pair = (0.95 + 0.4 * math.sin(turn), 0.95 - 0.4 * math.sin(turn))
    knee: Pair = (1.15 + 0.45 * math.sin(turn + 0.5), 1.15 - 0.45 * math.sin(turn + 0.5))
    return dataclasses.replace(
        pose,
        lean=float(rng.uniform(0.12, 0.4)),
        twist=0.0,
        hip=hip,
        knee=knee,
        spread=0.08,
        swing=(0.75, 0.75),
        elbow=(0.45, 0.45),
        lift=(0.16, 0.16),
    )
