"""The public command, as a user types it."""

import json
from collections.abc import Iterator

import pytest

import magnifier_jax as mj
from configs import quickstart
from input_pipeline.readers import read_dataset
from tests import command, forks, layouts

# Body parts are learned from all the same, and less is to be compiled.
FEWER_BRANCHES = ("--config.model.use_adversarial=False", "--config.model.use_fusion=False")


def test_trains_then_evaluates_what_it_trained(tmp_path):
    workdir = tmp_path / "run"
    plain = {"XLA_FLAGS": ""}  # With the emitters that users have.
    train = (*command.TINY, *FEWER_BRANCHES, f"--workdir={workdir}")
    trained = command.run(*train, folder=tmp_path, devices=2, **plain)
    assert trained.returncode == 0, trained.stderr
    assert "INFO" not in trained.stderr
    assert "synthetic_tiny, untrained" in trained.stdout
    assert "synthetic_tiny, trained" in trained.stdout
    assert "mINP" in trained.stdout
    record = json.loads((workdir / "evaluation.json").read_text())

    evaluate = ("--mode=evaluate", f"--workdir={workdir}")
    again = command.run(*evaluate, folder=tmp_path, devices=2, **plain)
    assert again.returncode == 0, again.stderr
    assert json.loads((workdir / "evaluation.json").read_text())["mAP"] == pytest.approx(
        record["mAP"], rel=1e-6
    )
    assert f"{100 * record['mAP']:.1f}" in again.stdout


# What the data lacks, such as images that published sets have, is said as a warning.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", sorted(layouts.LAYOUTS))
def test_trains_from_every_layout(layout, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = layouts.LAYOUTS[layout](tmp_path / "data")
    dataset = layouts.without_warnings(read_dataset, spec, tmp_path / "data")
    labelled = all(sample.part_map is not None for sample in dataset.train)
    # What the command does, without a process for each layout.
    config = quickstart.get_config()
    config.update_from_flattened_dict(
        {
            "data.train": spec,
            "data.root": str(tmp_path / "data"),
            "data.part_labels": "required" if labelled else "bands",
            "data.identities_per_batch": 4,
            "data.images_per_identity": 2,
            "model.backbone": "tiny",
            "model.parsing_features": 8,
            "model.use_adversarial": False,
            "model.use_fusion": False,
            "train.max_steps": 2,
            "evaluate.batch_size": 16,
        }
    )
    mj.train(config, tmp_path / "run", progress=False)
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert record["step"] == 2
    assert record["valid_queries"] > 0


@pytest.fixture(scope="module")
def _prepared() -> Iterator[None]:
    with forks.prepared():
        yield


@pytest.mark.usefixtures("_prepared")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/quckstart.py"], "did you mean 'configs/quickstart.py'?"),
        (["--config=configs/quickstart.py", "--config.train.epoch=3"], "did you mean 'epochs'?"),
        (["--config=configs/quickstart.py", "--config.trian.epochs=3"], "did you mean 'train'?"),
        (["--config=configs/quickstart.py", "--config.precision=bf61"], "did you mean 'bf16'?"),
        (["--config=configs/cuhk03.py"], "--config.data.root=/"),
        (["--config=configs/market1501.py", "--config.data.root=/nowhere"], "/nowhere"),
        (["--config=configs/market1501.py", "--config.data.root={tmp}"], "{tmp}"),
        (["--config=configs/ablation.py:sub"], "baseline, mask, sab, sfb"),
        (["--wrokdir=x"], "workdir"),
        (["--mode=evaluate", "--workdir={tmp}"], "holds no checkpoint"),
        ([], "--config is missing"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_that_says_what_to_do(arguments, words, tmp_path):
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    if not any(argument.startswith("--workdir") for argument in arguments):
        arguments.append(f"--workdir={tmp_path / 'run'}")
    done = command.fork(*arguments, folder=tmp_path).result()
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    assert words.replace("{tmp}", str(tmp_path)) in errors[0]


def test_importing_adds_nothing_to_that_line(tmp_path):
    done = command.run("--config=configs/quckstart.py", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
