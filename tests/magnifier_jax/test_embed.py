import shutil

import numpy as np
import pytest

from magnifier_jax import embed, unfinished
from magnifier_jax.retrieval import Gallery

pytestmark = pytest.mark.usefixtures("quick_compiling")


@pytest.fixture
def images(tiny_run, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(tiny_run.dataset / "query", folder / "a")
    shutil.copytree(tiny_run.dataset / "bounding_box_test", folder / "b")
    return folder


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


def test_goes_on_after_an_interruption(tiny_run, images, tmp_path, monkeypatch):
    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    assert embed.main(command(tiny_run, images, whole, "--float16")) == 0
    monkeypatch.setattr(embed, "_CHUNK", 8)
    add = unfinished.Unfinished.add
    added = []

    def add_two(self, chunk):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(chunk.names)
        add(self, chunk)

    monkeypatch.setattr(unfinished.Unfinished, "add", add_two)
    assert embed.main(command(tiny_run, images, resumed, "--float16")) == 130
    assert not resumed.exists()
    monkeypatch.setattr(unfinished.Unfinished, "add", add)
    described = []
    monkeypatch.setattr(
        unfinished.Unfinished,
        "add",
        lambda self, chunk: (described.extend(chunk.names), add(self, chunk)),
    )
    assert embed.main(command(tiny_run, images, resumed, "--float16")) == 0
    expected, found = Gallery.load(whole), Gallery.load(resumed)
    assert not set(described) & {name for names in added for name in names}
    assert found.names.tolist() == expected.names.tolist()
    assert found.descriptors.dtype == np.float16
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=2e-3)
    assert not list(tmp_path.glob("*.unfinished"))


def test_bad_pictures_are_all_named_and_skipped_only_on_request(tiny_run, images, tmp_path, capsys):
    output = tmp_path / "gallery.npz"
    first, last = sorted(images.rglob("*.jpg"))[:: len(list(images.rglob("*.jpg"))) - 1]
    first.write_bytes(first.read_bytes()[:300])
    last.write_text("no picture")
    assert embed.main(command(tiny_run, images, output)) == 2
    errors = capsys.readouterr().err
    assert f"bad file: {first}" in errors
    assert f"bad file: {last}: not a picture" in errors
    assert "--skip_bad" in errors.splitlines()[-1]
    assert not output.exists()
    assert embed.main(command(tiny_run, images, output, "--skip_bad", "--no_parts")) == 0
    gallery = Gallery.load(output)
    assert len(gallery) == len(list(images.rglob("*.jpg"))) - 2
    assert gallery.parts is None


def test_names_that_tell_nothing_are_said(tiny_run, images, tmp_path, capsys):
    for number, path in enumerate(sorted(images.rglob("*.jpg"))):
        path.rename(path.with_name(f"picture {number}.jpg"))
    output = tmp_path / "gallery.npz"
    assert embed.main(command(tiny_run, images / "a", output)) == 0
    assert "Identities and cameras are not kept" in capsys.readouterr().out
    assert Gallery.load(output).identities is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images=/nowhere"], "/nowhere does not exist"),
        (["--output=gallery.txt"], "must end with .npz"),
        (["--workdir=/nowhere"], "holds no checkpoint"),
    ],
)
def test_mistakes_are_one_line(tiny_run, images, tmp_path, capsys, options, message):
    assert embed.main([*command(tiny_run, images, tmp_path / "g.npz"), *options]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]
