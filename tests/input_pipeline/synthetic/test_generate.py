import dataclasses
import fcntl
import hashlib
import pathlib
import re
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.readers import read_dataset
from input_pipeline.synthetic import PRESETS, generate
from input_pipeline.synthetic import generate as generate_module
from input_pipeline.synthetic.plan import GALLERY, QUERY, SPLITS, TRAIN, Shot, make_plan
from input_pipeline.synthetic.studio import Studio
from input_pipeline.synthetic.tracklets import make_step

TINY = PRESETS["tiny"]
NAME = re.compile(r"^(-1|\d{4})_c([1-6])s([1-6])_(\d{6})_(\d{2})\.jpg$")


def digests(root: pathlib.Path) -> dict[str, str]:
    labels = root.with_name(root.name + "_ps_label")
    return {
        str(path.relative_to(root.parent)).replace(root.name, "set", 1): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for folder in (root, labels)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return generate(tmp_path_factory.mktemp("data") / "tiny", TINY, progress=False)


def test_files_are_named_and_sized_as_in_market1501(rendered: pathlib.Path) -> None:
    for split in SPLITS:
        for path in (rendered / split).iterdir():
            assert NAME.match(path.name)
            label = rendered.with_name("tiny_ps_label") / split / f"{path.stem}.png"
            with Image.open(path) as image, Image.open(label) as part_map:
                assert image.size == part_map.size == (TINY.width, TINY.height)
                assert (image.mode, part_map.mode) == ("RGB", "L")
                assert np.asarray(part_map).max() <= 7
    assert len(list((rendered / TRAIN).iterdir())) == 8 * 4
    assert len(list((rendered / QUERY).iterdir())) == 4 * 2
    assert len(list((rendered / GALLERY).iterdir())) == 4 * 4 + 2 * 2


def test_train_and_test_are_disjoint_and_every_query_has_a_match(rendered: pathlib.Path) -> None:
    seen = {
        split: {(m[1], m[2]) for p in (rendered / split).iterdir() if (m := NAME.match(p.name))}
        for split in SPLITS
    }
    people = {split: {identity for identity, _ in pairs} for split, pairs in seen.items()}
    assert not people[TRAIN] & (people[QUERY] | people[GALLERY])
    assert people[GALLERY] - people[QUERY] == {"0000"}
    for identity, camera in seen[QUERY]:
        assert any(i == identity and c != camera for i, c in seen[GALLERY])


def test_bytes_do_not_depend_on_workers_or_interruption(
    rendered: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(rendered, other)
    shutil.copytree(rendered.with_name("tiny_ps_label"), tmp_path / "other_ps_label")
    lost = sorted((other / TRAIN).iterdir())[3:]
    for path in lost:
        path.unlink()
    (other / TRAIN / "x.jpg.1.partial").write_bytes(b"half")
    generate(other, TINY, workers=2, progress=False)
    assert len(lost) > 20
    assert digests(other) == digests(rendered)


def test_a_second_process_waits_for_the_first_and_keeps_its_files(
    rendered: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(rendered, other)
    shutil.copytree(rendered.with_name("tiny_ps_label"), tmp_path / "other_ps_label")
    last = max((other / TRAIN).iterdir())
    half = last.with_name(f"{last.name}.1.partial")
    last.rename(half)
    with (other / ".lock").open("w") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that draws
        second = pool.submit(generate, other, TINY, workers=1, progress=False)
        deadline = time.monotonic() + 30
        said = ""
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
            said = capsys.readouterr().err
        assert said == f"waiting for another process that draws {other}\n"
        half.rename(last)  # which fails where the second process has removed the file
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert second.result(30) == other
    assert digests(other) == digests(rendered)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot draw images in .*choose another folder"):
        generate(tmp_path / "file" / "set", TINY, progress=False)


def test_a_complete_dataset_is_left_alone(
    rendered: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("drew again")

    module = __import__(generate_module.__module__, fromlist=["draw_shots"])
    monkeypatch.setattr(module, "draw_shots", refuse)
    before = digests(rendered)
    assert generate(rendered, TINY, workers=1, progress=False) == rendered
    assert digests(rendered) == before


def test_other_seeds_draw_other_people() -> None:
    first = make_plan(TINY).population
    assert first == make_plan(TINY).population
    assert len(set(first)) == len(first)
    assert first[0] != make_plan(dataclasses.replace(TINY, seed=1)).population[0]


def test_a_root_with_something_else_is_refused(
    rendered: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(DataError, match="other settings"):
        generate(rendered, dataclasses.replace(TINY, seed=1), progress=False)
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(DataError, match="other files"):
        generate(tmp_path, TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / ".lock").touch()
    with pytest.raises(DataError, match="other files"):
        generate(tmp_path, TINY, progress=False)


@pytest.mark.parametrize(
    "text",
    [
        *('{"drawing_version": 2, "wheels": 4}', "", "[]", "3", "\0", "[" * 100_000, "\udcff"),
        TINY.to_json().replace('"height": 64', '"height": 64.5'),
        TINY.to_json().replace('"height": 64', '"height": "tall"'),
        TINY.to_json().replace('"height": 64', '"height": 1e400'),
        TINY.to_json().replace('"height": 64', '"height": null'),
        TINY.to_json().replace('"height": 64', '"height": 2'),
    ],
    ids=range(12),
)
def test_a_damaged_settings_file_is_one_line(tmp_path: pathlib.Path, text: str) -> None:
    assert text != TINY.to_json()
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="is not a sound settings file of a synth") as caught:
        generate(tmp_path, TINY, progress=False)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value"), [("cameras", 7), ("occlusion_rate", 1.5), ("cameras_per_identity", 3)]
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{field} = {value}"):
        dataclasses.replace(TINY, **{field: value})


def test_large_has_the_shape_of_market1501() -> None:
    plan = make_plan(PRESETS["large"])
    counts = {split: sum(p.split == split for p in plan.shots) for split in SPLITS}
    assert 12_500 < counts[TRAIN] < 13_500
    assert 3_250 < counts[QUERY] < 3_550
    assert 15_500 < counts[GALLERY] < 16_500
    assert len({p.stem for p in plan.shots}) == len(plan.shots)


WALKS = dataclasses.replace(TINY, frames=3, occlusion_rate=1.0)


def test_tracklets_are_planned_for_query_and_gallery_and_training_stays_as_it_was() -> None:
    single, walks = make_plan(TINY).shots, make_plan(WALKS).shots
    assert [s for s in walks if s.split == TRAIN] == [s for s in single if s.split == TRAIN]
    for split in (QUERY, GALLERY):
        expected = [
            (f"{s.stem}f{frame:02d}", s.person, s.camera, s.number, frame)
            for s in single
            if s.split == split
            for frame in range(3)
        ]
        found = [(s.stem, s.person, s.camera, s.number, s.frame) for s in walks if s.split == split]
        assert found == expected


def test_images_of_a_tracklet_differ_and_come_out_the_same_in_any_order() -> None:
    plan, studio = make_plan(WALKS), Studio(WALKS)
    shots = [shot for shot in plan.shots if shot.split == QUERY][:3]
    assert len({shot.number for shot in shots}) == 1

    def drawn(shot: Shot) -> bytes:
        person = plan.population[shot.person]
        return studio.draw(person, shot.camera, shot.number, shot.frame).image.tobytes()

    images = [drawn(shot) for shot in shots]
    assert len(set(images)) == 3
    assert [drawn(shot) for shot in reversed(shots)] == images[::-1]


def test_an_occluder_passes_by_and_the_person_walks_on() -> None:
    settings = dataclasses.replace(WALKS, frames=9)
    steps = [make_step(settings, 7, frame) for frame in range(9)]
    moved = np.diff([step.passing for step in steps])
    assert np.allclose(moved, moved[0])
    assert min(step.passing for step in steps) <= 0 <= max(step.passing for step in steps)
    assert np.allclose(np.diff([step.ahead for step in steps]), 2 * np.pi / 7)
    assert len({step.size for step in steps}) == 9
    assert make_step(settings, 8, 0).passing != steps[0].passing


def test_drawn_tracklets_are_read_and_ranked_by_tracklet(tmp_path: pathlib.Path) -> None:
    few = "tiny:frames=2:train_identities=2:test_identities=1:distractor_identities=0"
    dataset = read_dataset(f"synthetic:{few}", tmp_path, progress=False)
    assert dataset.by_tracklet
    assert all(sample.tracklet is None for sample in dataset.train)
    for samples in (dataset.query, dataset.gallery):
        counts = Counter(sample.tracklet for sample in samples)
        assert set(counts.values()) == {2}
        assert None not in counts
        assert all(sample.path.name.startswith(f"{sample.tracklet}f0") for sample in samples)


def test_frames_are_for_the_plain_drawing_and_single_images_have_the_settings_file_of_before() -> (
    None
):
    assert "frames" not in TINY.to_json()
    assert '"frames": 3' in WALKS.to_json()
    with pytest.raises(DataError, match=r"frames = 2 is not between 1 and 1"):
        dataclasses.replace(PRESETS["worlds"], frames=2)
