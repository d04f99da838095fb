import dataclasses
import shutil
import warnings

import numpy as np
import pytest

from input_pipeline import check, prepare
from input_pipeline.errors import DataError, UserError
from magnifier_jax import datasets
from magnifier_jax.datasets import list_sets, open_test_sets, open_training_set
from tests import layouts
from tests.magnifier_jax.conftest import tiny_config


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def test_one_set(tiny_run):
    data = open_training_set(tiny_run.config, progress=False)
    assert len(data.identities) == 8
    assert len(set(data.identities)) == 8
    assert data.labels.dtype == np.int32
    assert sorted(set(data.labels.tolist())) == list(range(8))
    (test_set,) = open_test_sets(tiny_run.config, progress=False)
    assert test_set.name == "synthetic_tiny"
    assert not set(test_set.query.identities) & set(data.split.identities)


def test_several_sets_keep_their_identities_and_cameras_apart(tiny_run):
    both = with_data(tiny_run.config, train="synthetic:tiny,synthetic:tiny@again")
    data = open_training_set(both, progress=False)
    assert len(data.identities) == 16
    halves = np.split(data.labels, 2)
    assert not set(halves[0]) & set(halves[1])
    assert {name.split("/")[0] for name in data.identities} == {
        "synthetic_tiny",
        "synthetic_tiny_2",
    }
    cameras = np.split(data.split.cameras, 2)
    assert not set(cameras[0]) & set(cameras[1])
    assert [test_set.name for test_set in open_test_sets(both, progress=False)] == [
        "synthetic_tiny",
        "synthetic_tiny_2",
    ]
    other = with_data(both, test="synthetic:tiny@again")
    assert len(open_test_sets(other, progress=False)) == 1


def test_a_root_is_asked_for(tiny_run):
    with pytest.raises(UserError, match=r"config.data.root is empty.*--config.data.root="):
        open_training_set(with_data(tiny_run.config, train="market1501", root=""), progress=False)


@pytest.fixture
def on(tiny_run, tmp_path):
    """A function that gives the configuration for datasets in `tmp_path`."""

    def configure(train: str, **changes):
        options = {"root": str(tmp_path), "prepared": str(tmp_path / "out"), "train": train}
        return with_data(tiny_run.config, **options, **changes)

    return configure


def open_all_sets(config, *, progress=True):
    return list_sets(config, progress=progress).open(progress=progress)


def opened(config):
    return layouts.without_warnings(open_all_sets, config)


@pytest.mark.parametrize("labels", ["required", "none", "bands", "maps"])
def test_what_the_command_prepared_is_not_prepared_again(on, tmp_path, monkeypatch, labels):
    layouts.market1501(tmp_path)
    layouts.market_style(tmp_path / "a")
    layouts.market_style(tmp_path / "b")
    specs = "market1501"
    if labels == "maps":
        labels = str((tmp_path / "Market-1501-v15.09.15_ps_label").rename(tmp_path / "maps"))
    if labels in ("none", "bands"):
        specs += ",market_style@a/My shop,market_style@b/My shop"
    shared = ["--root", str(tmp_path), "--data-dir", str(tmp_path / "out")]
    assert prepare.main([*shared, "--dataset", specs, "--part-labels", labels]) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    monkeypatch.setattr(check, "scan_once", None)
    config = on(specs, part_labels=labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fixed body bands", category=UserWarning)
        data, sets = opened(config)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
        alone = layouts.without_warnings(open_test_sets, config)
    assert data.split.labeled.all() == (labels != "none")
    assert not sets[0].query.labeled.any()
    names = ["market1501", "my_shop", "my_shop_2"][: 1 + specs.count(",")]
    assert [test_set.name for test_set in sets] == [s.name for s in alone] == names
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_an_unusable_part_map_of_a_gallery_stops_nothing(on, tmp_path):
    dataset = layouts.read("cuhk03_detected", tmp_path)
    dataset.gallery[-1].part_map.write_bytes(b"")
    data, _ = opened(on("cuhk03:detected"))
    assert data.split.labeled.all()


def test_everything_wrong_with_all_sets_is_said_at_once(on, tmp_path):
    market = layouts.read("market1501", tmp_path)
    shop = layouts.read("market_style", tmp_path)
    bad = [market.train[0].path, market.query[0].path, shop.gallery[0].path]
    for path in bad:
        path.write_bytes(b"")
    shop.train[0].path.write_bytes(b"")  # Nobody trains on it.
    config = on("market1501", test="market1501,market_style@My shop")
    with pytest.raises(DataError, match="3 files cannot be used") as caught:
        opened(config)
    assert all(str(path) in str(caught.value) for path in bad)
    assert not (tmp_path / "out" / "market1501").exists()


def test_what_is_worth_knowing_is_said_when_it_prepares_by_itself(on, tmp_path):
    dataset = layouts.read("cuhk03_detected", tmp_path)
    shutil.copy(dataset.train[0].path, dataset.train[1].path)
    copies = "cuhk03_detected: 1 image is a copy in the same split"
    with pytest.warns(UserWarning, match=copies):
        opened(on("cuhk03:detected"))
    opened(on("cuhk03:detected"))


def test_the_withdrawal_of_a_dataset_is_said_when_training(on, tmp_path):
    layouts.dukemtmc(tmp_path)
    with (
        pytest.warns(UserWarning, match="published are"),
        pytest.warns(UserWarning, match="DukeMTMC was withdrawn by its authors"),
    ):
        open_all_sets(on("dukemtmc"), progress=False)


def test_training_sets_of_the_same_people_are_refused(on, tmp_path):
    layouts.market1501_500k(tmp_path)
    config = on("market1501,market1501:500k")
    with pytest.raises(DataError, match="'market1501' and 'market1501:500k' show the same people"):
        opened(config)
    tested = on("market1501", test="market1501,market1501:500k")
    layouts.without_warnings(open_test_sets, tested)


def test_tables_may_name_images_outside_their_folder_when_told(on, tmp_path, capsys):
    header, *body = layouts.table_rows(tmp_path)
    (tmp_path / "lists").mkdir()
    lines = [header, *(f"../table/{line}" for line in body if line.endswith(("query", "gallery")))]
    (tmp_path / "lists" / "dataset.csv").write_text("\n".join(lines))
    config = on("csv@lists", part_labels="none")
    with pytest.raises(DataError, match="not under the folder of the table"):
        open_test_sets(config, progress=False)
    told = with_data(config, allow_outside=True)
    (test_set,) = open_test_sets(told, progress=False)
    assert (test_set.name, len(test_set.query), len(test_set.gallery)) == ("lists", 4, 8)
    said = capsys.readouterr().err
    assert "note: lists: identities are the column identity, such as person" in said


@pytest.fixture
def shop(tmp_path):
    """A function that writes splits of a folder per person, and gives its configuration."""

    def write(*splits: str, people=None, camera=None, **changes):
        for place, shot in enumerate(layouts.shots()):
            if shot.split in splits:
                person = str(shot.identity) if people is None else people[shot.split]
                number = shot.camera if camera is None else camera
                path = tmp_path / "shop" / shot.split / person / f"{place}_c{number}.jpg"
                layouts.save(shot, path)
        config = tiny_config(tmp_path)
        options = {"train": "folders@shop", "part_labels": "bands", **changes}
        return with_data(config, **options)

    return write


def silently(open_sets, config):
    """Opens sets that are trained with fixed body bands, which is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_sets(config, progress=False)


def test_a_test_set_alone_is_opened(shop):
    config = shop("query", "gallery")
    (found,) = silently(open_test_sets, config)
    assert (len(found.query), len(found.gallery)) == (4, 8)
    with pytest.raises(DataError, match=r"shop in .* has no training images"):
        silently(open_training_set, config)


def test_a_training_set_alone_is_opened(shop):
    config = shop("train", test="none")
    training, tests = silently(open_all_sets, config)
    assert (len(training.split), tests) == (16, ())
    with pytest.raises(DataError, match=r"no query and no gallery images: evaluate on another"):
        silently(open_test_sets, with_data(config, test=""))


ALL = ("train", "query", "gallery")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"identities_per_batch": 5}, r"a batch needs 5 identities but the training set has 4"),
        ({"camera": 3}, r"no query has a match from another camera.*camera_filter=False"),
        ({"people": {"train": "a", "query": "b", "gallery": "c"}}, "a batch needs 4 identities"),
    ],
)
def test_what_cannot_work_is_refused_before_any_file_is_opened(shop, monkeypatch, options, words):
    config = shop(*ALL, **options)
    monkeypatch.setattr(datasets, "check_dataset", None)
    with pytest.raises(DataError, match=words):
        silently(open_all_sets, config)


def test_query_and_gallery_of_different_people_are_refused(shop, monkeypatch):
    config = shop("query", "gallery", people={"query": "b", "gallery": "c"})
    monkeypatch.setattr(datasets, "check_dataset", None)
    with pytest.raises(DataError, match="query and gallery show different people"):
        silently(open_test_sets, config)


def test_one_camera_will_do_without_the_filter(shop):
    config = shop(*ALL, camera=3)
    evaluate = dataclasses.replace(config.evaluate, camera_filter=False)
    config = dataclasses.replace(config, evaluate=evaluate)
    assert len(silently(open_test_sets, config)) == 1


def test_people_are_called_by_their_names(shop):
    config = shop("train", people={"train": "zoe"}, identities_per_batch=1, test="none")
    assert open_names(config) == ("shop/zoe",)


def open_names(config):
    return silently(open_training_set, config).identities
