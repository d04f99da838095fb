"""What the readers of your own data have in common."""

import pathlib
import shutil

import pytest
from PIL import Image

from input_pipeline.check import scan
from input_pipeline.errors import DataError, FilesError
from input_pipeline.layouts.listing import name_of
from input_pipeline.readers import csv, folders, market_style
from tests import layouts


@pytest.mark.parametrize("junk", ["-1", "-0001", "−1"])
@pytest.mark.parametrize("split", ["train", "query", "gallery"])
@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
def test_junk_is_left_out_by_every_reader(tmp_path, layout, split, junk):
    before = layouts.read(layout, tmp_path)
    shot = layouts.shots()[0]
    if layout == "market_style":
        layouts.save(shot, before.root / layouts.THREE_FOLDERS[split] / f"{junk}_c1_7.jpg")
        again = market_style.read(before.root)
    elif layout == "folders":
        layouts.save(shot, before.root / split / junk / "c1_7.jpg")
        again = folders.read(before.root)
    else:
        with (before.root / "dataset.csv").open("a", encoding="utf-8") as file:
            file.write(f"nowhere.png,{junk},door 1,{split}\n")
        again = csv.read(before.root)
    assert again == before
    assert again.notices[-1] == "1 image of identity −1 (junk) is left out"


@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
@pytest.mark.parametrize("alone", ["train", "test"])
def test_a_set_alone_is_read(tmp_path, layout, alone):
    whole = layouts.read(layout, tmp_path)
    gone = ("query", "gallery") if alone == "train" else ("train",)
    if layout == "csv_table":
        lines = layouts.table_rows(tmp_path)
        text = "\n".join(line for line in lines if not line.endswith(gone))
        dataset = csv.read(layouts.write_table(tmp_path, text))
    else:
        for split in gone:
            name = layouts.THREE_FOLDERS[split] if layout == "market_style" else split
            shutil.rmtree(whole.root / name)
        dataset = (market_style if layout == "market_style" else folders).read(whole.root)
    for split in ("train", "query", "gallery"):
        expected = () if split in gone else getattr(whole, split)
        assert [s.path for s in getattr(dataset, split)] == [s.path for s in expected]
    assert dataset.notices[0].startswith("there is no")


@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
def test_a_query_without_a_gallery_is_refused(tmp_path, layout):
    whole = layouts.read(layout, tmp_path)
    if layout == "csv_table":
        text = "\n".join(
            line for line in layouts.table_rows(tmp_path) if not line.endswith("gallery")
        )
        with pytest.raises(DataError, match="query images and no gallery images"):
            csv.read(layouts.write_table(tmp_path, text))
        return
    name = "bounding_box_test" if layout == "market_style" else "gallery"
    shutil.rmtree(whole.root / name)
    with pytest.raises(DataError, match=f"{name}: this folder of .* is missing"):
        (market_style if layout == "market_style" else folders).read(whole.root)


@pytest.mark.parametrize("layout", ["market_style", "folders"])
@pytest.mark.parametrize("missing", ["query", "gallery"])
def test_half_a_test_set_alone_lacks_its_other_half_only(tmp_path, layout, missing):
    root = layouts.read(layout, tmp_path).root
    names = {"query": "query", "gallery": "gallery", "train": "train"}
    if layout == "market_style":
        names |= {"gallery": "bounding_box_test", "train": "bounding_box_train"}
    shutil.rmtree(root / names["train"])
    shutil.rmtree(root / names[missing])
    with pytest.raises(FilesError) as caught:
        (market_style if layout == "market_style" else folders).read(root)
    assert [problem.path.name for problem in caught.value.problems] == [names[missing]]


def test_layouts_that_are_mistaken_for_each_other_are_told_apart(tmp_path):
    layouts.market_style(tmp_path)
    layouts.folders(tmp_path)
    with pytest.raises(DataError, match=r"holds bounding_box_train.* read it as market_style"):
        folders.read(tmp_path / "My shop")
    with pytest.raises(DataError, match=r"holds train instead of .* read it as folders"):
        market_style.read(tmp_path / "büro")


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".TIFF"])
def test_pictures_of_other_kinds_are_read(tmp_path, suffix):
    for layout in ("folders", "market_style"):
        root = layouts.read(layout, tmp_path).root
        old = next(path for path in (root / "query").rglob("*.jpg"))
        with Image.open(old) as picture:
            picture.save(old.with_suffix(suffix))
        old.unlink()
        dataset = (folders if layout == "folders" else market_style).read(root)
        assert len(dataset.query) == 4
        assert scan(dataset, progress=False).problems == ()


def test_pictures_that_are_not_read_are_counted(tmp_path):
    root = layouts.read("market_style", tmp_path).root
    layouts.save(layouts.shots()[0], root / "query" / "day 1" / "more" / "5_c1_9.jpg")
    with pytest.warns(UserWarning, match=r"1 image is in folders under .*query .* first is day 1"):
        market_style.read(root)
    shutil.rmtree(root / "query" / "day 1")
    (root / "query" / "5_c1_9.HEIC").touch()
    (root / "query" / "5_c1_9.gif").touch()
    with pytest.warns(UserWarning, match=r"2 images are of kinds that are not read in .*query"):
        market_style.read(root)
    root = layouts.read("folders", tmp_path).root
    person = sorted((root / "query").iterdir())[0]
    (person / "c1_9.heic").touch()
    with pytest.warns(UserWarning, match=rf"1 image is of kinds .* first is {person.name}/c1_9"):
        folders.read(root)


def test_people_keep_their_names(tmp_path):
    for name in ("zoe", "ben"):
        picture = tmp_path / "train" / name / "c1_1.jpg"
        picture.parent.mkdir(parents=True)
        shutil.copyfile(layouts.shots()[0].image, picture)
    for split in ("query", "gallery"):
        shutil.copytree(tmp_path / "train" / "zoe", tmp_path / split / "anna")
    dataset = folders.read(tmp_path)
    assert [dataset.name_of(sample.identity) for sample in dataset.train] == ["ben", "zoe"]
    assert {dataset.name_of(sample.identity) for sample in dataset.query} == {"anna"}
    text = "\n".join(layouts.table_rows(tmp_path)).replace(",person 1,", ",zoe,")
    names = csv.read(layouts.write_table(tmp_path, text)).identity_names
    assert list(names.values()) == [
        "person 2",
        "person 3",
        "person 4",
        "person 5",
        "person 6",
        "zoe",
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *(("büro", "buro"), ("東京", "東京"), ("서울 2", "서울_2"), ("Москва", "москва")),
        *(("कि", "कि"), ("की", "की"), ("が", "が"), ("Straße", "straße"), ("2024", "csv_2024")),
        *(("a--b", "a_b"), ("日本 (neu)", "日本_neu"), ("!!", "csv"), ("ﬁle", "file")),
    ],
)
def test_datasets_are_called_after_their_folders(folder, name):
    assert name_of(pathlib.Path("/data") / folder, fallback="csv") == name
