import pytest

from input_pipeline.errors import DataError
from input_pipeline.readers import dukemtmc, occluded_duke
from tests import layouts


@pytest.mark.parametrize("reader", [dukemtmc, occluded_duke])
def test_the_withdrawal_is_said_where_the_dataset_is_missing(reader, tmp_path):
    with pytest.raises(DataError, match="withdrawn by its authors"):
        reader.read(tmp_path)


def test_cameras_and_identities_come_from_the_names(tmp_path):
    dataset = layouts.read("dukemtmc", tmp_path)
    first = dataset.train[0]
    assert first.path.name == "0001_c1_f0000000.jpg"
    assert (first.identity, first.camera) == (1, 1)
    assert first.part_map is not None


def test_occluded_duke_has_its_own_counts(tmp_path):
    layouts.occluded_duke(tmp_path)
    with pytest.warns(UserWarning, match=r"Occluded-Duke.*(15618|2210|17661)") as caught:
        occluded_duke.read(tmp_path)
    assert len(caught) == 3
