import dataclasses

import pytest

from input_pipeline.errors import UserError
from magnifier_jax.training.state import check_resumable, differences
from magnifier_jax.workdir import WorkDirectory

CONFIG = {"seed": 1, "data": {"name": "synthetic", "size": [64, 32]}, "log": {"every": 10}}


def test_every_differing_field_is_named():
    other = {"data": {"name": "market", "size": (64, 32), "flip": True}, "log": {"every": 10}}
    assert differences(CONFIG, CONFIG) == {}
    assert differences(CONFIG, other) == {
        "data.flip": "data.flip: (absent) → true",
        "data.name": 'data.name: "synthetic" → "market"',
        "seed": "seed: 1 → (absent)",
    }


def change(config, section, **values):
    section_of = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **{section: section_of})


def check(tiny_run, config, **options):
    said = []
    check_resumable(tiny_run.workdir, config, say=said.append, **options)
    return said


def test_the_checkpoint_decides_what_a_run_may_go_on_with(tiny_run):
    config = tiny_run.config
    assert check(tiny_run, config) == []
    changed = dataclasses.replace(change(config, "train", log_every_steps=7), seed=3)
    with pytest.raises(UserError) as caught:
        check(tiny_run, changed)
    assert "differing fields: seed: 0 → 3. Give the same" in str(caught.value)
    assert "resume_with_changes" in str(caught.value)
    assert check(tiny_run, changed, allow_changes=True) == ["Going on with changes: seed: 0 → 3"]


def test_how_often_a_run_is_looked_at_may_change(tiny_run):
    settings = {"evaluate_every_epochs": 3, "checkpoint_every_steps": 9, "keep_checkpoints": 5}
    assert check(tiny_run, change(tiny_run.config, "train", **settings)) == []


def test_other_weights_to_start_from_are_ignored_aloud(tiny_run):
    (said,) = check(tiny_run, change(tiny_run.config, "init", backbone="other.pth"))
    assert said.startswith("Ignored, for the run goes on from its own checkpoint: init.backbone")


def test_nothing_is_compared_before_the_first_checkpoint(tiny_run, tmp_path):
    workdir = WorkDirectory(tmp_path)
    workdir.write_config(dataclasses.replace(tiny_run.config, seed=9).to_mapping())
    check_resumable(workdir, tiny_run.config)
