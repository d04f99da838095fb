"""Training sets that show the same people are refused, with both sets named."""

import os
import shutil

import pytest

from input_pipeline.errors import DataError
from input_pipeline.readers import Reading, read_dataset, refuse_shared_people
from tests import layouts


def readings(*specs: str, root) -> list[Reading]:
    return [Reading(spec, layouts.without_warnings(read_dataset, spec, root)) for spec in specs]


@pytest.mark.parametrize(
    ("builders", "specs", "people"),
    [
        (["market1501_500k"], ["market1501", "market1501:500k"], "Market-1501"),
        (["msmt17_v1"], ["msmt17:train", "msmt17:trainval"], "MSMT17"),
        (["msmt17_v1", "msmt17_v2"], ["msmt17:v1-train", "msmt17:v2-train"], "MSMT17"),
        (["cuhk03_labeled", "cuhk03_detected"], ["cuhk03:labeled", "cuhk03:detected"], "CUHK03"),
        (["dukemtmc", "occluded_duke"], ["dukemtmc", "occluded_duke"], "DukeMTMC"),
    ],
)
def test_sets_of_the_same_people_are_refused(tmp_path, builders, specs, people):
    for builder in builders:
        layouts.LAYOUTS[builder](tmp_path)
    with pytest.raises(
        DataError, match=f"'{specs[0]}' and '{specs[1]}' show .* people of {people}"
    ):
        refuse_shared_people(readings(*specs, root=tmp_path))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_sets_that_share_a_file_are_refused(tmp_path, link):
    market = layouts.read("market1501", tmp_path)
    shop = layouts.read("market_style", tmp_path)
    specs = ["market1501", "market_style@My shop"]
    refuse_shared_people(readings(*specs, root=tmp_path))
    shop.train[3].path.unlink()
    link(market.train[0].path, shop.train[3].path)
    with pytest.raises(DataError, match="'market1501' and 'market_style@My shop' share") as error:
        refuse_shared_people(readings(*specs, root=tmp_path))
    assert shop.train[3].path.name in str(error.value)


def test_one_folder_under_two_names_is_refused(tmp_path):
    layouts.market1501(tmp_path)
    specs = ["market1501", "market_style@Market-1501-v15.09.15"]
    with pytest.raises(DataError, match=r"'market1501' and 'market_style@Market.*' share"):
        refuse_shared_people(readings(*specs, root=tmp_path))


def test_copies_in_folders_of_their_own_are_different_files(tmp_path):
    layouts.market_style(tmp_path)
    shutil.copytree(tmp_path / "My shop", tmp_path / "other")
    refuse_shared_people(readings("market_style@My shop", "market_style@other", root=tmp_path))
