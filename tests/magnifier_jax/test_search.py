import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from magnifier_jax import embed, search
from magnifier_jax.drawing import Mark
from magnifier_jax.retrieval import Gallery

pytestmark = pytest.mark.usefixtures("quick_compiling")


@pytest.fixture(scope="module")
def gallery(tiny_run, tmp_path_factory, quick_compiling):
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


def test_a_picture_of_the_gallery_finds_itself(tiny_run, gallery, capsys):
    picture = sorted((tiny_run.dataset / "bounding_box_test").iterdir())[2]
    assert search.main([f"--gallery={gallery}", "--query", str(picture), "--top=1"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[2] == picture.name
    assert float(row[1]) == pytest.approx(0, abs=2e-3)
    assert row[3] == "-"


def test_parts_change_the_ranking_or_say_that_nothing_is_seen(gallery, query, capsys):
    status = search.main([f"--gallery={gallery}", "--query", str(query), "--parts"])
    printed = capsys.readouterr()
    if status == 2:
        assert "sees no body part" in printed.err
    else:
        assert status == 0
        assert len(printed.out.splitlines()) == 13


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
    assert "There is no picture /nowhere.jpg" in capsys.readouterr().err
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    assert search.main([f"--gallery={gallery}", "--query", str(broken)]) == 2
    assert "broken.jpg: not a picture" in capsys.readouterr().err
