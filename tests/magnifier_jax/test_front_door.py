"""`import magnifier_jax as mj`, as people use it."""

import ast
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import magnifier_jax as mj
from configs import quickstart
from input_pipeline.errors import DataError, UserError

TIMED = """
import sys, time
began = time.perf_counter()
import magnifier_jax as mj
names = dir(mj)
spent = time.perf_counter() - began
heavy = {"jax", "flax", "numpy", "PIL", "tensorflow", "orbax"} & set(sys.modules)
assert not heavy, heavy
assert {"load", "train", "Gallery"} <= set(names)
print(spent)
"""


def test_importing_takes_no_time_and_no_jax():
    times = []
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        times.append(float(run.stdout))
    assert min(times) < 0.3


def test_every_name_is_there_and_typed():
    for name in mj.__all__:
        assert name in dir(mj)
        assert getattr(mj, name) is not None
    tree = ast.parse(pathlib.Path(mj.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    ]
    typed = {alias.asname for node in block.body for alias in node.names}
    assert typed | {"__version__"} == set(mj.__all__)
    assert pathlib.Path(mj.__file__).with_name("py.typed").exists()


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        mj.lode  # noqa: B018
    assert not hasattr(mj, "lode")


def test_export_is_a_function_whatever_was_imported_before():
    import magnifier_jax.export.card

    assert callable(mj.export)
    assert magnifier_jax.export.card.Card is mj.export.Card
    with pytest.raises(UserError, match=r"no format 'onx'.*onnx"):
        mj.export("runs/none", "m.onnx", format="onx")


def test_the_first_example(tiny_run, tmp_path):
    model = mj.load(tiny_run.workdir.path)
    paths = sorted((tiny_run.dataset / "query").iterdir())[:6]
    found = model.embed(paths)
    gallery = mj.Gallery.build(found, names=[path.name for path in paths])
    result = gallery.search(model.embed(paths[2]), top=3)
    assert result.names[0, 0] == paths[2].name
    assert np.all(np.diff(result.distances[0]) >= 0)
    identities = np.array([0, 0, 0, 1, 1, 1])
    measured = mj.evaluate(
        found.descriptors[::3],
        found.descriptors,
        identities[::3],
        identities,
        np.array([1, 1]),
        np.array([1, 2, 3, 1, 2, 3]),
    )
    assert 0 < measured.mAP <= 1
    (block,) = mj.rerank(found.descriptors[:2], found.descriptors[2:])
    assert block.values.shape == (2, 4)
    assert model.dimension == found.descriptors.shape[1]
    assert str(tiny_run.workdir.path) in repr(model)


def test_a_model_is_measured_as_in_training(tiny_run):
    model = mj.load(tiny_run.workdir.path)
    (score,) = model.evaluate("synthetic:tiny", root=tiny_run.dataset.parent, progress=False)
    assert score.plain.mAP == pytest.approx(tiny_run.result.scores[0].plain.mAP, abs=1e-3)
    with pytest.raises(UserError, match="no setting 'rerenk'"):
        model.evaluate("synthetic:tiny", rerenk=True)


def test_training_takes_a_configuration_in_any_form(tiny_run, tmp_path):
    from magnifier_jax.api import read_config

    expected = read_config(quickstart.get_config())
    assert read_config("quickstart") == expected
    assert read_config(quickstart.__file__) == expected
    assert read_config(pathlib.Path(quickstart.__file__)) == expected
    assert read_config(expected) is expected
    assert read_config(expected.to_mapping()) == expected
    assert read_config(tiny_run.workdir.config) == tiny_run.config
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "broken.json").write_text("{")
    for wrong, message in (
        ("nowhere.py", "no configuration nowhere.py"),
        (tmp_path / "broken.py", "broken.py has a mistake; ModuleNotFoundError"),
        (17, "int is no configuration"),
    ):
        with pytest.raises(UserError, match=message):
            mj.train(wrong, tmp_path / "run")
    with pytest.raises(DataError, match=r"broken\.json is not a sound"):
        mj.train(tmp_path / "broken.json", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_resumes_a_finished_run(tiny_run):
    done = mj.train(tiny_run.config, tiny_run.workdir.path, progress=False)
    assert done.step == tiny_run.result.step
    assert done.finished


def test_what_people_print_is_short():
    descriptors = np.eye(3, 4, dtype=np.float32)
    found = mj.Embeddings(descriptors, part_maps=np.zeros((3, 2, 1), np.uint8))
    assert repr(found) == "Embeddings(descriptors [3, 4], part_maps [3, 2, 1])"
    gallery = mj.Gallery.build(found, names=["a", "b", "c"], cameras=[1, 2, 3])
    assert repr(gallery) == "Gallery(descriptors [3, 4], cameras [3], metric='euclidean')"
    query = descriptors[:2] + np.float32(0.1)
    measured = mj.evaluate(query, found, [0, 1], [0, 1, 2], camera_filter=False, max_rank=5)
    assert repr(measured) == (
        "Evaluation(mAP 100.00%, mINP 100.00%, rank-1 100.00%, rank-5 100.00%, "
        "2 of 2 queries, gallery of 3)"
    )


def test_errors_can_be_caught_by_their_root():
    assert issubclass(mj.UserError, mj.MagnifierError)
    assert issubclass(mj.DataError, mj.MagnifierError)
    with pytest.raises(mj.MagnifierError, match="does not exist"):
        mj.load("runs/nowhere")
