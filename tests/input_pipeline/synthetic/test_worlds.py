import dataclasses
import pathlib

import numpy as np
import pytest

from input_pipeline import dataset as parts
from input_pipeline.errors import DataError
from input_pipeline.readers import read_dataset
from input_pipeline.synthetic.people import LoadKind
from input_pipeline.synthetic.plan import SPLITS, make_plan
from input_pipeline.synthetic.settings import PRESETS, SyntheticSettings, settings_of
from input_pipeline.synthetic.studio import Studio
from input_pipeline.synthetic.worlds.backdrops import BACKDROPS
from input_pipeline.synthetic.worlds.framing import Crop
from input_pipeline.synthetic.worlds.optics import make_world_camera
from input_pipeline.synthetic.worlds.studio import WorldStudio
from input_pipeline.synthetic.worlds.styles import BACKDROP_STYLES, CAMERA_STYLES

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "drawn_people.npz"
SMALL = dataclasses.replace(
    PRESETS["worlds"],
    train_identities=40,
    test_identities=2,
    distractor_identities=1,
    cameras=8,
)


@pytest.mark.parametrize("preset", ["tiny", "quickstart", "benchmark"])
def test_the_plain_presets_draw_as_ever(preset: str) -> None:
    """Images drawn before there was `worlds`; rounding may differ between processors."""
    plan, studio = make_plan(PRESETS[preset]), Studio(PRESETS[preset])
    with np.load(GOLDEN) as golden:
        for index, number in enumerate(golden[f"{preset}_shots"]):
            shot = plan.shots[number]
            drawn = studio.draw(plan.population[shot.person], shot.camera, shot.number)
            image = np.asarray(drawn.image).astype(int)
            assert np.abs(image - golden[f"{preset}_images"][index]).max() <= 1
            changed = np.asarray(drawn.part_map) != golden[f"{preset}_part_maps"][index]
            assert changed.mean() < 0.001


def test_worlds_are_drawn_as_ever() -> None:
    """Every camera and background style and load, as networks that ship were trained on them.

    Rounding may differ between processors, and compression spreads what differs.
    """
    settings = settings_of(
        "worlds:train_identities=200:test_identities=8:distractor_identities=2:height=64:width=32"
    )
    plan, studio = make_plan(settings), WorldStudio(settings)
    styles: set[str] = set()
    with np.load(GOLDEN) as golden:
        for index, number in enumerate(golden["worlds_shots"]):
            shot = plan.shots[number]
            camera, person = studio.cameras[shot.camera - 1], plan.population[shot.person]
            styles |= {camera.style, camera.backdrop, person.load.kind.value, shot.split}
            drawn = studio.draw(person, shot.camera, shot.number)
            image = np.asarray(drawn.image).astype(int)
            assert np.abs(image - golden["worlds_images"][index]).mean() < 0.05
            changed = np.asarray(drawn.part_map) != golden["worlds_part_maps"][index]
            assert changed.mean() < 0.001
    assert styles == {*CAMERA_STYLES, *BACKDROP_STYLES, *(kind.value for kind in LoadKind), *SPLITS}


def test_an_image_depends_on_its_number_alone() -> None:
    plan, studio = make_plan(SMALL), WorldStudio(SMALL)
    shots = [plan.shots[n] for n in (3, 77, 150)]
    drawn = [studio.draw(plan.population[s.person], s.camera, s.number) for s in shots]
    other = WorldStudio(SMALL)
    for shot, first in zip(reversed(shots), reversed(drawn), strict=True):
        again = other.draw(plan.population[shot.person], shot.camera, shot.number)
        assert first.image.tobytes() == again.image.tobytes()
        assert first.part_map.tobytes() == again.part_map.tobytes()
        assert first.image.size == first.part_map.size == (64, 128)


def test_people_are_the_same_under_all_cameras_and_styles() -> None:
    """Who somebody is follows from the seed and the numbers of people alone."""
    people = make_plan(SMALL).population
    changed = dataclasses.replace(
        SMALL, cameras=9, camera_styles="night+dome", backdrop_styles="lawn", occlusion_rate=0.9
    )
    assert make_plan(changed).population == people
    assert make_plan(dataclasses.replace(SMALL, seed=1)).population != people


def test_people_all_differ_and_mostly_wear_dark_gray_and_white() -> None:
    people = make_plan(dataclasses.replace(SMALL, train_identities=700)).population
    assert len(set(people)) == len(people) == 703
    tops = np.array([person.top.color for person in people], float)
    colorful = (tops.max(1) - tops.min(1) > 100).mean()
    dark = (tops.max(1) < 95).mean()
    assert 0.1 < colorful < 0.3
    assert 0.35 < dark < 0.6
    assert {person.load.kind for person in people} == set(LoadKind)


def test_uncut_and_unhidden_people_show_their_parts() -> None:
    settings = dataclasses.replace(SMALL, occlusion_rate=0.0)
    plan, studio = make_plan(settings), WorldStudio(settings)
    whole = 0
    for shot in plan.shots[:160:5]:
        person = plan.population[shot.person]
        drawn = studio.draw(person, shot.camera, shot.number)
        part_map = np.asarray(drawn.part_map)
        shown = set(np.unique(part_map).tolist())
        assert shown <= set(range(parts.NUM_PARTS))
        assert {parts.TORSO, parts.UPPER_LEG} <= shown
        if drawn.crop in (Crop.TIGHT, Crop.WIDE) and person.load.kind is LoadKind.NONE:
            whole += 1
            assert {parts.HEAD, parts.FOOT} <= shown
            rows = [
                np.nonzero(part_map == part)[0].mean()
                for part in (parts.HEAD, parts.TORSO, parts.UPPER_LEG, parts.FOOT)
            ]
            assert rows == sorted(rows)
    assert whole > 12


def test_the_person_is_where_the_part_map_says() -> None:
    """A person all in green, under a camera that keeps colors, is green where the map says so."""
    settings = dataclasses.replace(SMALL, occlusion_rate=0.0, camera_styles="phone")
    plan, studio = make_plan(settings), WorldStudio(settings)
    green = (30, 200, 40)
    plain = next(p for p in plan.population if p.load.kind is LoadKind.NONE)
    top = dataclasses.replace(
        plain.top, color=green, sleeve_color=green, accent=green, sleeve=2.0, chest=None, back=None
    )
    top = dataclasses.replace(top, opening=0.0, scarf=None, hem=None, weave=None)
    person = dataclasses.replace(plain, top=top)
    inside, outside = [], []
    for number in range(8):
        drawn = studio.draw(person, 1 + number, number)
        pixels = np.asarray(drawn.image).astype(float)
        greenness = pixels[..., 1] - 0.5 * (pixels[..., 0] + pixels[..., 2])
        part_map = np.asarray(drawn.part_map)
        inside.append(greenness[part_map == parts.TORSO].mean())
        outside.append(greenness[part_map == parts.BACKGROUND].mean())
    assert np.mean(inside) > np.mean(outside) + 30


def test_styles_that_are_left_out_are_not_drawn() -> None:
    def styles(settings: SyntheticSettings) -> tuple[set[str], set[str]]:
        cameras = [make_world_camera(settings, n + 1) for n in range(settings.cameras)]
        return {c.style for c in cameras}, {c.backdrop for c in cameras}

    seen = dataclasses.replace(
        SMALL, camera_styles="sunny+mall+analog", backdrop_styles="bricks+plaza", cameras=12
    )
    left_out = dataclasses.replace(
        SMALL, camera_styles="dusk+dome", backdrop_styles="lawn+glass+tiles", cameras=12
    )
    assert styles(seen) == ({"sunny", "mall", "analog"}, {"bricks", "plaza"})
    assert styles(left_out) == ({"dusk", "dome"}, {"lawn", "glass", "tiles"})
    assert styles(PRESETS["worlds"]) == (set(CAMERA_STYLES), set(BACKDROP_STYLES))
    assert set(BACKDROPS) == set(BACKDROP_STYLES)


def test_cameras_color_the_same_gray_differently_and_each_always_alike() -> None:
    cameras = [make_world_camera(PRESETS["worlds"], n + 1) for n in range(48)]
    grays = np.stack([np.full(3, 0.2) @ camera.matrix for camera in cameras])
    assert len(np.unique(grays.round(4), axis=0)) == 48
    cast = np.log(grays[:, 0] / grays[:, 2])
    assert cast.std() > 0.1
    again = make_world_camera(PRESETS["worlds"], 7)
    np.testing.assert_array_equal(again.matrix, cameras[6].matrix)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("worlds:camera_styles=sunny+sunny", "each once"),
        ("worlds:backdrop_styles=moon", r"name some of bricks\+shops"),
        ("worlds:wheels=4", "no synthetic setting is called 'wheels'"),
        ("worlds:cameras=many", "cameras = 'many'"),
        ("worlds:drawing=oil", "drawing = 'oil' is not plain or worlds"),
        ("quickstart:camera_styles=sunny", "leave it empty"),
        ("planets", "choose tiny"),
    ],
)
def test_what_cannot_be_drawn_is_refused(variant: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        settings_of(variant)


def test_a_spec_with_settings_is_drawn_and_read(tmp_path: pathlib.Path) -> None:
    changes = "train_identities=2:test_identities=1:distractor_identities=0:cameras=9"
    spec = f"synthetic:worlds:{changes}:camera_styles=phone+mall"
    dataset = read_dataset(spec, tmp_path, progress=False)
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (16, 8, 8)
    assert all(sample.part_map and sample.part_map.is_file() for sample in dataset.train)
    assert {sample.camera for sample in dataset.query} <= set(range(1, 10))
    assert dataset.name.startswith("synthetic_worlds_")
    turned = f"synthetic:worlds:camera_styles=phone+mall:{changes}"
    assert read_dataset(turned, tmp_path, progress=False).name == dataset.name
