"""Builders of small datasets in every layout that the readers know.

Each builder makes a dataset of a few synthetic pedestrians under a folder and returns the spec
that reads it from there.
"""

from __future__ import annotations

import atexit
import csv
import dataclasses
import functools
import pathlib
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from input_pipeline.dataset import ReidDataset
from input_pipeline.readers import read_dataset
from input_pipeline.synthetic import SyntheticSettings, generate

SETTINGS = SyntheticSettings(
    train_identities=4,
    test_identities=2,
    distractor_identities=0,
    pictures_per_identity=4,
    cameras=2,
    cameras_per_identity=2,
    height=64,
    width=32,
)


@dataclasses.dataclass(frozen=True)
class Shot:
    """One image of the synthetic pedestrians: who, where, and which of several."""

    split: str
    identity: int
    camera: int
    index: int
    image: pathlib.Path
    parts: pathlib.Path


@functools.cache
def shots() -> tuple[Shot, ...]:
    """16 training images of four people; four queries and eight gallery images of two more."""
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    generate(folder / "pedestrians", SETTINGS, workers=1, progress=False)
    dataset = read_dataset("market_style", folder / "pedestrians")
    found = []
    for split in ("train", "query", "gallery"):
        seen: Counter[tuple[int, int]] = Counter()
        for sample in getattr(dataset, split):
            key = (sample.identity, sample.camera)
            # Query and gallery are of the same people: their images need different numbers.
            index = seen[key] + (4 if split == "query" else 0)
            seen[key] += 1
            assert sample.part_map is not None
            found.append(Shot(split, *key, index, sample.path, sample.part_map))
    return tuple(found)


def people(split: str) -> list[int]:
    """The identities of a split, in order."""
    return sorted({shot.identity for shot in shots() if shot.split == split})


def save(shot: Shot, path: pathlib.Path) -> pathlib.Path:
    """Puts a shot's image into a file, as JPEG or PNG by the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        shutil.copyfile(shot.image, path)
    else:
        with Image.open(shot.image) as opened:
            opened.save(path)
    return path


THREE_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def three_folders(
    root: pathlib.Path, name: Callable[[Shot], str], *, labels: bool = False
) -> pathlib.Path:
    """Images in the three folders of Market-1501, and their `_ps_label` tree when asked."""
    for shot in shots():
        relative = pathlib.Path(THREE_FOLDERS[shot.split]) / name(shot)
        save(shot, root / relative)
        if labels:
            target = (root.with_name(f"{root.name}_ps_label") / relative).with_suffix(".png")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shot.parts, target)
    return root


def market_name(shot: Shot) -> str:
    return f"{shot.identity:04d}_c{shot.camera}s1_{shot.index:06d}_01.jpg"


def duke_name(shot: Shot) -> str:
    return f"{shot.identity:04d}_c{shot.camera}_f{shot.index:07d}.jpg"


def market1501(folder: pathlib.Path) -> str:
    root = three_folders(folder / "Market-1501-v15.09.15", market_name, labels=True)
    (root / "query" / "Thumbs.db").write_bytes(b"not an image")
    junk = shots()[0]
    save(junk, root / "bounding_box_test" / "-1_c3s1_000009_00.jpg")
    save(junk, root / "bounding_box_test" / "0000_c3s1_000010_00.jpg")
    return "market1501"


def market1501_500k(folder: pathlib.Path) -> str:
    market1501(folder)
    images = folder / "Market-1501-v15.09.15" / "images"
    save(shots()[1], images / "00000001.jpg")
    save(shots()[2], images / "0000_c4s1_000011_00.jpg")
    return "market1501:500k"


def dukemtmc(folder: pathlib.Path) -> str:
    three_folders(folder / "DukeMTMC-reID", duke_name, labels=True)
    return "dukemtmc"


def occluded_duke(folder: pathlib.Path) -> str:
    three_folders(folder / "Occluded_Duke", duke_name)
    return "occluded_duke"


def cuhk03_labeled(folder: pathlib.Path) -> str:
    def name(shot: Shot) -> str:
        return f"{shot.identity:04d}_c{shot.camera}_{shot.index}.png"

    three_folders(folder / "cuhk03-np" / "labeled", name)
    return "cuhk03:labeled"


def cuhk03_detected(folder: pathlib.Path) -> str:
    def name(shot: Shot) -> str:
        return f"{shot.identity:04d}_c{shot.camera}_{shot.index}.jpg"

    three_folders(folder / "cuhk03-np" / "detected", name, labels=True)
    return "cuhk03:detected"


def cuhk03_lists(folder: pathlib.Path) -> str:
    root = folder / "cuhk03-np" / "labeled"
    files = {"train": "train.txt", "query": "test_probe.txt", "gallery": "test_gallery.txt"}
    for split, file_name in files.items():
        mine = [shot for shot in shots() if shot.split == split]
        lines = []
        for shot in mine:
            path = f"{split}/{shot.identity}_{shot.camera}_{shot.index}.png"
            save(shot, root / path)
            lines.append(f"{path} {shot.identity}\n")
        (root / file_name).write_text("".join(lines))
        if split != "train":
            cameras = np.array([shot.camera for shot in mine])
            np.save(root / ("cam_probe.npy" if split == "query" else "cam_gallery.npy"), cameras)
    return "cuhk03:labeled"


def cuhk03_matlab(folder: pathlib.Path) -> str:
    """The protocol file over HDF5 pixels: one camera pair, a person a row, ten images each."""
    import h5py
    import scipy.io

    root = folder / "cuhk03"
    root.mkdir(parents=True)
    persons = people("train") + people("query")
    names, identities, cameras = [], [], []
    indices: dict[str, list[int]] = {"train": [], "query": [], "gallery": []}
    with h5py.File(root / "cuhk-03.mat", "w") as file:
        reference = h5py.special_dtype(ref=h5py.Reference)
        empty = file.create_dataset("empty", data=np.zeros(2, np.uint64))
        grid = np.full((10, len(persons)), empty.ref, dtype=object)
        for number, shot in enumerate(shots()):
            person = persons.index(shot.identity)
            index = shot.index + 5 * (shot.camera - 1)
            with Image.open(shot.image) as opened:
                pixels = np.asarray(opened).transpose(2, 1, 0)
            grid[index, person] = file.create_dataset(f"image{number}", data=pixels).ref
            names.append(f"1_{person + 1:03d}_{shot.camera}_{index + 1:02d}.png")
            identities.append(shot.identity)
            cameras.append(shot.camera)
            indices[shot.split].append(number + 1)
        pair = file.create_dataset("pair", data=grid, dtype=reference)
        file.create_dataset("labeled", data=np.array([[pair.ref]], object), dtype=reference)
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    content = {f"{split}_idx": np.array([values]).T for split, values in indices.items()}
    content |= {
        "filelist": cells,
        "labels": np.array([identities]).T,
        "camId": np.array([cameras]).T,
    }
    scipy.io.savemat(root / "cuhk03_new_protocol_config_labeled.mat", content)
    return "cuhk03:labeled"


def _msmt17(root: pathlib.Path, train: str, test: str) -> None:
    """Train and test identities both count from 0; the first training identity is in `val`."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    for shot in shots():
        learned = shot.split == "train"
        identity = people(shot.split).index(shot.identity)
        split = "val" if learned and identity == 0 and shot.index else shot.split
        name = f"{identity:04d}_{shot.index:03d}_{shot.camera:02d}_0303morning_0008_0.jpg"
        if shot.index == 1:
            name = name.replace(".jpg", "_ex.jpg")
        save(shot, root / (train if learned else test) / f"{identity:04d}" / name)
        lists[split].append(f"{identity:04d}/{name} {identity}\n")
    for split, lines in lists.items():
        (root / f"list_{split}.txt").write_text("".join(lines))
    (root / train / "__MACOSX").mkdir()


def msmt17_v1(folder: pathlib.Path) -> str:
    _msmt17(folder / "MSMT17_V1", "train", "test")
    return "msmt17:v1-trainval"


def msmt17_v2(folder: pathlib.Path) -> str:
    _msmt17(folder / "MSMT17_V2", "mask_train_v2", "mask_test_v2")
    return "msmt17:v2-train"


def market_style(folder: pathlib.Path) -> str:
    three_folders(
        folder / "My shop", lambda shot: f"{shot.identity}_c{shot.camera}_{shot.index}.jpg"
    )
    return "market_style@My shop"


def folders(folder: pathlib.Path) -> str:
    """A folder per identity, with names of persons that are no numbers and are not ASCII."""
    for shot in shots():
        person = f"Zoë {shot.identity}"
        save(shot, folder / "büro" / shot.split / person / f"c{shot.camera}_{shot.index}.jpg")
    return "folders@büro"


def csv_table(folder: pathlib.Path) -> str:
    root = folder / "table"
    rows = [("path", "identity", "camera", "split")]
    for shot in shots():
        path = f"pictures/{shot.identity} {shot.camera} {shot.index}.png"
        save(shot, root / path)
        rows.append((path, f"person {shot.identity}", f"door {shot.camera}", shot.split))
    with (root / "dataset.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return "csv@table"


def table_rows(folder: pathlib.Path) -> list[str]:
    """The lines of the CSV table, the header first."""
    csv_table(folder)
    return (folder / "table" / "dataset.csv").read_text("utf-8").splitlines()


def write_table(folder: pathlib.Path, text: str) -> pathlib.Path:
    """The CSV table with other text."""
    csv_table(folder)
    path = folder / "table" / "dataset.csv"
    path.write_text(text, "utf-8")
    return path


def mars(folder: pathlib.Path) -> str:
    """The protocol's files over images of which each is a tracklet of two frames.

    Distractors and junk are there too. Both frames are the same image.
    """
    root = folder / "MARS"
    names: dict[str, list[str]] = {"train": [], "test": []}
    rows: dict[str, list[tuple[int, int, int, int]]] = {"train": [], "test": []}
    queries: list[int] = []
    numbers: Counter[int] = Counter()
    tested = [shot for shot in shots() if shot.split != "train"]
    junk, distractor = (dataclasses.replace(shots()[0], identity=i, split="test") for i in (-1, 0))
    for shot in (*shots()[: -len(tested)], junk, distractor, *sorted(tested, key=_by_person)):
        side = "train" if shot.split == "train" else "test"
        numbers[shot.identity] += 1
        person = "00-1" if shot.identity == -1 else f"{shot.identity:04d}"
        start = len(names[side]) + 1
        for frame in (1, 2):
            name = f"{person}C{shot.camera}T{numbers[shot.identity]:04d}F{frame:03d}.jpg"
            save(shot, root / f"bbox_{side}" / person / name)
            names[side].append(name)
        rows[side].append((start, start + 1, shot.identity, shot.camera))
        if shot.split == "query":
            queries.append(len(rows[side]))
    _mars_lists(root / "info", names, rows, queries)
    return "mars"


def _by_person(shot: Shot) -> tuple[int, int, bool, int]:
    """Queries are neither the first nor the last tracklets of a person."""
    return shot.identity, shot.camera, shot.split == "query", shot.index


def _mars_lists(
    folder: pathlib.Path,
    names: Mapping[str, Sequence[str]],
    rows: Mapping[str, Sequence[tuple[int, int, int, int]]],
    queries: Sequence[int],
) -> None:
    import scipy.io

    folder.mkdir()
    for side, listed in names.items():
        (folder / f"{side}_name.txt").write_text("".join(f"{name}\n" for name in listed))
        content = {f"track_{side}_info": np.array(rows[side])}
        scipy.io.savemat(folder / f"tracks_{side}_info.mat", content)
    scipy.io.savemat(folder / "query_IDX.mat", {"query_IDX": np.array([queries])})


def ilids_vid(folder: pathlib.Path, *, splits: Sequence[Sequence[int]] | None = None) -> str:
    """Six people, of whom both cameras saw a tracklet of two or three frames."""
    root = folder / "iLIDS-VID"
    numbers: Counter[tuple[int, int]] = Counter()
    for shot in shots():
        numbers[shot.identity, shot.camera] += 1
        person = f"person{10 * shot.identity + 1:03d}"
        name = f"cam{shot.camera}_{person}_{numbers[shot.identity, shot.camera]:05d}.png"
        save(shot, root / "i-LIDS-VID" / "sequences" / f"cam{shot.camera}" / person / name)
    if splits is not None:
        import scipy.io

        (root / "train-test people splits").mkdir()
        path = root / "train-test people splits" / "train_test_splits_ilidsvid.mat"
        scipy.io.savemat(path, {"ls_set": np.array(splits, np.uint16)})
    return "ilids_vid"


LAYOUTS: Mapping[str, Callable[[pathlib.Path], str]] = {
    builder.__name__: builder
    for builder in (
        market1501,
        market1501_500k,
        dukemtmc,
        occluded_duke,
        cuhk03_labeled,
        cuhk03_detected,
        cuhk03_lists,
        cuhk03_matlab,
        msmt17_v1,
        msmt17_v2,
        market_style,
        folders,
        csv_table,
        mars,
    )
}
"""Every builder by name: `spec = LAYOUTS['folders'](tmp_path)`."""


def read(name: str, folder: pathlib.Path) -> ReidDataset:
    """Builds a layout and reads it, without warnings that it is smaller than published."""
    return without_warnings(read_dataset, LAYOUTS[name](folder), folder)


def without_warnings(reader: Callable[..., ReidDataset], *args: object) -> ReidDataset:
    """What the reader returns, without warnings that it is smaller than published or withdrawn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was withdrawn", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*published are", category=UserWarning)
        return reader(*args)
