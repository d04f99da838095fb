"""`mj.load(…).embed(…)` on work directories and on exported files."""

import json
import logging
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import DataError, FilesError, UserError
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import padded_size
from magnifier_jax.export import export_model
from magnifier_jax.interop import read_torch_file, write_torch_file

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model(tiny_run):
    # One device, as on most machines, so that batches of one are run as such.
    return load(tiny_run.workdir.path, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def paths(tiny_run):
    return sorted((tiny_run.dataset / "query").iterdir())[:5]


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """The network as files of each kind that can be loaded."""
    folder = tmp_path_factory.mktemp("exported")
    for name, kind, options in (
        ("m.safetensors", "safetensors", {}),
        ("m.pth", "torch", {}),
        ("hub", "folder", {}),
        ("inside.onnx", "onnx", {}),
        ("outside.onnx", "onnx", {"layout": "NCHW", "normalise": "outside", "l2": "outside"}),
    ):
        export_model(tiny_run.workdir.path, folder / name, format=kind, **options)
    return folder


@pytest.fixture
def bare(exported, tmp_path):
    """A file of tensors that does not say what it is."""
    path = tmp_path / "bare.pth"
    write_torch_file(path, read_torch_file(exported / "m.pth"))
    return path


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_descriptor_depends_on_neither_form_nor_company(model, paths):
    found = model.embed(paths)
    assert found.descriptors.shape == (5, model.dimension)
    assert found.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, rtol=1e-5)
    assert found.names == tuple(map(str, paths))
    assert found.positions.tolist() == [0, 1, 2, 3, 4]
    assert not found.problems
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    close(model.embed(images).descriptors, found.descriptors)
    close(model.embed(arrays).descriptors, found.descriptors)
    close(model.embed([a[..., ::-1] for a in arrays], channels="BGR").descriptors,
          found.descriptors)  # fmt: skip
    close(model.embed(arrays[3]).descriptors, found.descriptors[3:4])
    close(model.embed(paths, batch_size=2).descriptors, found.descriptors)
    mirrored = [a[:, ::-1] for a in arrays]
    close(model.embed(arrays, flip=True).descriptors, model.embed(mirrored, flip=True).descriptors)


def test_what_is_said_of_parts_belongs_together(model, paths):
    found = model.embed(paths)
    assert found.parts.shape[:2] == found.visible.shape == (5, 8)
    np.testing.assert_allclose(np.linalg.norm(found.parts, axis=2), 1, rtol=1e-4)
    assert found.visible.dtype == bool
    assert not found.visible[:, 0].any()
    assert found.part_maps.dtype == np.uint8
    assert found.part_maps.shape[0] == 5
    for seen, parts in zip(found.visible, found.part_maps, strict=True):
        shares = np.bincount(parts.ravel(), minlength=8) / parts.size
        # A part that takes a tenth of the map is visible, and one that takes nothing is not.
        assert seen[1:][shares[1:] > 0.1].all()


def test_hundreds_of_calls_compile_few_programs(model, caplog):
    crops = [RNG.integers(0, 256, (n % 7 + 20, n % 5 + 9, 3), np.uint8) for n in range(64)]
    # A device that no other test uses: what is compiled for one network is kept for the next.
    fresh = load(model.path, devices=jax.devices()[5:6])
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for count in (1, 3, 7, 2, 8, 5, 6, 4):
            fresh.embed(crops[:count])
        first = [r for r in caplog.records if r.getMessage().startswith("Compiling")]
        caplog.clear()
        for count in [*range(1, 9)] * 4:
            fresh.embed(crops[:count])
        again = [r for r in caplog.records if r.getMessage().startswith("Compiling")]
    assert not again
    assert len([r for r in first if "embed" in r.getMessage()]) == 4  # of 1, 2, 4 and 8


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(1, 64, 1), (2, 64, 2), (3, 64, 4), (33, 64, 64), (64, 64, 64), (5, 6, 6), (3, 3, 3)],
)
def test_batches_are_filled_up_to_few_sizes(count, most, expected):
    assert padded_size(count, at_most=most) == expected


def test_bad_images_are_refused_or_left_out(model, paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[1].read_bytes()[:200])
    mixed = [paths[0], broken, paths[2], tmp_path / "none.jpg"]
    with pytest.raises(FilesError, match=r"2 files cannot be used: .*broken\.jpg") as error:
        model.embed(mixed)
    assert len(error.value.problems) == 2
    found = model.embed(mixed, skip_bad=True)
    assert found.positions.tolist() == [0, 2]
    assert found.names == (str(paths[0]), str(paths[2]))
    assert [problem.path for problem in found.problems] == [broken, tmp_path / "none.jpg"]
    close(found.descriptors, model.embed([paths[0], paths[2]]).descriptors)
    nothing = model.embed([broken], skip_bad=True)
    assert nothing.descriptors.shape == (0, model.dimension)
    crop, empty = np.zeros((20, 9, 3), np.uint8), np.zeros((20, 0, 3), np.uint8)
    with pytest.raises(UserError, match=r"Image 1 cannot be embedded: the image is empty: 20 × 0"):
        model.embed([crop, empty])
    assert model.embed([crop, empty], skip_bad=True).positions.tolist() == [0]
    with pytest.raises(UserError, match="batch_size"):
        model.embed(crop, batch_size=0)


def test_weights_embed_as_the_run_does(model, exported, paths, tmp_path):
    expected = model.embed(paths)
    for name in ("m.safetensors", "m.pth", "hub"):
        loaded = load(exported / name, devices=jax.devices()[:1])
        found = loaded.embed(paths)
        close(found.descriptors, expected.descriptors)
        close(found.parts, expected.parts)
        np.testing.assert_array_equal(found.visible, expected.visible)
        assert loaded.image_size == model.image_size
        assert loaded.trained.config.model == model.trained.config.model
        assert loaded.trained.identities == model.trained.identities
        assert loaded.model_id == model.model_id


@pytest.mark.parametrize("name", ["inside.onnx", "outside.onnx"])
def test_onnx_embeds_as_the_run_does(model, exported, paths, name):
    loaded = load(exported / name)
    found = loaded.embed(paths)
    close(found.descriptors, model.embed(paths).descriptors)
    assert found.parts is None
    assert found.part_maps is None
    assert loaded.dimension == model.dimension
    close(
        loaded.embed([np.asarray(Image.open(paths[0]))[..., ::-1]], channels="BGR").descriptors,
        found.descriptors[:1],
    )
    if name == "outside.onnx":
        close(loaded.embed(paths, flip=True).descriptors, model.embed(paths, flip=True).descriptors)
    with pytest.raises(UserError, match="can be run and no more"):
        loaded.trained  # noqa: B018


def test_a_bare_file_says_what_else_it_needs(model, bare, tiny_run, paths):
    with pytest.raises(UserError, match=r"bare\.pth has no card.*bare\.pth\.json.*config="):
        load(bare)
    for config in (tiny_run.workdir.config, tiny_run.config, tiny_run.config.to_mapping()):
        loaded = load(bare, config=config, devices=jax.devices()[:1])
        close(loaded.embed(paths).descriptors, model.embed(paths).descriptors)


@pytest.mark.parametrize(
    "change",
    [
        {"input": 5},
        {"input": {"height": "x", "width": 3, "layout": "NCHW", "normalise": "outside"}},
        {"backbone": "resnet7"},
        {"network": {"num_parts": "many"}},
        {"network": {"use_magic": True}},
        {"network": None},
        {"identities": -3},
        [],
        "text",
    ],
)
def test_a_card_that_is_wrong_is_one_line(exported, bare, change):
    card = json.loads((exported / "m.pth.json").read_text())
    card = {**card, **change} if isinstance(change, dict) else change
    bare.with_name("bare.pth.json").write_text(json.dumps(card))
    with pytest.raises((UserError, DataError), match=r"bare\.pth") as error:
        load(bare)
    assert "\n" not in str(error.value)


def test_a_card_beside_a_file_says_what_it_is(model, exported, bare, paths):
    shutil.copy(exported / "m.pth.json", bare.with_name("bare.pth.json"))
    loaded = load(bare, devices=jax.devices()[:1])
    close(loaded.embed(paths).descriptors, model.embed(paths).descriptors)


def test_weights_of_another_network_are_refused(exported, bare):
    card = json.loads((exported / "m.pth.json").read_text())
    card["backbone"] = "resnet50"
    bare.with_name("bare.pth.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"shape|another network"):
        load(bare)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "does not exist"),
        ("folder", "", "holds no checkpoint"),
        ("g.npz", b"PK", "Gallery.load reads galleries"),
        ("m.onnx.json", b"{}", r"give the one that it belongs to, .*m\.onnx\."),
        ("config.json", b"{}", r"give the one that it belongs to, .*[^n]\.$"),
        ("m.xyz", b"?", "of a kind that can be loaded"),
        ("m.onnx", b"nonsense", "is not a sound ONNX file"),
        ("m.safetensors", b"nonsense", "safetensors"),
        ("m.pth", b"nonsense", r"m\.pth"),
        ("~nosuchuser", None, "no such user"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if name.startswith("~"):
        path = name
    elif content == "":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises((UserError, DataError), match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_savedmodel_says_what_runs_it(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match="TensorFlow runs"):
        load(tmp_path)
