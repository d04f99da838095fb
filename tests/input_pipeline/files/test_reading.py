"""Files of strangers: refused in one line, and checked when they are read."""

import contextlib
import json

import pytest

from input_pipeline import files
from input_pipeline.errors import DataError, UserError


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep"), ValueError("a\nb\x1b[2J")]
)
def test_whatever_a_parser_raises_has_one_name(error):
    with (
        pytest.raises(DataError, match=r"^a\.bin is not a sound gallery \(") as caught,
        files.reading("a.bin", what="gallery", advice="make it again"),
    ):
        raise error
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("make it again")


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: No such file or directory"):
        files.read_json(tmp_path / "x", what="card")
    with pytest.raises(DataError, match="cannot be read"):
        files.read_json(tmp_path, what="card")
    with pytest.raises(UserError, match="as it is"), files.reading("x", what="card"):
        raise UserError("as it is")
    with pytest.raises(KeyboardInterrupt), files.reading("x", what="card"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x', b"\x00", "é".encode("latin-1")],
)
def test_what_is_not_json_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a sound card"):
        files.read_json(path, what="card")


VALUE = {"b": [1, 2.5, None, True], "a": {"é\n": "\udc80 \U0001f600"}}


@pytest.mark.parametrize("checked", [False, True])
def test_json_comes_back(tmp_path, checked):
    path = tmp_path / "x.json"
    files.write_json(path, VALUE, checksum=checked)
    assert files.read_json(path, what="card", checksum=checked) == VALUE
    json.loads(path.read_text("utf-8"))
    assert ("checksum" in json.loads(path.read_bytes())) == checked
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"x": float("nan")})
    assert files.read_json(path, what="card", checksum=checked) == VALUE


def test_every_flipped_bit_of_a_value_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"names": ["Zoë", "b"], "threshold": 0.25, "n": 10}, checksum=True)
    whole = path.read_bytes()
    value = files.read_json(path, what="card", checksum=True)
    refused = 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with contextlib.suppress(DataError):
                # Blanks may be other blanks, and a name of the checksum's field hides it.
                found = files.read_json(path, what="card", checksum=True)
                found = {k: v for k, v in found.items() if k in value}
                assert found == value
                continue
            refused += 1
    assert refused > 0.7 * 8 * len(whole)


def test_a_checksum_does_not_depend_on_the_layout():
    assert files.json_checksum({"a": 1, "b": [2]}) == files.json_checksum({"b": [2], "a": 1})
    assert files.json_checksum({"a": 1}) != files.json_checksum({"a": 2})
    assert files.checksum(b"ab") == files.checksum(b"b", start=files.checksum(b"a"))
