import json

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import PART_NAMES
from input_pipeline.errors import DataError, UserError
from input_pipeline.images.codec import read_image
from magnifier_jax.commands import explain as command
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation.branches import branch_slices
from magnifier_jax.evaluation.explain import (
    Explainer,
    PartStatistics,
    contributions,
    explain,
    least_alike,
)


@pytest.fixture(scope="module")
def explainer(tiny_run):
    return Explainer(load_trained(tiny_run.workdir.path, make_mesh(jax.devices()[:1])))


@pytest.fixture(scope="module")
def images(tiny_run):
    paths = sorted((tiny_run.dataset / "query").glob("*.jpg"))[:3]
    size = tiny_run.config.data.image_size
    return np.stack([read_image(path, image_size=size) for path in paths])


@pytest.fixture(scope="module")
def found(explainer, images):
    return explainer.explain(images[0], images)


def test_the_branches_sum_to_the_squared_distance(explainer, images, found):
    descriptors = np.asarray(explainer.embed(images).descriptor, np.float64)
    assert [each.branch for each in found.matches[0].branches] == [
        "global",
        "adversarial",
        "fusion",
    ]
    for i, match in enumerate(found.matches):
        squared = np.square(descriptors[0] - descriptors[i]).sum()
        total = sum(each.squared_distance for each in match.branches)
        # On some processors a row's last bits depend on its place in the batch.
        assert total == pytest.approx(squared, rel=1e-6, abs=1e-12)
        assert match.distance**2 == pytest.approx(total, rel=1e-12, abs=1e-15)
    assert sum(each.share for each in found.matches[1].branches) == pytest.approx(1)


def test_an_image_is_itself(found):
    same = found.matches[0]
    assert same.distance == 0
    assert all(each.share == 0 for each in same.branches)
    shown = [part.similarity for part in same.parts if part.similarity is not None]
    assert shown == pytest.approx([1.0] * len(shown), abs=1e-5)
    assert [part.name for part in same.parts] == list(PART_NAMES[1:])


def test_heat_is_the_exact_cosine_of_a_linear_branch(explainer, images, found):
    """Of a branch that is linear from its map on, the cells add up to its part of the cosine.

    Except for a constant, the neck's offset, which is what a map of zeros gives.
    """
    columns = branch_slices(explainer.trained.config)
    descriptors = np.asarray(explainer.embed(images).descriptor, np.float64)
    stats = explainer.trained.variables["batch_stats"]["global_branch"]["neck"]
    params = explainer.trained.variables["params"]["global_branch"]["neck"]
    scale = np.asarray(params["scale"]) / np.sqrt(np.asarray(stats["var"]) + 1e-5)
    offset = np.asarray(stats["bias"]) - np.asarray(stats["mean"]) * scale
    rows = columns["global"]
    for i, match in enumerate(found.matches):
        for heat, mine, other in (
            (match.query_heat["global"], 0, i),
            (match.match_heat["global"], i, 0),
        ):
            assert heat.shape == (16, 8)
            cosine = descriptors[mine, rows] @ descriptors[other, rows]
            length = np.linalg.norm(raw_descriptor(explainer, images[mine]))
            constant = offset @ descriptors[other, rows] / length
            assert heat.sum() + constant == pytest.approx(cosine, abs=1e-4)


def raw_descriptor(explainer, image):
    from magnifier_jax.training.augmentation import normalize

    pixels = normalize(jax.numpy.asarray(image[None]))
    outputs = explainer.trained.model.apply(explainer.trained.variables, pixels, train=False)
    return np.asarray(outputs.descriptor[0])


def test_a_part_that_is_hidden_has_no_similarity(explainer, images):
    black = np.zeros_like(images[:1])
    explained = explainer.explain(images[0], black)
    for part in explained.matches[0].parts:
        if part.hidden_in:
            assert part.similarity is None
            assert part.score is None
    assert set(explained.matches[0].query_heat) == {"global", "adversarial", "fusion"}


@pytest.mark.parametrize("wrong", [(0, 64, 32, 3), (1, 32, 32, 3), (1, 64, 32)])
def test_images_that_do_not_fit_are_refused(explainer, images, wrong):
    with pytest.raises(UserError, match="64 × 32"):
        explainer.explain(images[0], np.zeros(wrong, np.uint8))


def test_contributions_of_any_vectors_add_up():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50)) * np.logspace(-3, 3, 50)
    distance, found = contributions(one, other, {"a": slice(0, 7), "b": slice(7, 50)})
    assert distance == pytest.approx(np.linalg.norm(one - other), rel=1e-14)
    assert found[0].squared_distance == pytest.approx(np.square((one - other)[:7]).sum())
    assert contributions(one, one, {"a": slice(0, 50)})[1][0].share == 0


def people(rng, *, changed):
    """Part embeddings of two people who differ in one part, on a common offset of each part.

    Parts vary by different amounts between two images of one person, so that raw similarities
    mislead.
    """
    offset = 5 * rng.normal(size=(8, 16))
    spread = np.linspace(0.05, 1.2, 8)[:, None]
    who = rng.normal(size=(20, 8, 16))
    who[1] = who[0]
    who[1, changed] = rng.normal(size=16)
    identities = np.repeat(np.arange(20), 12)
    parts = offset + who[identities] + spread * rng.normal(size=(240, 8, 16))
    return parts / np.linalg.norm(parts, axis=-1, keepdims=True), identities


@pytest.mark.parametrize("changed", [1, 2, 3])
def test_the_part_that_differs_is_found_where_raw_similarities_mislead(changed):
    parts, identities = people(np.random.default_rng(changed), changed=changed)
    visible = np.ones(parts.shape[:2], bool)
    statistics = PartStatistics.fit(parts, visible, identities)
    mine, its = parts[identities == 0], parts[identities == 1]
    _, scores = statistics.compare(mine, its)
    raw = np.einsum("npc,npc->np", mine, its)
    right = (scores[:, 1:].argmin(1) + 1 == changed).mean()
    assert right > 0.8
    assert right >= (raw[:, 1:].argmin(1) + 1 == changed).mean()


def test_parts_that_few_images_show_have_no_score():
    parts, identities = people(np.random.default_rng(0), changed=1)
    visible = np.ones(parts.shape[:2], bool)
    visible[:, 3] = False
    visible[:2, 3] = True
    cameras = np.arange(len(parts)) % 3
    statistics = PartStatistics.fit(parts, visible, identities, cameras)
    assert np.isinf(statistics.deviation[3])
    assert np.isfinite(statistics.deviation[[1, 2, 4]]).all()


def test_several_matches_are_averaged(found):
    means = found.mean_parts()
    for position, part in enumerate(means):
        shown = [match.parts[position].similarity for match in found.matches]
        known = [value for value in shown if value is not None]
        if known:
            assert part.similarity == pytest.approx(np.mean(known))
        else:
            assert part.similarity is None
    if any(part.similarity is not None for part in means):
        assert least_alike(means) is not None


def test_the_command_draws_and_writes_what_it_says(tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    query, *matches = map(str, sorted((tiny_run.dataset / "query").glob("*.jpg"))[:3])
    workdir = str(tiny_run.workdir.path)
    arguments = ["--workdir", workdir, "--query", query, "--matches", *matches]
    assert command.main([*arguments, "--output", "why.png"]) == 0
    said = capsys.readouterr().out
    assert "least alike" in said
    record = json.loads((tmp_path / "why.json").read_text())
    assert record["images"] == matches
    first = record["matches"][0]
    total = sum(branch["squared_distance"] for branch in first["branches"])
    assert first["distance"] ** 2 == pytest.approx(total)
    with Image.open(tmp_path / "why.png") as drawing:
        assert drawing.size[0] > 1000
    assert command.main([*arguments, "--output", "why.png"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ([], "--matches"),
        (["--matches", "nowhere.jpg"], "nowhere.jpg"),
        (["--gallery", "nowhere.npz"], "nowhere.npz"),
        (["--matches", "QUERY", "--output", "why.jpg"], "must end with .png"),
    ],
)
def test_the_command_says_what_is_wrong(tiny_run, capsys, extra, said):
    query = str(min((tiny_run.dataset / "query").glob("*.jpg")))
    extra = [query if text == "QUERY" else text for text in extra]
    status = command.main(["--workdir", str(tiny_run.workdir.path), "--query", query, *extra])
    assert status == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_files_and_arrays_of_any_size_are_explained(tiny_run, explainer, tmp_path):
    paths = sorted((tiny_run.dataset / "query").glob("*.jpg"))[:2]
    with Image.open(paths[1]) as opened:
        large = np.asarray(opened.convert("RGB").resize((96, 200)))
        found = explain(explainer.trained, paths[0], [paths[0], str(paths[1]), opened, large])
    distances = [match.distance for match in found.matches]
    assert distances[0] == 0
    assert distances[1] == pytest.approx(distances[2], abs=1e-6)
    assert distances[3] > 0
    with pytest.raises(UserError, match="one match"):
        explain(explainer.trained, paths[0], [])
    with pytest.raises(UserError, match="uint8"):
        explain(explainer.trained, paths[0], [large / 255])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        explain(explainer.trained, paths[0], [broken])
