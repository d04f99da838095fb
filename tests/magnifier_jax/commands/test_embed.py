import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from input_pipeline import files
from magnifier_jax.commands import embed
from magnifier_jax.embedding import folder, journal
from magnifier_jax.gallery import Gallery
from tests.command import KEEPS_NO_PROGRAMS, ROOT


@pytest.fixture
def images(tiny_run, tmp_path):
    place = tmp_path / "images"
    shutil.copytree(tiny_run.dataset / "query", place / "a")
    shutil.copytree(tiny_run.dataset / "bounding_box_test", place / "b")
    return place


def command(run, images, output, *options):
    return [f"--workdir={run.workdir.path}", f"--images={images}", f"--output={output}", *options]


def test_gallery_holds_what_the_network_and_the_names_tell(tiny_run, images, tmp_path, capsys):
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, images, output)) == 0
    gallery = Gallery.load(output)
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.jpg"))
    assert gallery.names.tolist() == names
    assert gallery.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(gallery.descriptors, axis=1), 1, rtol=1e-4)
    assert gallery.identities.tolist() == [int(name[2:6]) for name in names]
    assert gallery.cameras.tolist() == [int(name.split("_c")[1][0]) for name in names]
    assert gallery.parts.shape[:2] == gallery.visible.shape == (len(names), 8)
    assert not gallery.visible[:, 0].any()
    assert gallery.notes["step"] == 3
    assert gallery.notes["workdir"] == str(tiny_run.workdir.path)
    assert gallery.model.startswith("magnifier ")
    assert [path.name for path in tmp_path.iterdir() if "gallery" in path.name] == ["gallery.npz"]
    assert embed.main(command(tiny_run, images, output)) == 2
    assert "exists already" in capsys.readouterr().err


def test_resumes_after_an_interruption(tiny_run, images, tmp_path, monkeypatch):
    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    assert embed.main(command(tiny_run, images, whole, "--float16")) == 0
    monkeypatch.setattr(folder, "_CHUNK", 8)
    add = journal.Journal.add
    added = []

    def add_two(self, chunk):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(chunk.names)
        add(self, chunk)

    monkeypatch.setattr(journal.Journal, "add", add_two)
    assert embed.main(command(tiny_run, images, resumed, "--float16")) == 130
    assert not resumed.exists()
    monkeypatch.setattr(journal.Journal, "add", add)
    embedded = []
    monkeypatch.setattr(
        journal.Journal,
        "add",
        lambda self, chunk: (embedded.extend(chunk.names), add(self, chunk)),
    )
    assert embed.main(command(tiny_run, images, resumed, "--float16")) == 0
    expected, found = Gallery.load(whole), Gallery.load(resumed)
    assert not set(embedded) & {name for names in added for name in names}
    assert found.names.tolist() == expected.names.tolist()
    assert found.descriptors.dtype == np.float16
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=2e-3)
    assert not list(tmp_path.glob("*.unfinished"))


def test_resumes_after_being_killed(tiny_run, images, tmp_path):
    output = tmp_path / "killed.npz"
    code = (
        "import sys; from magnifier_jax.commands import embed; "
        "from magnifier_jax.embedding import folder; folder._CHUNK = 4; sys.exit(embed.main())"
    )
    arguments = [*command(tiny_run, images, output), "--batch_size=4"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | KEEPS_NO_PROGRAMS,
    )
    unfinished_folder = tmp_path / "killed.npz.unfinished"
    while not (unfinished_folder / "0000001.json").exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not output.exists()
    before = {path: path.read_bytes() for path in unfinished_folder.glob("000000[01].*")}
    kept = []
    finish = journal.Journal.finish

    def look_and_finish(self, names, *, extra):
        kept.extend(path.read_bytes() == data for path, data in before.items())
        finish(self, names, extra=extra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Journal, "finish", look_and_finish)
        assert embed.main(arguments) == 0
    assert len(kept) == 8
    assert all(kept)
    gallery = Gallery.load(output)
    assert len(gallery) == len(list(images.rglob("*.jpg")))
    np.testing.assert_allclose(np.linalg.norm(gallery.descriptors, axis=1), 1, rtol=1e-4)
    assert not unfinished_folder.exists()


def test_bad_images_are_all_named_and_skipped_only_on_request(tiny_run, images, tmp_path, capsys):
    output = tmp_path / "gallery.npz"
    first, last = sorted(images.rglob("*.jpg"))[:: len(list(images.rglob("*.jpg"))) - 1]
    first.write_bytes(first.read_bytes()[:300])
    last.write_text("no image")
    assert embed.main(command(tiny_run, images, output)) == 2
    errors = capsys.readouterr().err
    assert f"bad file: {first}" in errors
    assert f"bad file: {last}: not an image" in errors
    assert "--skip-bad" in errors.splitlines()[-1]
    assert not output.exists()
    assert embed.main(command(tiny_run, images, output, "--skip_bad", "--no_parts")) == 0
    gallery = Gallery.load(output)
    assert len(gallery) == len(list(images.rglob("*.jpg"))) - 2
    assert gallery.parts is None


def test_what_names_do_not_tell_is_said_and_the_rest_kept(tiny_run, images, tmp_path, capsys):
    paths = sorted((images / "a").iterdir())
    paths[0].rename(paths[0].with_name("unknown.jpg"))
    paths[1].rename(paths[1].with_name("-1_c1_000.jpg"))
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, images / "a", output)) == 0
    printed = capsys.readouterr().out
    assert f"1 of {len(paths) - 1} images tell no identity" in printed
    assert "1 image of identity −1 (junk) is left out" in printed
    gallery = Gallery.load(output)
    assert gallery.names.tolist() == [*(path.name for path in paths[2:]), "unknown.jpg"]
    assert gallery.identities.tolist() == [*(int(path.name[:4]) for path in paths[2:]), -1]
    assert gallery.cameras.tolist()[-1] == -1


def test_folders_of_persons_are_identities(tiny_run, images, tmp_path, capsys):
    for number, path in enumerate(sorted((images / "a").iterdir())):
        place = tmp_path / "query" / f"person {number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / f"{number}.jpg")
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, tmp_path / "query", output)) == 0
    printed = capsys.readouterr().out
    assert "identities are the names of folders, such as person 0" in printed
    assert "no identity" not in printed
    gallery = Gallery.load(output)
    assert gallery.identities.tolist() == [name.split("/")[0] for name in gallery.names]
    assert gallery.cameras is None


def test_cameras_are_those_of_names_and_of_folders_or_unknown(tiny_run, images, tmp_path):
    first, second, third = sorted((images / "a").iterdir())[:3]
    shots = tmp_path / "shots"
    for path, place in ((first, "cam2/0007_1.jpg"), (second, "cam2/0009_c5_2.jpg")):
        (shots / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, shots / place)
    shutil.copy(third, shots / "holiday.jpg")
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, shots, output)) == 0
    gallery = Gallery.load(output)
    found = dict(
        zip(
            gallery.names.tolist(),
            zip(gallery.identities.tolist(), gallery.cameras.tolist(), strict=True),
            strict=True,
        )
    )
    assert found == {
        "cam2/0007_1.jpg": (7, 2),
        "cam2/0009_c5_2.jpg": (9, 5),
        "holiday.jpg": (-1, -1),
    }


def test_one_person_spelled_in_two_ways_is_one(tiny_run, images, tmp_path):
    paths = sorted((images / "a").iterdir())[:2]
    for path, name in zip(paths, ("Zo\u00eb", "Zoe\u0308"), strict=True):
        place = tmp_path / "query" / name
        place.mkdir(parents=True)
        shutil.copy(path, place / f"{len(name)}.jpg")
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, tmp_path / "query", output)) == 0
    assert Gallery.load(output).identities.tolist() == ["Zo\u00eb", "Zo\u00eb"]


def test_another_folder_does_not_inherit_unfinished_work(tiny_run, images, tmp_path, monkeypatch):
    """The same names, sizes and times in another folder are other images."""
    output, other = tmp_path / "gallery.npz", tmp_path / "other"
    shutil.copytree(images, other)
    paths = sorted(other.rglob("*.jpg"))
    times = {path: path.stat() for path in paths}
    add = journal.Journal.add

    def add_one(self, chunk):
        add(self, chunk)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "_CHUNK", 8)
    monkeypatch.setattr(journal.Journal, "add", add_one)
    assert embed.main(command(tiny_run, images, output)) == 130
    monkeypatch.setattr(journal.Journal, "add", add)
    for path in paths:
        os.utime(path, ns=(times[path].st_atime_ns, times[path].st_mtime_ns))
    seen = []
    monkeypatch.setattr(
        journal.Journal, "add", lambda self, chunk: (seen.extend(chunk.names), add(self, chunk))
    )
    assert embed.main(command(tiny_run, other, output)) == 0
    assert sorted(seen) == sorted(path.relative_to(other).as_posix() for path in paths)


def test_two_writers_of_one_file_are_refused(tiny_run, images, tmp_path, capsys):
    output = tmp_path / "gallery.npz"
    with files.claim_output(output):
        code = f"""
import sys
from magnifier_jax.commands import embed
sys.exit(embed.main({command(tiny_run, images, output)!r}))
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
        )
    assert done.returncode == 2, done.stderr
    assert "is in use by" in done.stderr
    assert not output.exists()


def test_force_replaces_a_gallery(tiny_run, images, tmp_path, capsys):
    output = tmp_path / "gallery.npz"
    output.write_text("of somebody else")
    assert embed.main(command(tiny_run, images / "a", output)) == 2
    assert "--force" in capsys.readouterr().err
    assert output.read_text() == "of somebody else"
    assert embed.main(command(tiny_run, images / "a", output, "--force", "--batch_size=8")) == 0
    assert len(Gallery.load(output)) == len(list((images / "a").iterdir()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images=/nowhere"], "/nowhere does not exist"),
        (["--output=gallery.txt"], "must end with .npz"),
        (["--workdir=/nowhere"], "holds no checkpoint"),
        (["--workdir=~nosuchuser/run"], "there is no such user"),
        (["--images=~nosuchuser/images"], "there is no such user"),
        (["--output=~nosuchuser/g.npz"], "there is no such user"),
    ],
)
def test_mistakes_are_one_line(tiny_run, images, tmp_path, capsys, options, message):
    assert embed.main([*command(tiny_run, images, tmp_path / "g.npz"), *options]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]
