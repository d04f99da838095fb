"""Galleries that grow, as the commands make, search and look after them."""

import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

import magnifier_jax as mj
from magnifier_jax.commands import embed, gallery, search
from magnifier_jax.embedding import growing
from magnifier_jax.embedding.queries import Limits, search_images
from magnifier_jax.gallery import Gallery
from tests.command import ROOT

pytest.importorskip("lance")
pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder that rankings may be drawn in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def images(tiny_run, tmp_path_factory):
    place = tmp_path_factory.mktemp("images") / "crops"
    shutil.copytree(tiny_run.dataset / "bounding_box_test", place)
    return place


@pytest.fixture(scope="module")
def query(tiny_run):
    return sorted((tiny_run.dataset / "query").iterdir())[0]


@pytest.fixture(scope="module")
def people(tiny_run, images):
    """A gallery of all images, with the time and the tracklet of each."""
    place, table = images.parent / "people.lance", images.parent / "known.csv"
    names = sorted(path.name for path in images.iterdir())
    lines = [f"{name},2026-11-29T09:{row:02d},t{row // 4}" for row, name in enumerate(names)]
    table.write_text("\n".join(["name,time,tracklet", *lines]))
    arguments = [f"--workdir={tiny_run.workdir.path}", f"--images={images}", f"--gallery={place}"]
    assert embed.main([*arguments, f"--columns={table}"]) == 0
    return place


def test_a_gallery_holds_what_a_gallery_file_holds(tiny_run, images, people, tmp_path):
    output = tmp_path / "gallery.npz"
    arguments = [f"--workdir={tiny_run.workdir.path}", f"--images={images}", f"--output={output}"]
    assert embed.main(arguments) == 0
    expected, found = Gallery.load(output), mj.Gallery.open(people).to_gallery()
    assert found.names.tolist() == expected.names.tolist()
    assert found.identities.tolist() == expected.identities.tolist()
    assert found.cameras.tolist() == expected.cameras.tolist()
    assert (found.model, found.notes) == (expected.model, expected.notes)
    np.testing.assert_array_equal(found.visible, expected.visible)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-5)
    np.testing.assert_allclose(found.parts, expected.parts, atol=1e-5)


def test_only_what_is_new_or_changed_is_embedded_again(
    tiny_run, images, tmp_path, monkeypatch, capsys
):
    crops, place = tmp_path / "crops", tmp_path / "people.lance"
    crops.mkdir()
    paths = sorted(images.iterdir())[:7]
    for path in paths[:5]:
        shutil.copy(path, crops)
    monkeypatch.setattr(growing, "_CHUNK", 2)
    write, written = mj.gallery.store.GalleryStore.append, []

    def append_two(self, *arguments, **columns):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(columns["names"])
        return write(self, *arguments, **columns)

    monkeypatch.setattr(mj.gallery.store.GalleryStore, "append", append_two)
    arguments = [f"--workdir={tiny_run.workdir.path}", f"--images={crops}", f"--gallery={place}"]
    assert embed.main(arguments) == 130
    assert len(mj.Gallery.open(place)) == 4
    monkeypatch.setattr(mj.gallery.store.GalleryStore, "append", write)
    capsys.readouterr()
    assert embed.main(arguments) == 0
    assert "5 images; 1 added, 0 replaced, 4 there already" in capsys.readouterr().out
    shutil.copy(paths[5], crops)
    shutil.copyfile(paths[6], crops / paths[0].name)
    assert embed.main(arguments) == 0
    assert "6 images; 1 added, 1 replaced, 4 there already" in capsys.readouterr().out
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(paths[1], other)
    arguments[1] = f"--images={other}"
    assert embed.main(arguments) == 0
    assert (other / paths[1].name).as_posix() in mj.Gallery.open(place).names()


@pytest.fixture(scope="module")
def network(tiny_run):
    return mj.load(tiny_run.workdir.path)


def names_found(place, query, network, *, top=100, **limits):
    """The matches of a query, as `magnifier search` finds them."""
    kept = Gallery.load(place) if place.suffix == ".npz" else mj.Gallery.open(place)
    found = search_images(kept, [query], top=top, limits=Limits(**limits), model=network)
    return list(found.queries[0].names), list(found.queries[0].distances)


def test_searches_leave_out_what_they_are_told_to(people, query, network):
    camera = query.name.split("_c")[1][0]
    everything, distances = names_found(people, query, network)
    others, _ = names_found(people, query, network, exclude={"camera": None})
    assert others == [name for name in everything if f"_c{camera}" not in name]
    assert 0 < len(others) < len(everything)
    early, _ = names_found(
        people, query, network, where="time < '2026-11-29T09:04'", exclude={"tracklet": "t7"}
    )
    assert len(early) == 4
    rest, _ = names_found(people, query, network, exclude={"tracklet": "t0"})
    assert len(rest) == len(everything) - 4
    near, _ = names_found(people, query, network, max_distance=distances[2])
    assert near == everything[:3]
    with pytest.raises(mj.UserError, match="--exclude tracklet=3"):
        names_found(people, query, network, exclude={"tracklet": None})


def test_searches_list_tracklets(people, images, query, network):
    store = mj.Gallery.open(people)
    found = search_images(store, [query], top=100, tracklets=True, model=network)
    # The first image of each run of four, of each person and each camera in it.
    names = sorted(path.name for path in images.iterdir())
    first = {}
    for row, name in enumerate(names):
        first.setdefault((row // 4, name[:7]), name)
    assert sorted(found.queries[0].names) == sorted(first.values())
    assert len(first) < len(names)
    of_camera = Limits(where="camera = 2")
    some = search_images(store, [query], top=100, tracklets=True, model=network, limits=of_camera)
    assert sorted(some.queries[0].names) == sorted(
        name for name in first.values() if name[6] == "2"
    )


def test_names_tell_the_tracklets_of_new_images(tiny_run, images, network, tmp_path):
    folder = tmp_path / "video"
    folder.mkdir()
    source = min(images.iterdir())
    names = ["0001C1T0001F001.jpg", "0001C1T0001F002.jpg", "7_c2.jpg"]
    for name in names:
        shutil.copy(source, folder / name)
    store = mj.Gallery.open(tmp_path / "video.lance", network=network, create=True)
    growing.embed_into(network, folder, store, progress=False, say=lambda text: None)
    assert store.known("tracklet") == dict(
        zip(names, ["0001C1T0001", "0001C1T0001", None], strict=True)
    )


def test_the_command_says_nobody_and_lists_others(people, query, capsys):
    arguments = [f"--gallery={people}", "--query", str(query)]
    assert search.main([*arguments, "--max-distance=0"]) == 0
    assert "nobody" in capsys.readouterr().out
    limits = ["--where=camera >= 0", "--exclude=camera", "--max-distance=9", "--top=3"]
    assert search.main([*arguments, *limits]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line and line[0].isdigit()] == ["1", "2", "3"]


def test_a_gallery_file_is_filtered_alike(people, query, network, tmp_path):
    output = tmp_path / "people.npz"
    assert gallery.main(["export", str(people), str(output)]) == 0
    limits = {"exclude": {"camera": None}, "where": "camera = 2 or identity in (1, 3)"}
    stored, _ = names_found(people, query, network, **limits)
    assert stored == names_found(output, query, network, **limits)[0]
    assert stored


def test_galleries_are_looked_after(people, tmp_path, capsys):
    copy, output = tmp_path / "copy.lance", tmp_path / "people.npz"
    assert gallery.main(["export", str(people), str(output), "--where=camera = 1"]) == 0
    assert gallery.main(["export", str(people), str(output)]) == 2
    assert gallery.main(["import", str(copy), str(output)]) == 0
    exported = Gallery.load(output)
    assert set(exported.cameras.tolist()) == {1}
    assert mj.Gallery.open(copy).names().tolist() == exported.names.tolist()
    assert gallery.main(["import", str(copy), str(output)]) == 2
    assert "is in" in capsys.readouterr().err
    assert gallery.main(["import", str(copy), str(output), "--replace"]) == 0
    assert gallery.main(["delete", str(copy), "--names", str(exported.names[0])]) == 0
    assert "1 images removed" in capsys.readouterr().out
    assert gallery.main(["tidy", str(copy)]) == 0
    assert gallery.main(["check", str(copy)]) == 0
    assert f"all {len(exported) - 1} images" in capsys.readouterr().out
    assert gallery.main(["info", str(people)]) == 0
    said = capsys.readouterr().out
    for words in ("magnifier", "column, time", "tracklet", "euclidean"):
        assert words in said


def test_verify_notes_thresholds_that_searches_use(people, query, network, tmp_path, capsys):
    copy = tmp_path / "people.lance"
    shutil.copytree(people, copy)
    assert search.main([f"--gallery={copy}", "--query", str(query), "--fpr=1e-2"]) == 2
    assert "magnifier gallery verify" in capsys.readouterr().err
    assert gallery.main(["verify", str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.lstrip().startswith("1e-02")]
    threshold = mj.Gallery.open(copy).notes["thresholds"]["points"][0]["threshold"]
    assert float(line.split()[-1]) == pytest.approx(threshold, rel=1e-3)
    everything = names_found(copy, query, network)[1]
    near = names_found(copy, query, network, fpr=1e-2)[1]
    assert near == [distance for distance in everything if distance < threshold]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("1=1; drop table x", "cannot be read at '; drop table x'"),
        ("camera = 'x'", "camera is a whole number"),
        ("camera = 3 or", "at its end"),
        ("repeat(name, 100000000) = 'x'", "There is no column 'repeat'"),
        ("\x1b[31m", r"cannot be read at '\x1b[31m'"),
    ],
)
def test_filters_that_cannot_be_read_are_one_line(people, query, where, said, capsys):
    assert search.main([f"--gallery={people}", "--query", str(query), f"--where={where}"]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert "\x1b" not in message


@pytest.mark.slow
def test_two_processes_share_the_work(tiny_run, images, tmp_path):
    """Both make the gallery at once, and each embeds every second image."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = tmp_path / "people.lance"
    arguments = [f"--workdir={tiny_run.workdir.path}", f"--images={images}", f"--gallery={place}"]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "magnifier_jax.commands.embed", *arguments],
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": str(index),
            },
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    for process in running:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "added, 0 replaced, 0 there already" in output
    names = sorted(path.name for path in images.iterdir())
    assert sorted(mj.Gallery.open(place).names()) == names
