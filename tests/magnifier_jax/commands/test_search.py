import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from magnifier_jax.commands import embed, search
from magnifier_jax.embedding import queries
from magnifier_jax.evaluation.report.drawing import Mark
from magnifier_jax.gallery import Gallery

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder that rankings may be drawn in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def gallery(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "gallery.npz"
    images = tiny_run.dataset / "bounding_box_test"
    options = [f"--workdir={tiny_run.workdir.path}", f"--images={images}", f"--output={path}"]
    assert embed.main(options) == 0
    return path


@pytest.fixture(scope="module")
def query(tiny_run):
    return sorted((tiny_run.dataset / "query").iterdir())[0]


def test_matches_are_listed_with_distances_and_drawn(gallery, query, tmp_path, capsys):
    drawn = tmp_path / "ranking.png"
    arguments = [f"--gallery={gallery}", "--query", str(query), "--top=3", f"--output={drawn}"]
    assert search.main(arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line and line[0] in "123"]
    distances = [float(row[1]) for row in rows]
    assert len(rows) == 3
    assert distances == sorted(distances)
    for row in rows:
        assert row[3] == ("right" if row[2][:4] == query.name[:4] else "wrong")
    with Image.open(drawn) as image:
        colours = {colour for _, colour in image.getcolors(1 << 24)}
    marks = {Mark[row[3].upper()].value for row in rows}
    assert marks <= colours


def test_without_output_the_ranking_is_drawn_here_and_said(
    gallery, query, elsewhere, monkeypatch, capsys
):
    monkeypatch.setattr(queries, "DRAWN", 4)
    (elsewhere / f"{query.stem}.ranking.png").write_text("of somebody else")
    assert search.main([f"--gallery={gallery}", "--query", str(query), "--top=7"]) == 0
    drawn = elsewhere / f"{query.stem}.ranking-1.png"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"The first 4 of 7 matches are drawn in {drawn}"
    with Image.open(drawn) as image:
        assert image.width > 5 * 96


def test_images_that_are_not_there_are_said(gallery, query, tmp_path, capsys):
    arguments = [f"--gallery={gallery}", "--query", str(query), "--top=3", f"--images={tmp_path}"]
    assert search.main(arguments) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("3 images could not be read, from")
    assert "--images" in last


def test_what_cannot_be_an_image_is_refused_at_once(gallery, query, capsys):
    arguments = [f"--gallery={gallery}", "--query", str(query), "--output=ranking"]
    assert search.main(arguments) == 2
    printed = capsys.readouterr()
    assert "--output ranking must end as images do" in printed.err
    assert not printed.out


def test_joined_galleries_and_persons_by_folder(tiny_run, gallery, query, tmp_path, capsys):
    known = Gallery.load(gallery)
    moved = tmp_path / "query" / "alice" / "1.jpg"
    moved.parent.mkdir(parents=True)
    shutil.copy(query, moved)
    whose = [*["-1", "alice"], *["bob"] * (len(known) - 2)]
    here = dataclasses.replace(known, identities=np.array(whose))
    there = here.remove(here.names[4:].tolist())
    folder = tmp_path / "there"
    shutil.copytree(known.notes["images"], folder)
    there = dataclasses.replace(there, notes={**known.notes, "images": str(folder)})
    here.add(there).save(tmp_path / "both.npz")
    total = len(known) + 4
    arguments = [f"--gallery={tmp_path / 'both.npz'}", "--query", str(moved), f"--top={total}"]
    assert search.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("The matches are drawn in")
    marks = {line.split()[2]: line.split()[3] for line in lines[3 : 3 + total]}
    assert len(marks) == total
    for root, count in ((known.notes["images"], len(known)), (str(folder), 4)):
        found = [marks[f"{root}/{name}"] for name in known.names[:count]]
        assert found == ["-", "right", *["wrong"] * (count - 2)]


def test_an_image_of_the_gallery_finds_itself(tiny_run, gallery, capsys):
    query = sorted((tiny_run.dataset / "bounding_box_test").iterdir())[2]
    assert search.main([f"--gallery={gallery}", "--query", str(query), "--top=1"]) == 0
    row = capsys.readouterr().out.splitlines()[3].split()
    assert row[2] == query.name
    assert float(row[1]) == pytest.approx(0, abs=2e-3)
    assert row[3] == "-"


def test_parts_change_the_ranking_or_say_that_nothing_is_seen(gallery, query, capsys):
    status = search.main([f"--gallery={gallery}", "--query", str(query), "--parts"])
    printed = capsys.readouterr()
    if status == 2:
        assert "sees no body part" in printed.err
    else:
        assert status == 0
        assert len(printed.out.splitlines()) == 15


def test_network_may_move_but_not_change(tiny_run, gallery, query, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run.workdir.path, moved)
    arguments = ["--query", str(query), f"--workdir={moved}"]
    assert search.main([f"--gallery={gallery}", *arguments]) == 0
    assert "distance" in capsys.readouterr().out
    other = tmp_path / "other.npz"
    dataclasses.replace(Gallery.load(gallery), model="magnifier 0").save(other)
    assert search.main([f"--gallery={other}", *arguments]) == 2
    assert "another network" in capsys.readouterr().err


def test_gallery_of_unknown_origin_is_refused(query, tmp_path, capsys):
    path = tmp_path / "foreign.npz"
    Gallery.build(np.eye(3, dtype=np.float32), names=["a", "b", "c"]).save(path)
    assert search.main([f"--gallery={path}", "--query", str(query)]) == 2
    assert "does not say which network" in capsys.readouterr().err


def test_unreadable_queries_are_named(gallery, tmp_path, capsys):
    assert search.main([f"--gallery={gallery}", "--query", "/nowhere.jpg"]) == 2
    assert "There is no image /nowhere.jpg" in capsys.readouterr().err
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    assert search.main([f"--gallery={gallery}", "--query", str(broken)]) == 2
    assert "broken.jpg: not a" in capsys.readouterr().err


def test_the_ranking_never_replaces_what_it_is_made_from(
    tiny_run, gallery, query, tmp_path, capsys
):
    photo = tmp_path / "0002_c1_7.png"
    with Image.open(query) as image:
        image.save(photo)
    before = photo.read_bytes()
    arguments = [f"--gallery={gallery}", "--query", str(photo), "--top=2"]
    for options in ([f"--output={photo}"], [f"--output={photo}", "--force"]):
        assert search.main([*arguments, *options]) == 2
        assert "made from" in capsys.readouterr().err
    assert photo.read_bytes() == before
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    assert search.main([*arguments, f"--output={link}", "--force"]) == 2
    assert photo.read_bytes() == before
    found = sorted((tiny_run.dataset / "bounding_box_test").iterdir())[0]
    before = found.read_bytes()
    assert search.main([*arguments, f"--output={found}", "--force"]) == 2
    assert found.read_bytes() == before
    other = tmp_path / "other.png"
    other.write_text("of somebody else")
    assert search.main([*arguments, f"--output={other}"]) == 2
    assert "--force" in capsys.readouterr().err
    assert search.main([*arguments, f"--output={other}", "--force"]) == 0
    with Image.open(other) as image:
        assert image.width > 96


@pytest.mark.parametrize(
    "notes",
    [
        {"workdir": 7, "step": "x", "flip": [], "images": {"a": 1}},
        {"workdir": "/nowhere\n\x1b[31m", "step": -1, "images": "a\0b"},
        {"workdir": None, "step": 2**70, "images": None},
        {"workdir": "~nosuchuser", "step": 3},
    ],
)
def test_notes_that_a_stranger_wrote_are_one_line(gallery, query, tmp_path, capsys, notes):
    path = tmp_path / "stranger.npz"
    dataclasses.replace(Gallery.load(gallery), notes=notes).save(path)
    assert search.main([f"--gallery={path}", "--query", str(query)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error.strip().isprintable()


def test_a_query_that_cannot_be_read_is_one_line(gallery, query, tmp_path, capsys):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"%!PS")
    assert search.main([f"--gallery={gallery}", "--query", str(query), str(broken)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {broken}: not an image")
    assert error.endswith(". Give other queries\n")


def test_images_of_one_person_are_searched_for_together(tiny_run, gallery, tmp_path, capsys):
    images = sorted((tiny_run.dataset / "query").iterdir())
    same = [path for path in images if path.name[:4] == images[0].name[:4]]
    assert len(same) > 1
    drawn = tmp_path / "ranking.png"
    arguments = [f"--gallery={gallery}", "--query", *map(str, same), "--together", "--top=4"]
    assert search.main([*arguments, f"--output={drawn}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{same[0]} and {len(same) - 1} more as one query" in lines
    rows = [line.split() for line in lines if line[:4].strip() in {"1", "2", "3", "4"}]
    # The mean of unit vectors, each weighted by how many parts its image shows, by hand.
    model = queries.gallery_network(Gallery.load(gallery))
    found = model.embed(same)
    mean = found.visible.sum(1) @ found.descriptors.astype(np.float64)
    mean /= np.linalg.norm(mean)
    searched = Gallery.load(gallery)
    distances = np.linalg.norm(searched.descriptors - mean, axis=1)
    order = np.argsort(distances)[:4]
    assert [row[2] for row in rows] == searched.names[order].tolist()
    np.testing.assert_allclose([float(row[1]) for row in rows], distances[order], atol=1e-4)
    assert all(row[3] == ("right" if row[2][:4] == same[0].name[:4] else "wrong") for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--together", "--fpr=0.01"], "those of single images"),
        (["--tracklets", "--fpr=0.01"], "those of single images"),
        (["--together", "--exclude=camera"], "are of camera 1 and 2: say which one to leave out"),
        (["--tracklets"], "does not say which images are a tracklet"),
    ],
)
def test_what_does_not_go_with_several_images_is_refused(
    tiny_run, gallery, options, message, capsys
):
    images = sorted((tiny_run.dataset / "query").iterdir(), key=lambda path: path.name[:7])
    both = [path for path in images if path.name[:4] == images[0].name[:4]]
    assert {path.name[6] for path in both} == {"1", "2"}
    assert search.main([f"--gallery={gallery}", "--query", *map(str, both), *options]) == 2
    assert message in capsys.readouterr().err
