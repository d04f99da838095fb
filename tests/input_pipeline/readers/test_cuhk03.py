import shutil
import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image

from input_pipeline.errors import DataError, FilesError
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.layouts import cuhk03_matlab
from input_pipeline.readers import cuhk03
from tests import layouts


@pytest.mark.parametrize("variant", ["", "boxes"])
def test_the_kind_of_boxes_has_to_be_said(tmp_path, variant):
    with pytest.raises(DataError, match="write cuhk03:labeled or cuhk03:detected"):
        cuhk03.read(tmp_path, variant=variant)


def test_the_folder_of_one_variant_can_be_given_itself(tmp_path):
    dataset = layouts.read("cuhk03_detected", tmp_path)
    with pytest.warns(UserWarning, match="CUHK03-NP detected"):
        again = cuhk03.read(tmp_path / "cuhk03-np" / "detected")
    assert again == dataset


def test_labels_of_a_variant_may_lie_in_the_tree_beside_the_whole(tmp_path):
    layouts.cuhk03_detected(tmp_path)
    beside = tmp_path / "cuhk03-np" / "detected_ps_label"
    above = tmp_path / "cuhk03-np_ps_label" / "detected"
    above.parent.mkdir()
    beside.rename(above)
    with pytest.warns(UserWarning, match="published"):
        dataset = cuhk03.read(tmp_path, variant="detected")
    assert dataset.train[0].part_map is not None
    assert dataset.train[0].part_map.is_relative_to(above)


def test_a_variant_that_is_not_there_is_refused(tmp_path):
    layouts.cuhk03_detected(tmp_path)
    with pytest.raises(DataError, match="CUHK03-NP labeled is not in"):
        cuhk03.read(tmp_path, variant="labeled")


def test_lists_take_cameras_from_the_arrays_beside_them(tmp_path):
    dataset = layouts.read("cuhk03_lists", tmp_path)
    assert {sample.camera for sample in dataset.train} == {UNKNOWN_CAMERA}
    assert [sample.camera for sample in dataset.query] == [
        shot.camera for shot in layouts.shots() if shot.split == "query"
    ]


def test_lists_with_absolute_paths_of_another_computer_work(tmp_path):
    expected = layouts.read("cuhk03_lists", tmp_path)
    for path in expected.root.glob("*.txt"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(f"/home/someone/cuhk03-np/labeled/{line}" for line in lines))
    with pytest.warns(UserWarning, match="published"):
        assert cuhk03.read(tmp_path, variant="labeled") == expected


def test_listed_files_that_are_missing_are_reported_at_once(tmp_path):
    dataset = layouts.read("cuhk03_lists", tmp_path)
    gone = [dataset.train[0].path, dataset.gallery[1].path]
    for path in gone:
        path.unlink()
    with pytest.raises(FilesError, match=r"listed in train.txt and is missing") as caught:
        cuhk03.read(tmp_path, variant="labeled")
    assert [problem.path for problem in caught.value.problems] == gone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "test_probe.txt").unlink(), "test_probe.txt: this list is missing"),
        (lambda root: (root / "train.txt").write_text("a.png\n"), "entry 1 reads 'a.png'"),
        (lambda root: (root / "train.txt").write_text("a.png x\n"), "entry 1 reads 'a.png x'"),
        (lambda root: np.save(root / "cam_probe.npy", [1]), "1 cameras for the 4 lines"),
        (lambda root: (root / "cam_gallery.npy").unlink(), "put cam_gallery.npy beside it"),
        (
            lambda root: (root / "cam_probe.npy").write_bytes(b""),
            "cam_probe.npy: it is not a NumPy",
        ),
        (lambda root: np.save(root / "cam_probe.npy", [1, 2, 1, 0.5]), "must be whole numbers"),
        (lambda root: (root / "train.txt").write_text("../a.png 1\n"), "leads out of this folder"),
        (lambda root: (root / "train.txt").write_text("a.png \u00b2\n"), "entry 1 reads"),
        (lambda root: (root / "train.txt").write_bytes(b"\xe9.png 1\n"), "is not UTF-8 text"),
    ],
)
def test_bad_lists_are_refused(tmp_path, change, message):
    root = layouts.read("cuhk03_lists", tmp_path).root
    change(root)
    with pytest.raises(DataError, match=message):
        cuhk03.read(tmp_path, variant="labeled")


def test_all_that_is_wrong_with_lists_is_reported_at_once(tmp_path):
    root = layouts.read("cuhk03_lists", tmp_path).root
    with (root / "train.txt").open("a") as file:
        file.write("a.png\nb.png x\nnowhere.png 7\n")
    (root / "test_probe.txt").write_bytes(b"\xe9.png 1\n")
    (root / "cam_probe.npy").unlink()
    (root / "test_gallery.txt").unlink()
    (root / "cam_gallery.npy").unlink()
    with pytest.raises(FilesError) as caught:
        cuhk03.read(tmp_path, variant="labeled")
    assert [problem.path.name for problem in caught.value.problems] == [
        *("train.txt", "train.txt", "nowhere.png", "test_probe.txt", "test_gallery.txt"),
    ]
    assert len(caught.value.rest.train) == 16


def test_listed_names_may_have_blanks(tmp_path):
    dataset = layouts.read("cuhk03_lists", tmp_path)
    old = dataset.train[0].path
    new = old.with_name("the first 1.png")
    old.rename(new)
    text = (dataset.root / "train.txt").read_text()
    (dataset.root / "train.txt").write_text(text.replace(old.name, new.name, 1))
    with pytest.warns(UserWarning, match="published"):
        again = cuhk03.read(tmp_path, variant="labeled")
    assert (again.train[0].path, again.train[0].identity) == (new, dataset.train[0].identity)


def test_the_folder_of_the_other_variant_is_refused(tmp_path):
    root = layouts.read("cuhk03_labeled", tmp_path).root
    assert root.name == "labeled"
    with pytest.raises(DataError, match="holds the labeled boxes of CUHK03, not the detected ones"):
        cuhk03.read(root, variant="detected")


def test_matlab_pixels_are_unpacked_upright(tmp_path):
    dataset = layouts.read("cuhk03_matlab", tmp_path)
    shots = [shot for shot in layouts.shots() if shot.split == "train"]
    for sample, shot in zip(dataset.train, shots, strict=True):
        assert (sample.identity, sample.camera) == (shot.identity, shot.camera)
        with Image.open(sample.path) as found, Image.open(shot.image) as expected:
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def resize(root, size: int) -> None:
    """Cuts the protocol file off."""
    path = root / "cuhk03_new_protocol_config_labeled.mat"
    path.write_bytes(path.read_bytes()[:size])


def test_matlab_is_unpacked_once_and_continues_where_it_stopped(tmp_path):
    layouts.read("cuhk03_matlab", tmp_path)
    folder = tmp_path / "cuhk03" / "labeled"
    kept = sorted((folder / "bounding_box_train").iterdir())[0]
    written = kept.stat().st_mtime_ns
    shutil.rmtree(folder / "query")
    folder.rename(folder.with_name("labeled.partial"))
    with pytest.warns(UserWarning, match="published"):
        dataset = cuhk03.read(tmp_path, variant="labeled")
    assert len(dataset.query) == 4
    assert kept.stat().st_mtime_ns == written
    assert not folder.with_name("labeled.partial").exists()
    (tmp_path / "cuhk03" / "cuhk-03.mat").unlink()
    with pytest.warns(UserWarning, match="published"):
        assert cuhk03.read(tmp_path, variant="labeled") == dataset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "cuhk-03.mat").unlink(), "cuhk-03.mat is not in"),
        (
            lambda root: (root / "cuhk-03.mat").write_bytes(b"MATLAB 5.0"),
            "not a sound HDF5 MATLAB file",
        ),
        (
            lambda root: (root / "cuhk03_new_protocol_config_labeled.mat").write_bytes(b"x" * 200),
            "is not a sound file of the CUHK03 new protocol",
        ),
        (lambda root: resize(root, 0), "is not a sound file of the CUHK03 new protocol"),
        (lambda root: resize(root, 600), "is not a sound file of the CUHK03 new protocol"),
        (
            lambda root: (root / "cuhk03_new_protocol_config_labeled.mat").rename(
                root / "cuhk03_new_protocol_config_detected.mat"
            ),
            "cuhk03_new_protocol_config_labeled.mat is missing",
        ),
    ],
)
def test_bad_matlab_files_are_refused(tmp_path, change, message):
    layouts.cuhk03_matlab(tmp_path)
    change(tmp_path / "cuhk03")
    with pytest.raises(DataError, match=message):
        cuhk03.read(tmp_path / "cuhk03", variant="labeled")


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    layouts.cuhk03_matlab(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'magnifier_jax\[mat\]'"):
        cuhk03.read(tmp_path, variant="labeled")


def test_failures_while_unpacking_are_told_apart(tmp_path, monkeypatch):
    layouts.cuhk03_matlab(tmp_path)

    def fail(error):
        def failing(*args, **kwargs):
            raise error

        return failing

    with monkeypatch.context() as patch:
        patch.setattr(cuhk03_matlab, "_image", fail(OSError("bad object header")))
        with pytest.raises(DataError, match=r"cuhk-03.mat is not a sound .*\(bad object header\)"):
            cuhk03.read(tmp_path, variant="labeled")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fail(PermissionError(13, "Permission denied")))
        with pytest.raises(DataError, match=r"cannot be written \(Permission denied\)"):
            cuhk03.read(tmp_path, variant="labeled")


def labeled(root):
    return layouts.without_warnings(lambda: cuhk03.read(root, variant="labeled"))


def test_junk_is_left_out_of_lists_and_of_the_protocol(tmp_path):
    root = layouts.read("cuhk03_lists", tmp_path / "lists").root
    for name in ("test_probe.txt", "train.txt"):
        lines = (root / name).read_text().splitlines()
        lines[0] = f"{lines[0].split()[0]} {'-1' if 'train' in name else '-0001'}"
        (root / name).write_text("\n".join(lines))
    dataset = layouts.without_warnings(cuhk03.read, root)
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (15, 3, 8)
    assert dataset.notices == ("2 images of identity −1 (junk) are left out",)

    layouts.cuhk03_matlab(tmp_path / "matlab")
    protocol = tmp_path / "matlab" / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat"
    content = scipy.io.loadmat(protocol)
    content["labels"][0] = -1
    scipy.io.savemat(protocol, {k: v for k, v in content.items() if not k.startswith("__")})
    dataset = layouts.without_warnings(
        lambda root: cuhk03.read(root, variant="labeled"), protocol.parent
    )
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (15, 4, 8)
    assert dataset.notices == ("1 image of identity −1 (junk) is left out",)


@pytest.mark.parametrize(("key", "value"), [("train_idx", 0), ("query_idx", 99), ("camId", -3)])
def test_a_protocol_that_points_nowhere_is_refused(tmp_path, key, value):
    layouts.cuhk03_matlab(tmp_path)
    protocol = tmp_path / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat"
    content = scipy.io.loadmat(protocol)
    content[key] = content[key].astype(int)
    content[key][0] = value
    scipy.io.savemat(protocol, {k: v for k, v in content.items() if not k.startswith("__")})
    with pytest.raises(DataError, match="is not a sound file of the CUHK03 new protocol"):
        cuhk03.read(tmp_path, variant="labeled")


@pytest.mark.parametrize("name", ["cuhk-03.mat", "cuhk03_new_protocol_config_labeled.mat"])
def test_damaged_matlab_files_give_one_line(tmp_path, name):
    """Cut or with flipped bytes: a dataset or one line, never anything else."""
    layouts.cuhk03_matlab(tmp_path)
    path = tmp_path / "cuhk03" / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    lines = []
    for round_ in range(24):
        data = bytearray(whole)
        if round_ % 2:
            del data[rng.integers(len(data)) :]
        else:
            for place in rng.integers(0, len(data), 40):
                data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            labeled(path.parent)
        except DataError as error:
            lines.append(str(error))
        for folder in ("labeled", "labeled.partial"):
            shutil.rmtree(path.parent / folder, ignore_errors=True)
    assert len(lines) >= 12
    assert not [line for line in lines if "\n" in line]
