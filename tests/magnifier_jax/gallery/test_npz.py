"""Gallery files that were cut, flipped, or made by a stranger."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from input_pipeline.errors import DataError, MagnifierError
from magnifier_jax.gallery import Gallery
from magnifier_jax.gallery import npz as gallery_file
from magnifier_jax.gallery.npz import file_header, read_arrays, seal, write_arrays


def make_gallery(total=3):
    generator = np.random.default_rng(0)
    return Gallery.build(
        generator.standard_normal((total, 2)).astype(np.float32),
        names=[f"{row}.jpg" for row in range(total)],
        identities=np.arange(total),
        cameras=np.arange(total) % 2,
        parts=generator.standard_normal((total, 2, 2)).astype(np.float32),
        visible=generator.random((total, 2)) < 0.5,
        metric="cosine",
        model="some model",
        notes={"images": "/folder", "step": 3},
    )


def content(gallery):
    arrays = {name: getattr(gallery, name) for name in ("metric", "model", "notes", "next_id")}
    for name in ("descriptors", "names", "identities", "cameras", "parts", "visible", "ids"):
        arrays[name] = getattr(gallery, name).tolist()
    return json.dumps(arrays, sort_keys=True)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "gallery.npz"
    make_gallery().save(path)
    return path


def refusal(path, *, good):
    """The error that loading gives; empty if what is loaded is what was saved."""
    try:
        found = content(Gallery.load(path))
    except DataError as error:
        return str(error)
    assert found == good
    return ""


def test_a_flipped_bit_is_found_wherever_it_counts(saved):
    good, data = content(Gallery.load(saved)), saved.read_bytes()
    generator = np.random.default_rng(0)
    directory = data.index(b"PK\x01\x02")
    places = [*range(0, directory, 7), *range(directory, len(data), 2)]
    errors = []
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << int(generator.integers(8))
        saved.write_bytes(changed)
        errors.append(refusal(saved, good=good))
    refused = [error for error in errors if error]
    # What is left are dates, permissions and paddings.
    assert len(refused) > 0.5 * len(places)
    assert all(saved.name in error and "\n" not in error for error in refused)


def test_a_cut_file_is_refused(saved):
    data = saved.read_bytes()
    # Of the checksum's own text, what is behind it says that all arrays are there.
    for length in range(0, len(data) - 30, 41):
        saved.write_bytes(data[:length])
        with pytest.raises(DataError):
            Gallery.load(saved)


def test_random_bytes_in_the_middle_are_refused(saved):
    data = saved.read_bytes()
    generator = np.random.default_rng(1)
    good = content(Gallery.load(saved))
    errors = []
    for _ in range(100):
        start, length = generator.integers(len(data)), generator.integers(1, 60)
        changed = bytearray(data)
        changed[start : start + length] = generator.bytes(min(length, len(data) - start))
        saved.write_bytes(changed)
        errors.append(refusal(saved, good=good))
    assert sum(map(bool, errors)) > 50
    assert not any("\n" in error for error in errors)


def entry_of(header, data=b""):
    file = io.BytesIO()
    text = repr(header).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
    return file.getvalue()


def put(path, name, data, *, compression=zipfile.ZIP_STORED):
    """The gallery with one entry replaced, as a stranger could."""
    with zipfile.ZipFile(path) as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    entries[f"{name}.npy"] = data
    with zipfile.ZipFile(path, "w", compression) as new:
        for filename, content in entries.items():
            new.writestr(filename, content)


class Program:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


HEADER = {"descr": "<f4", "fortran_order": False, "shape": (3, 2)}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("names", entry_of(HEADER | {"descr": "|O"}, pickle.dumps(Program())), "Python objects"),
        ("descriptors", entry_of(HEADER | {"shape": (10**15, 2)}), "not of the size"),
        ("descriptors", entry_of(HEADER | {"shape": (-3, -2)}, bytes(24)), "impossible shape"),
        ("names", entry_of(HEADER | {"descr": "<U0", "shape": (10**15,)}), "impossible shape"),
        ("names", entry_of(HEADER, bytes(24)), "not text"),
        ("descriptors", entry_of(HEADER | {"descr": "<c8"}, bytes(48)), "floating-point"),
        ("descriptors", entry_of(HEADER | {"descr": "nonsense"}, bytes(24)), "sound"),
        ("descriptors", entry_of(HEADER, np.full(6, np.nan, "<f4").tobytes()), "NaN"),
        ("descriptors", b"not an array", "magic string"),
        ("descriptors", b"\x93NUMPY\x09\x00", "unknown version"),
        ("identities", entry_of(HEADER | {"descr": "<M8[s]", "shape": (3,)}, bytes(24)), "numbers"),
        ("cameras", entry_of(HEADER | {"shape": (3,)}, b"abcd" * 3), "whole numbers"),
        ("identities", entry_of(HEADER | {"descr": "<i8", "shape": (2,)}, bytes(16)), "must be 3"),
        ("visible", entry_of(HEADER | {"descr": "|b1"}, bytes(5)), "not of the size"),
        ("ids", entry_of(HEADER | {"descr": "<i8", "shape": (3,)}, bytes(24)), "different"),
        ("next_id", entry_of(HEADER | {"descr": "<i8", "shape": ()}, bytes(8)), "next_id"),
    ],
)
def test_strange_entries_are_refused_in_one_line(saved, name, data, message):
    put(saved, name, data)
    with pytest.raises(DataError, match=message) as caught:
        Gallery.load(saved)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_file, "_MOST_UNPACKED", 2**16)
    bomb = tmp_path / "bomb.npz"
    header = entry_of(HEADER | {"shape": (20 * 2**11, 2)})
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("descriptors.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(header)
        for _ in range(20):
            entry.write(bytes(2**14))
    assert bomb.stat().st_size < 2**14
    with pytest.raises(DataError, match="would grow from"):
        read_arrays(bomb, only=("descriptors",), wanted="a file")


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "packed.npz"
    cameras = np.full(100_000, -1)
    np.savez_compressed(path, cameras=cameras, other=np.asfortranarray(np.ones((3, 2))))
    found = read_arrays(path, only=("cameras", "other"), wanted="a file")
    np.testing.assert_array_equal(found["cameras"], cameras)
    np.testing.assert_array_equal(found["other"], np.ones((3, 2)))


def test_files_without_a_checksum_are_read(saved):
    good = content(Gallery.load(saved))
    np.savez(saved, **np.load(saved))
    assert content(Gallery.load(saved)) == good
    assert zipfile.ZipFile(saved).comment == b""


def test_other_writers_can_seal_too(tmp_path):
    path = tmp_path / "g.npz"
    arrays = {
        **file_header(metric="euclidean", model="m", notes={}),
        "descriptors": np.eye(2),
        "names": np.array(["a", "b"]),
    }
    with path.open("wb") as file:
        write_arrays(file, arrays)
    with zipfile.ZipFile(tmp_path / "h.npz", "w") as archive:
        for info in zipfile.ZipFile(path).infolist():
            archive.writestr(info, zipfile.ZipFile(path).read(info))
        seal(archive)
    assert zipfile.ZipFile(tmp_path / "h.npz").comment == zipfile.ZipFile(path).comment
    assert len(Gallery.load(tmp_path / "h.npz")) == 2


def test_numpy_reads_what_was_saved(saved):
    with np.load(saved) as arrays:
        assert arrays["descriptors"].shape == (3, 2)
        assert "checksum" not in arrays.files


def test_objects_get_a_hint(tmp_path):
    path = tmp_path / "q.npz"
    np.savez(path, identities=np.array(["a", 1], object), descriptors=np.eye(2))
    with pytest.raises(MagnifierError, match=r"save it as numbers or text, identities=np\.array"):
        read_arrays(path, only=("descriptors", "identities"), wanted="a file")
    assert len(read_arrays(path, only=("descriptors",), wanted="a file")["descriptors"]) == 2
