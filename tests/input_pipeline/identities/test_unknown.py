import pytest

from input_pipeline.identities.unknown import is_junk, is_unknown_camera, is_unknown_tracklet


@pytest.mark.parametrize("text", ["-1", "-0001", " -1 ", "-1.0", "−1", "-01.00", "－１", "-1,0"])
def test_junk_in_every_spelling(text):
    assert is_junk(text)
    assert is_junk(text.encode())


@pytest.mark.parametrize("text", ["1", "-10", "-1a", "", "-1.5", "--1", "- 1", "0", "-11", "a-1"])
def test_what_is_no_junk(text):
    assert not is_junk(text)


def test_cameras_that_a_table_does_not_know():
    assert all(map(is_unknown_camera, ("", " ", "-1", "-1.0", "NaN", "None", "unknown", "?")))
    assert not any(map(is_unknown_camera, ("0", "1", "north", "c1")))


@pytest.mark.parametrize("tracklet", ["", None, float("nan"), -1, "-1", "nan", "unknown", "?"])
def test_tracklets_that_are_not_known(tracklet):
    assert is_unknown_tracklet(tracklet)


@pytest.mark.parametrize("tracklet", ["0012C3T0004", "0", 0, 7, "cam1/person001"])
def test_tracklets_that_are_known(tracklet):
    assert not is_unknown_tracklet(tracklet)
