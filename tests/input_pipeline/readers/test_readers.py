import pathlib

import pytest
from PIL import Image

from input_pipeline import readers
from input_pipeline.errors import DataError
from input_pipeline.readers import DatasetSpec
from tests import layouts

NAMES = {
    "market1501": "market1501",
    "market1501_500k": "market1501_500k",
    "dukemtmc": "dukemtmc",
    "occluded_duke": "occluded_duke",
    "cuhk03_labeled": "cuhk03_labeled",
    "cuhk03_detected": "cuhk03_detected",
    "cuhk03_lists": "cuhk03_labeled",
    "cuhk03_matlab": "cuhk03_labeled",
    "msmt17_v1": "msmt17_v1_trainval",
    "msmt17_v2": "msmt17_v2_train",
    "market_style": "my_shop",
    "folders": "buro",
    "csv_table": "table",
    "mars": "mars",
}
SIZES = {
    "market1501": (16, 4, 9),
    "market1501_500k": (16, 4, 11),
    "msmt17_v2": (14, 4, 8),
    "mars": (32, 8, 26),  # two frames each; the gallery has the queries and a distractor
}


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout_is_read(layout, tmp_path):
    dataset = layouts.read(layout, tmp_path)
    sizes = tuple(len(split) for split in (dataset.train, dataset.query, dataset.gallery))
    assert dataset.name == NAMES[layout]
    assert sizes == SIZES.get(layout, (16, 4, 8))
    assert len({sample.identity for sample in dataset.train}) == 4
    assert len({sample.identity for sample in dataset.query}) == 2
    assert {s.identity for s in dataset.query} <= {s.identity for s in dataset.gallery}
    assert len({sample.camera for sample in dataset.query}) == 2
    for sample in (*dataset.train, *dataset.query, *dataset.gallery):
        assert sample.path.is_file()
        assert sample.path.is_relative_to(dataset.root)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_each_picture_keeps_its_person(layout, tmp_path):
    """Pictures of one rendered person have one identity, and no two persons share one."""
    if layout in ("cuhk03_labeled", "cuhk03_lists", "cuhk03_matlab", "csv_table"):
        person_of = _person_of_pixels
    else:
        person_of = _person_of_bytes
    dataset = layouts.read(layout, tmp_path)
    tested = tuple(s for s in dataset.gallery if s.identity != 0 or "msmt" in layout)
    for samples in (dataset.train, (*dataset.query, *tested)):
        pairs = {(person_of(sample.path), sample.identity) for sample in samples}
        persons, identities = zip(*pairs, strict=True)
        assert len(set(persons)) == len(set(identities)) == len(pairs)


def _person_of_bytes(path: pathlib.Path) -> int:
    content = path.read_bytes()
    return next(s.identity for s in layouts.shots() if s.image.read_bytes() == content)


def _person_of_pixels(path: pathlib.Path) -> int:
    with Image.open(path) as image:
        pixels = image.tobytes()
    for shot in layouts.shots():
        with Image.open(shot.image) as image:
            if image.tobytes() == pixels:
                return shot.identity
    raise AssertionError(path)


def test_available_lists_the_readers_and_no_helpers():
    assert set(readers.available()) == {
        "csv",
        "cuhk03",
        "dukemtmc",
        "folders",
        "ilids_vid",
        "market1501",
        "market_style",
        "mars",
        "msmt17",
        "occluded_duke",
        "synthetic",
    }


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("market1501", DatasetSpec("market1501")),
        (" cuhk03:labeled ", DatasetSpec("cuhk03", "labeled")),
        ("folders@shop cameras/2", DatasetSpec("folders", "", "shop cameras/2")),
        ("msmt17:v2-train@/data/a:b@c", DatasetSpec("msmt17", "v2-train", "/data/a:b@c")),
    ],
)
def test_specs_are_taken_apart(text, spec):
    assert readers.parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("market", "did you mean market1501 or market_style"),
        ("MSMT17:train", "did you mean msmt17"),
        ("zzz", r"no dataset is called 'zzz': \(known: csv, cuhk03"),
        ("folders@", "ends in '@'"),
        ("folders:/data/shop", "write folders@/data/shop"),
        (r"folders:C:\shop", r"write folders@C:"),
    ],
)
def test_bad_specs_are_refused_with_a_hint(text, message):
    with pytest.raises(DataError, match=message):
        readers.parse_spec(text)


def test_the_folder_of_a_spec_is_relative_to_the_root_or_absolute(tmp_path):
    spec = layouts.market_style(tmp_path)
    relative = readers.read_dataset(spec, tmp_path)
    absolute = readers.read_dataset(f"market_style@{relative.root}", "/nowhere")
    assert relative.root == absolute.root == tmp_path / "My shop"


def test_a_name_does_not_depend_on_the_other_datasets(tmp_path):
    layouts.market_style(tmp_path / "a")
    layouts.market_style(tmp_path / "b")
    specs = ["market_style@a/My shop", "market_style@b/My shop"]
    found = [reading.dataset for reading in readers.read_each(",".join(specs), tmp_path)]
    assert [dataset.name for dataset in found] == ["my_shop", "my_shop"]
    assert [dataset.root.parent.name for dataset in found] == ["a", "b"]


def test_a_dataset_named_twice_is_refused(tmp_path):
    spec = layouts.market_style(tmp_path)
    for other in (spec, f"market_style@{tmp_path / 'My shop'}"):
        with pytest.raises(DataError, match="named twice"):
            readers.read_each([spec, other], tmp_path)


def test_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match="no dataset is named"):
        readers.read_each(" , ", tmp_path)


def test_one_dataset_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    layouts.market_style(tmp_path)
    (tmp_path / "My shop" / "query" / "me.jpg").touch()
    missing, odd = readers.read_each("market1501,market_style@My shop", tmp_path)
    assert missing.dataset is None
    assert "Market-1501 is not in" in str(missing.error)
    assert len(odd.dataset.query) == 4
    assert "me.jpg" in str(odd.error)


def test_a_root_may_go_up(tmp_path, monkeypatch):
    expected = layouts.read("market1501", tmp_path)
    monkeypatch.chdir(expected.root / "query")
    again = layouts.without_warnings(readers.read_dataset, "market1501", "..")
    assert again == expected
    assert again.train[0].part_map is not None


@pytest.mark.parametrize("layout", ["dukemtmc", "occluded_duke"])
def test_withdrawn_datasets_say_so(layout, tmp_path):
    spec = layouts.LAYOUTS[layout](tmp_path)
    with (
        pytest.warns(UserWarning, match="published are"),
        pytest.warns(UserWarning, match="was withdrawn by its authors in 2019"),
    ):
        readers.read_dataset(spec, tmp_path)


def test_progress_reaches_a_reader_that_takes_long(tmp_path, capsys):
    readers.read_dataset("synthetic:tiny", tmp_path / "a", progress=False)
    assert capsys.readouterr().err == ""
    readers.read_dataset("synthetic:tiny", tmp_path / "b")
    assert "render synthetic_tiny" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["market1501", "dukemtmc", "occluded_duke", "market_style"])
def test_a_variant_that_does_not_exist_is_refused(layout, tmp_path):
    with pytest.raises(DataError, match="no variant 'big'"):
        readers.read_dataset(f"{layout}:big", tmp_path)


def test_drawn_people_have_one_place_for_every_command(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    drawn = readers.read_dataset("synthetic:tiny", None, progress=False)
    assert drawn.root == tmp_path / "cache" / "magnifier_jax" / "synthetic_tiny"
    # A folder that is named is that of the user, for them and for what is only found.
    named = readers.read_dataset("synthetic:tiny@mine", None, progress=False)
    assert named.root.absolute() == tmp_path / "mine" / "synthetic_tiny"
    rooted = readers.read_dataset("synthetic:tiny", tmp_path / "r", progress=False)
    assert rooted.root == tmp_path / "r" / "synthetic_tiny"
    spec = layouts.LAYOUTS["folders"](tmp_path)
    assert readers.read_dataset(spec, None).root.absolute().is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ("synthetic:tiny", False),
        ("synthetic", False),
        ("synthetic:tiny@here", False),
        ("folders@/my/set", False),
        ("folders", True),
        ("market1501", True),
    ],
)
def test_only_images_that_are_found_need_a_root(spec, needs):
    assert readers.needs_root(spec) == needs
