import hashlib
import io
import pathlib
import tarfile
import zipfile

import pytest

from input_pipeline.errors import DataError, UserError
from input_pipeline.part_labels.pose import find_pose_model, model_file

MODEL = b"\x1c\0\0\0TFL3" + b"full" * 50
OTHER = b"\x1c\0\0\0TFL3" + b"heavy" * 50


def zipped(path: pathlib.Path, **members: bytes) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/") + ".tflite", data)
    return path


def tarred(path: pathlib.Path, mode: str = "w:gz", **members: bytes) -> pathlib.Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "/") + ".tflite")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_model_file_is_itself(tmp_path):
    path = tmp_path / "pösé x.tflite"
    path.write_bytes(MODEL)
    found = find_pose_model(path)
    assert (found.name, found.data) == ("pösé x.tflite", MODEL)
    assert found.sha256 == hashlib.sha256(MODEL).hexdigest()


@pytest.mark.parametrize("name", ["a.whl", "a.zip", "a.task", "a.tgz", "a.tar.gz", "a.tar", "x"])
def test_the_usual_model_is_found_in_archives(tmp_path, name):
    members = {
        "a__pose_landmark_heavy": OTHER,
        "b__pose_landmark_full": MODEL,
        "pose_detection": b"no",
    }
    if "tar" in name or "tgz" in name:
        path = tarred(tmp_path / name, "w" if name == "a.tar" else "w:gz", **members)
    else:
        path = zipped(tmp_path / name, **members)
    found = find_pose_model(str(path))
    assert (found.name, found.data) == ("pose_landmark_full.tflite", MODEL)
    heavy = find_pose_model(path / "a" / "pose_landmark_heavy.tflite")
    assert heavy.data == OTHER
    with pytest.raises(DataError, match=r"holds no a/nothing\.tflite"):
        find_pose_model(path / "a" / "nothing.tflite")


def test_the_only_model_of_a_bundle_is_taken(tmp_path):
    path = zipped(
        tmp_path / "pose_landmarker.task", pose_landmarks_detector=OTHER, pose_detector=b""
    )
    assert find_pose_model(path).data == OTHER


@pytest.mark.parametrize("place", ["", "  ", "/nowhere/model.tflite"])
def test_without_a_model_two_lines_say_how_to_get_one(place):
    with pytest.raises(UserError) as caught:
        find_pose_model(place)
    first, *ways = str(caught.value).splitlines()
    assert len(ways) == 2
    assert "pip download --no-deps" in ways[0]
    assert "npm pack @mediapipe/pose" in ways[1]
    assert "pose network" in first


def test_several_unusual_models_have_to_be_told_apart(tmp_path):
    path = zipped(tmp_path / "a.zip", pose_landmark_a=MODEL, pose_landmark_b=OTHER)
    with pytest.raises(DataError, match="holds several pose networks: name one"):
        find_pose_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a .tflite file nor a zip or tar archive"),
        (b"PK\x03\x04 cut off", "neither a .tflite"),
        (b"\x1f\x8b\x08\x00", ""),
        (b"hello", "neither a .tflite"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, content, message):
    path = tmp_path / "model.whl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"model\.whl is not a sound pose network .*{message}"):
        find_pose_model(path)


def test_an_empty_archive_says_what_to_do(tmp_path):
    path = zipped(tmp_path / "mediapipe-0.10.30.whl", pose_detector=b"")
    with pytest.raises(DataError, match=r"holds no pose_landmark.*from 0\.10\.30 on hold none"):
        find_pose_model(path)


@pytest.mark.parametrize("end", [0.5, 0.98])
@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_archives_that_are_cut_off_are_refused(tmp_path, name, end):
    noise = MODEL + bytes(range(256)) * 400
    make = zipped if name == "a.zip" else tarred
    path = make(tmp_path / name, pose_landmark_full=noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * end)])
    with pytest.raises(DataError, match="not a sound pose network"):
        find_pose_model(path)


def test_a_member_that_is_no_model_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", pose_landmark_full=b"hello, world")
    with pytest.raises(DataError, match=r"pose_landmark_full\.tflite is not a TFLite model"):
        find_pose_model(path)


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_LARGEST_MODEL", 10_000)
    monkeypatch.setattr(model_file, "_LARGEST_ARCHIVE", 50_000)
    zeros = MODEL + bytes(100_000)
    for path in (
        zipped(tmp_path / "a.zip", pose_landmark_full=zeros),
        tarred(tmp_path / "a.tgz", pose_landmark_full=zeros),
    ):
        with pytest.raises(DataError, match="larger than"):
            find_pose_model(path)
    before = tarred(tmp_path / "b.tgz", other=zeros, pose_landmark_full=MODEL)
    with pytest.raises(DataError, match="unpacks to more than"):
        find_pose_model(before)
    # One that says it is small and is not.
    path = zipped(tmp_path / "d.zip", pose_landmark_full=zeros)
    data = path.read_bytes()
    size = len(zeros).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (500).to_bytes(4, "little")))
    with pytest.raises(DataError, match="not a sound pose network"):
        find_pose_model(path)
