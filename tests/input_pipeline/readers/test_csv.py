"""Tables."""

import shutil
import unicodedata

import numpy as np
import pytest

from input_pipeline.errors import DataError, FilesError
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.part_labels import without_part_maps
from input_pipeline.readers import csv, read_dataset
from input_pipeline.store.splits import prepare
from tests import layouts


def test_csv_is_found_by_folder_or_by_file(tmp_path):
    dataset = layouts.read("csv_table", tmp_path)
    assert csv.read(tmp_path / "table" / "dataset.csv") == dataset
    (tmp_path / "table" / "dataset.csv").rename(tmp_path / "table" / "people.csv")
    assert csv.read(tmp_path / "table") == dataset
    (tmp_path / "table" / "other.csv").touch()
    with pytest.raises(DataError, match="holds 2 CSV files"):
        csv.read(tmp_path / "table")
    with pytest.raises(DataError, match="does not exist"):
        csv.read(tmp_path / "nowhere")


def test_csv_as_spreadsheets_write_it(tmp_path):
    expected = layouts.read("csv_table", tmp_path)
    lines = layouts.table_rows(tmp_path)
    text = "\ufeff" + "\r\n".join(line.replace(",", ";") for line in lines).replace("path", "Path")
    assert csv.read(layouts.write_table(tmp_path, text)) == expected


def test_csv_may_name_part_maps_and_leave_cameras_out(tmp_path):
    lines = layouts.table_rows(tmp_path)
    header, *body = [line.split(",") for line in lines]
    shot = layouts.shots()[0]
    shutil.copy(shot.parts, tmp_path / "table" / "map.png")
    text = "\n".join(
        [f"{header[0]},{header[1]},split,part_map"]
        + [f"{row[0]},{row[1]},{row[3]},map.png" for row in body]
    )
    dataset = csv.read(layouts.write_table(tmp_path, text))
    assert {sample.camera for sample in dataset.query} == {UNKNOWN_CAMERA}
    assert {sample.part_map for sample in dataset.train} == {tmp_path / "table" / "map.png"}


def test_csv_may_name_tracklets(tmp_path):
    header, *body = layouts.table_rows(tmp_path)
    names = ["walk 1", "walk 1", "", "-1"]
    rows = [f"{row},{names[i % 4]}" for i, row in enumerate(body)]
    dataset = csv.read(layouts.write_table(tmp_path, "\n".join([f"{header},tracklet", *rows])))
    assert [s.tracklet for s in dataset.query] == ["walk 1", "walk 1", None, None]
    assert not dataset.by_tracklet


def test_csv_reports_all_bad_lines_at_once(tmp_path):
    lines = layouts.table_rows(tmp_path)
    bad = [
        "pictures/none.png,person 1,door 1,train",
        "../secret.png,person 1,door 1,train",
        "/etc/passwd,person 1,door 1,train",
        lines[1],
        lines[2].replace("train", "training"),
        lines[3].replace("person 1", ""),
        lines[4].replace("door 2", ""),
        f"{'a' * 300}.png,person 1,door 1,train",
    ]
    text = "\n".join([*lines[:2], *bad, *lines[6:]])
    with pytest.raises(FilesError) as caught:
        csv.read(layouts.write_table(tmp_path, text))
    whats = [problem.what for problem in caught.value.problems]
    assert [what.partition(":")[0] for what in whats] == [
        f"line {n}" for n in (3, 4, 5, 6, 7, 8, 10)
    ]
    for what, expected in zip(
        whats,
        [
            *("is missing", "not under", "not under", "before", "'training'"),
            *("no identity", "cannot be read (File name too long)"),
        ],
        strict=True,
    ):
        assert expected in what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path, identity, split"),
        ("path,person,split\n", "no column identity"),
        ("path,identity,split\n", "no images here"),
    ],
)
def test_csv_without_what_it_needs_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        csv.read(layouts.write_table(tmp_path, text))


def test_csv_that_is_not_utf8_is_refused(tmp_path):
    path = layouts.write_table(tmp_path, "")
    path.write_bytes("path,identity,split\nä".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        csv.read(path)


def csv_of(tmp_path, change):
    """The table with every field changed, as text."""
    return "\n".join(change(line.split(",")) for line in layouts.table_rows(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        ", ".join,
        " ,\t".join,
        lambda fields: ", ".join(f'"{field}"' for field in fields),
        lambda fields: ",".join(f'" {field} "' for field in fields),
        lambda fields: "; ".join(f'"{field}" ' for field in fields),
        lambda fields: ",".join((*fields, "", "")),
        lambda fields: ",".join(fields) + "\n\n , ,\n",
    ],
)
def test_csv_with_blanks_and_quotes(tmp_path, change):
    expected = layouts.read("csv_table", tmp_path)
    assert csv.read(layouts.write_table(tmp_path, csv_of(tmp_path, change))) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_in_the_encodings_of_spreadsheets(tmp_path, encoding):
    text = "\n".join(layouts.table_rows(tmp_path)).replace("person", "Zoë 東京")
    expected = csv.read(layouts.write_table(tmp_path, text))
    (tmp_path / "table" / "dataset.csv").write_text(text, encoding)
    assert csv.read(tmp_path / "table") == expected
    assert "Zoë 東京 1" in expected.identity_names.values()


HEAD = b"path,identity,camera,split\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HEAD + b"a" * 200_000 + b",b,c,train\n", "not a sound CSV file .*field larger"),
        (HEAD + b'"' + b"a,b,c,train\n" * 9, "a quote above it is not closed"),
        (HEAD + b"\0a.png,b,c,train\n", "null characters"),
        ("path,identity\n".encode("utf-16-le"), "null characters"),
        (HEAD + b"caf\xe9.png,b,c,train\n", "save it as UTF-8"),
        (HEAD + b"\xff\xfe\x00", "save it as UTF-8"),
        (b"\xff\xfe\x00", "save it as UTF-8"),
        (b"PNG\x89\x00\x01", "save it as UTF-8"),
        (b"\n\n", "no column path, identity, split"),
        (HEAD.replace(b"camera", b"split"), "has the column split twice"),
        (HEAD + b"a.png,b,c,train,d,e\n", "line 2: 6 fields, the first line names 4"),
        (HEAD + b"a.png\n", "line 2: no identity"),
        (HEAD + b",b,c,train\n", "line 2: no path"),
        (HEAD + b"a\x1b[31m.png,b,c,train\n", r"a\\x1b\[31m.png is missing"),
    ],
)
def test_a_csv_that_is_none_gives_one_line(tmp_path, data, message):
    (tmp_path / "dataset.csv").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        csv.read(tmp_path)
    assert str(caught.value).isprintable()


def test_a_folder_called_like_a_table_is_none(tmp_path):
    (tmp_path / "dataset.csv").mkdir()
    with pytest.raises(DataError, match="holds 0 CSV files"):
        csv.read(tmp_path)
    with pytest.raises(DataError, match="holds 0 CSV files"):
        csv.read(tmp_path / "dataset.csv")


def test_random_bytes_are_a_table_or_one_line(tmp_path):
    text = "\n".join(layouts.table_rows(tmp_path)).encode()
    path = tmp_path / "table" / "dataset.csv"
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(150):
        data = bytearray(text)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            csv.read(path)
        except DataError as error:
            lines.append(str(error))
    assert len(lines) > 100
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("part_map", "message"),
    [
        ("../map.png", r"the part map '../map.png' is not under the folder"),
        ("/etc/map.png", "the part map '/etc/map.png' is not under the folder"),
        ("pictures/../map.png", "is not under the folder"),
        ("maps/none.png", "the part map maps/none.png is missing"),
        ("pictures", "the part map pictures is missing"),
    ],
)
def test_csv_refuses_part_maps_outside_or_not_there(tmp_path, part_map, message):
    header, *body = layouts.table_rows(tmp_path)
    text = "\n".join([f"{header},part_map", f"{body[0]},{part_map}", *(f"{b}," for b in body[1:])])
    (tmp_path / "map.png").touch()
    with pytest.raises(FilesError, match=message) as caught:
        csv.read(layouts.write_table(tmp_path, text))
    assert len(caught.value.problems) == 1


def test_csv_may_point_outside_when_told(tmp_path):
    inside = csv.read(layouts.write_table(tmp_path, "\n".join(layouts.table_rows(tmp_path))))
    (tmp_path / "lists").mkdir()
    (tmp_path / "map.png").touch()
    header, *body = layouts.table_rows(tmp_path)
    body = [
        f"../table/{line},../map.png" if i % 2 else f"{tmp_path}/table/{line},"
        for i, line in enumerate(body)
    ]
    path = tmp_path / "lists" / "dataset.csv"
    path.write_text("\n".join([f"{header},part_map", *body]), "utf-8")
    with pytest.raises(FilesError, match=r"not under the folder of the table \(--allow-outside"):
        csv.read(path)
    dataset = csv.read(path, allow_outside=True)
    assert dataset.root == tmp_path
    assert [s.path for s in dataset.train] == [s.path for s in inside.train]
    assert {s.part_map for s in dataset.train} == {None, tmp_path / "map.png"}
    assert read_dataset("csv@lists", tmp_path, allow_outside=True) == dataset
    plain = without_part_maps(dataset)
    prepared = prepare(plain, data_dir=tmp_path / "prepared", progress=False)
    assert prepared.train.names[0].startswith("table/pictures/")


def test_csv_says_names_that_are_almost_the_same(tmp_path):
    text = "\n".join(layouts.table_rows(tmp_path))
    for person, name in (("person 1,", "0004,"), ("person 2,", "4,"), ("person 3,", "4.0,")):
        text = text.replace(person, name)
    dataset = csv.read(
        layouts.write_table(tmp_path, text.replace("door 1", "1").replace("door 2", "01"))
    )
    assert len({s.identity for s in dataset.train}) == 4
    assert dataset.notices[1:] == (
        "different identities with almost the same name: '0004', '4', '4.0'. Write each in one way",
        "different cameras with almost the same name: '01', '1'. Write each in one way",
    )


def test_csv_with_some_cameras(tmp_path):
    header, *body = layouts.table_rows(tmp_path)
    fields = [line.split(",") for line in body]
    for i, unknown in enumerate(["", "-1", "nan", "Unknown", "-1.0"]):
        fields[i][2] = unknown
    dataset = csv.read(layouts.write_table(tmp_path, "\n".join([header, *map(",".join, fields)])))
    cameras = [s.camera for s in dataset.train]
    assert cameras[:5] == [UNKNOWN_CAMERA] * 5
    assert set(cameras[5:]) == {0, 1}


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_csv_finds_files_whose_names_are_spelled_in_another_way(tmp_path, on_disk, in_table):
    lines = layouts.table_rows(tmp_path)
    old = lines[1].split(",")[0]
    new = "pictures/Zoë 東京 が.png"
    (tmp_path / "table" / old).rename(tmp_path / "table" / unicodedata.normalize(on_disk, new))
    lines[1] = lines[1].replace(old, unicodedata.normalize(in_table, new))
    dataset = csv.read(layouts.write_table(tmp_path, "\n".join(lines)))
    assert dataset.train[0].path.name == unicodedata.normalize(on_disk, "Zoë 東京 が.png")
    lines.append(lines[1].replace(*(unicodedata.normalize(f, new) for f in (in_table, on_disk))))
    with pytest.raises(FilesError, match="is listed before"):
        csv.read(layouts.write_table(tmp_path, "\n".join(lines)))
