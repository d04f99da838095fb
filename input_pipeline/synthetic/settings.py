"""How large and how hard a synthetic dataset is, and the presets."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import types
from collections.abc import Mapping
from typing import Any

from input_pipeline.errors import DataError
from input_pipeline.files import read_json, reading
from input_pipeline.synthetic.worlds.styles import BACKDROP_STYLES, CAMERA_STYLES, chosen_styles

SETTINGS_FILE = "settings.json"
PLAIN, WORLDS = "plain", "worlds"
DRAWING_VERSIONS: Mapping[str, int] = types.MappingProxyType({PLAIN: 2, WORLDS: 4})
"""Raised whenever the same settings would draw other images."""


@dataclasses.dataclass(frozen=True)
class SyntheticSettings:
    """Everything that decides the bytes of a synthetic dataset.

    Attributes:
        train_identities: People in `bounding_box_train`.
        test_identities: People in `query` and `bounding_box_test`; none of them is in training.
        distractor_identities: People who are only in the gallery, all under number 0000.
        pictures_per_identity: Images of each person in training, and of each in the gallery.
        pictures_per_distractor: Images of each distractor.
        cameras: Number of cameras, 2 to 6, or to 200 where the drawing is `worlds`.
        cameras_per_identity: A person is seen by this many cameras or more, exactly this many where
            the drawing is `worlds`; one query from each.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        look_alikes: People in a group that differ in one or two details of one part.
        look_alike_share: Share of the people who belong to such a group, 0 to 1.
        camera_strength: Cast, contrast, blur, noise and crop jitter; 0 is none and 1 is hard.
        occlusion_rate: Share of the images with something in front of the person.
        jpeg_quality: Quality of the image files, 1 to 95.
        seed: Other seeds draw other people, cameras and images.
        drawing: `plain`, or `worlds` for people, cameras and backgrounds as varied as real ones.
        camera_styles: Camera styles of `worlds`, joined by `+`; all where it is empty.
        backdrop_styles: Background styles of `worlds`, joined by `+`; all where it is empty.
        frames: Images of each tracklet in query and gallery, which are then ranked by tracklet; 1
            for single images. Training always sees single ones.
    """

    train_identities: int
    test_identities: int
    distractor_identities: int
    pictures_per_identity: int = 8
    pictures_per_distractor: int = 4
    cameras: int = 4
    cameras_per_identity: int = 4
    height: int = 128
    width: int = 64
    look_alikes: int = 4
    look_alike_share: float = 1.0
    camera_strength: float = 1.0
    occlusion_rate: float = 0.25
    jpeg_quality: int = 92
    seed: int = 0
    drawing: str = PLAIN
    camera_styles: str = ""
    backdrop_styles: str = ""
    frames: int = 1

    def __post_init__(self) -> None:
        """Refuses values out of range.

        Raises:
            DataError: Names the field, its value and what it may be.
        """
        ranges: dict[str, tuple[float, float]] = {
            "train_identities": (1, 20_000),
            "test_identities": (1, 20_000),
            "distractor_identities": (0, 20_000),
            "pictures_per_identity": (2, 1000),
            "pictures_per_distractor": (1, 1000),
            "cameras": (2, 6 if self.drawing == PLAIN else 200),
            "cameras_per_identity": (2, self.cameras),
            "height": (32, 1024),
            "width": (16, 512),
            "look_alikes": (2, 8),
            "look_alike_share": (0, 1),
            "camera_strength": (0, 2),
            "occlusion_rate": (0, 1),
            "jpeg_quality": (1, 95),
            "seed": (0, 2**32 - 1),
            "frames": (1, 100 if self.drawing == PLAIN else 1),
        }
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kinds = {"int": (int,), "float": (int, float), "str": (str,)}[str(field.type)]
            if type(value) not in kinds:
                what = "text" if field.type == "str" else "such number"
                raise DataError(f"synthetic setting {field.name} = {value!r} is no {what}")
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise DataError(
                    f"synthetic setting {name} = {value} is not between {low:g} and {high:g}"
                )
        if self.pictures_per_identity < self.cameras_per_identity:
            raise DataError(
                f"synthetic setting pictures_per_identity = {self.pictures_per_identity} leaves "
                f"cameras empty: make it cameras_per_identity = {self.cameras_per_identity} or more"
            )

        self._check_styles()

    def _check_styles(self) -> None:
        if self.drawing not in (PLAIN, WORLDS):
            raise DataError(
                f"synthetic setting drawing = {self.drawing!r} is not {PLAIN} or {WORLDS}"
            )
        for name, known in (
            ("camera_styles", tuple(CAMERA_STYLES)),
            ("backdrop_styles", BACKDROP_STYLES),
        ):
            text = getattr(self, name)
            if text and self.drawing == PLAIN:
                raise DataError(f"synthetic setting {name} is for {WORLDS}: leave it empty")
            try:
                chosen_styles(text, known)
            except ValueError as error:
                raise DataError(f"synthetic setting {name} = {text!r}: {error}") from error

    def to_json(self) -> str:
        """The settings as the text of `settings.json`."""
        version = DRAWING_VERSIONS[self.drawing]
        fields: dict[str, Any] = {"drawing_version": version, **dataclasses.asdict(self)}
        if self.frames == 1:
            del fields["frames"]  # The file of single images is what it was before tracklets.
        return json.dumps(fields, indent=2) + "\n"


def read_settings(path: pathlib.Path) -> SyntheticSettings:
    """Reads what `SyntheticSettings.to_json` wrote.

    Raises:
        DataError: The file is not that, or was written by another version of the drawing.
    """
    advice = "delete the folder or choose another one"
    what = "settings file of a synthetic dataset"
    fields = read_json(path, what=what, advice=advice)
    with reading(path, what=what, advice=advice):
        version = fields.pop("drawing_version")
        try:
            settings = SyntheticSettings(**fields)
        except DataError as error:
            raise ValueError(error) from error  # so that the file is named
    current = DRAWING_VERSIONS[settings.drawing]
    if version != current:
        raise DataError(
            f"{path.parent} was drawn by version {version}, this is {current}: {advice}"
        )
    return settings


def settings_of(variant: str) -> SyntheticSettings:
    """The settings that `preset[:setting=value]…` names, such as `worlds:seed=1:cameras=12`.

    Raises:
        DataError: No preset or setting has this name, or the value is not one of it.
    """
    preset, *changes = variant.split(":")
    if preset not in PRESETS:
        raise DataError(f"no synthetic preset is called {preset!r}: choose {', '.join(PRESETS)}")
    types_of = {field.name: str(field.type) for field in dataclasses.fields(SyntheticSettings)}
    values: dict[str, Any] = {}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in types_of:
            raise DataError(f"no synthetic setting is called {name!r}: {', '.join(types_of)}")
        try:
            values[name] = {"int": int, "float": float, "str": str}[types_of[name]](text)
        except ValueError as error:
            raise DataError(f"synthetic setting {name} = {text!r} is no such number") from error
    return dataclasses.replace(PRESETS[preset], **values)


PRESETS: Mapping[str, SyntheticSettings] = types.MappingProxyType(
    {
        "tiny": SyntheticSettings(
            train_identities=8,
            test_identities=4,
            distractor_identities=2,
            pictures_per_identity=4,
            pictures_per_distractor=2,
            cameras=2,
            cameras_per_identity=2,
            height=64,
            width=32,
            look_alikes=2,
            look_alike_share=0.5,
            camera_strength=0.3,
            occlusion_rate=0.2,
        ),
        "quickstart": SyntheticSettings(
            train_identities=200,
            test_identities=60,
            distractor_identities=20,
            look_alike_share=0.25,
            camera_strength=0.4,
            occlusion_rate=0.15,
        ),
        "benchmark": SyntheticSettings(
            train_identities=240,
            test_identities=100,
            distractor_identities=40,
        ),
        "large": SyntheticSettings(
            train_identities=751,
            test_identities=750,
            distractor_identities=394,
            pictures_per_identity=17,
            pictures_per_distractor=8,
            cameras=6,
            cameras_per_identity=3,
            height=384,
            width=192,
            look_alike_share=0.5,
            jpeg_quality=90,
        ),
        "worlds": SyntheticSettings(
            train_identities=5000,
            test_identities=300,
            distractor_identities=100,
            cameras=48,
            cameras_per_identity=8,
            look_alike_share=0.15,
            occlusion_rate=0.15,
            drawing=WORLDS,
        ),
    }
)
"""`tiny` for tests, `quickstart` for two CPU cores, `benchmark` hard and small, `large` as
Market-1501, `worlds` as varied as real cameras."""
