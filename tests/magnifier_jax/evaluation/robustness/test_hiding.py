import dataclasses
import json

import jax
import numpy as np
import pytest

from input_pipeline.errors import DataError, UserError
from magnifier_jax.commands import robustness as command
from magnifier_jax.datasets import open_test_sets
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation.robustness.compared import part_distances
from magnifier_jax.evaluation.robustness.ground_truth import find_ground_truth
from magnifier_jax.evaluation.robustness.hiding import measure_robustness, robustness
from magnifier_jax.evaluation.robustness.regions import standard_regions
from magnifier_jax.evaluation.robustness.results import WHOLE, Robustness, read_robustness

REGIONS = [region for region in standard_regions() if region.name in ("torso", "box 50%")]


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(tiny_run, mesh):
    return load_trained(tiny_run.workdir.path, mesh)


@pytest.fixture(scope="module")
def test_set(tiny_run):
    return open_test_sets(tiny_run.config, progress=False)[0]


@pytest.fixture(scope="module")
def truth(tiny_run):
    return find_ground_truth(tiny_run.config.data.train, tiny_run.config.data.root)


@pytest.fixture(scope="module")
def found(trained, test_set, truth, mesh):
    networks = {"one": trained, "other": trained}
    return measure_robustness(
        networks, test_set, regions=REGIONS, truth=truth, mesh=mesh, progress=False
    )


def test_clean_figures_are_those_of_the_evaluation(tiny_run, found):
    score = tiny_run.result.scores[0].plain
    one = found.networks[0]
    assert one.clean[WHOLE].mAP == pytest.approx(score.mAP, abs=1e-9)
    assert one.clean[WHOLE].rank1 == pytest.approx(score.cmc[0])
    assert list(one.clean) == ["whole", "global", "adversarial", "fusion", "visible parts"]
    assert one.confusions[WHOLE].wrong == round(score.queries * (1 - score.cmc[0]))
    assert one.confusions[WHOLE].look_alikes is not None


def test_networks_see_the_same_covered_images(found):
    one, other = found.networks
    assert one.hidden == other.hidden
    assert [hidden.region for hidden in one.hidden] == ["torso", "box 50%"]
    torso, box = one.hidden
    assert 0.1 < torso.person < 0.9
    assert box.person > 0.3
    assert box.images == 1
    assert found.part_maps == "the dataset's part labels"
    assert torso.views[WHOLE] != one.clean[WHOLE] or box.views[WHOLE] != one.clean[WHOLE]


def test_figures_survive_json_and_stand_in_the_table(found, tmp_path):
    path = tmp_path / "robustness.json"
    path.write_text(json.dumps(found.to_mapping()))
    assert read_robustness(path) == found
    assert read_robustness(tmp_path / "none.json") is None
    path.write_text('{"networks": [3]}')
    with pytest.raises(DataError, match=r"robustness\.json"):
        read_robustness(path)
    text = found.table()
    for word in ("torso", "box 50%", "adversarial", "one, hidden", "look-alikes", "part labels"):
        assert word in text
    assert found.of("other").networks == found.networks[1:]
    assert isinstance(found.of("one"), Robustness)


def test_without_labels_the_parsing_head_says_where_parts_are(trained, test_set, mesh):
    found = measure_robustness(
        {"mine": trained}, test_set, regions=REGIONS[1:], side="gallery", mesh=mesh, progress=False
    )
    assert found.part_maps == "the parsing head of mine"
    assert found.networks[0].confusions[WHOLE].look_alikes is None
    assert found.networks[0].confusions[WHOLE].impostors
    assert "not known" in found.table()


def test_without_a_parsing_head_our_parser_says_where_parts_are(trained, test_set, mesh):
    model = dataclasses.replace(trained.config.model, use_parsing=False)
    blind = dataclasses.replace(trained, config=dataclasses.replace(trained.config, model=model))
    found = measure_robustness(
        {"mine": blind}, test_set, regions=REGIONS[:1], side="both", mesh=mesh, progress=False
    )
    assert found.part_maps == "the parser of this package"
    (torso,) = found.networks[0].hidden
    # Drawn people, like those that it learned from; it finds nobody in some of the small images.
    assert 0.5 < torso.images <= 1
    assert 0.1 < torso.person < 0.9


def test_parts_are_compared_where_both_show_them():
    @dataclasses.dataclass
    class Side:
        parts: np.ndarray
        visible: np.ndarray

    rng = np.random.default_rng(0)
    parts = rng.normal(size=(5, 3, 4)).astype(np.float32)
    parts /= np.linalg.norm(parts, axis=-1, keepdims=True)
    visible = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], bool)
    side = Side(parts, visible)
    distances = part_distances(side, side, slice(0, 5))
    for i in range(5):
        for j in range(5):
            both = visible[i] & visible[j]
            if not both.any():
                assert np.isinf(distances[i, j])
                continue
            cosines = (parts[i] * parts[j]).sum(-1)[both]
            assert distances[i, j] == pytest.approx(1 - cosines.mean(), abs=1e-6)


def test_the_command_measures_and_keeps_its_figures(tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "magnifier_jax.evaluation.robustness.hiding.standard_regions", lambda: tuple(REGIONS[:1])
    )
    output = tmp_path / "all.json"
    arguments = ["--workdir", str(tiny_run.workdir.path), "--output", str(output)]
    assert command.main(arguments) == 0
    assert "torso" in capsys.readouterr().out
    found = read_robustness(output)
    assert found is not None
    assert found.networks[0].name == tiny_run.workdir.path.name
    assert not (tiny_run.workdir.path / "robustness.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workdir", "RUN", "RUN"], "twice"),
        (["--workdir", "nowhere"], "no checkpoint"),
        (["--workdir", "RUN", "--seed", "-1"], "--seed"),
        (["--workdir", "RUN", "--data", "nothing"], "nothing"),
        (["--workdir", "RUN", "--output", "RUN/evaluation.json"], "exists already"),
    ],
)
def test_the_command_says_what_is_wrong(tiny_run, capsys, arguments, said):
    run = str(tiny_run.workdir.path)
    assert command.main([text.replace("RUN", run) for text in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_models_are_measured_by_one_call(trained, monkeypatch):
    monkeypatch.setattr(
        "magnifier_jax.evaluation.robustness.hiding.standard_regions", lambda: tuple(REGIONS[:1])
    )
    found = robustness(trained, progress=False)
    assert [network.name for network in found.networks] == ["network"]
    assert found.part_maps == "the dataset's part labels"
    with pytest.raises(UserError, match="one"):
        robustness(trained, data="synthetic:tiny,synthetic:tiny@again", progress=False)
    with pytest.raises(UserError, match="network"):
        robustness({}, progress=False)
