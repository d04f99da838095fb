import dataclasses
import json

import numpy as np
import pytest

from magnifier_jax.training.untrained import read_untrained, write_untrained
from magnifier_jax.workdir import WorkDirectory


def evaluating(config, **values):
    return dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, **values))


def test_comes_back_where_it_can_be_compared(tiny_run):
    config, scores = tiny_run.config, tiny_run.result.untrained
    assert read_untrained(tiny_run.workdir, config) == scores
    faster = evaluating(config, batch_size=7, rerank=True)
    assert read_untrained(tiny_run.workdir, faster) == scores
    for other in (
        evaluating(config, camera_filter=False),
        evaluating(config, distance="cosine"),
        dataclasses.replace(config, data=dataclasses.replace(config.data, test="market1501")),
    ):
        assert read_untrained(tiny_run.workdir, other) == ()


@pytest.mark.parametrize("text", [None, "", "[]", '{"protocol": {}}'])
def test_what_cannot_be_read_is_not_known(tiny_run, tmp_path, text):
    workdir = WorkDirectory(tmp_path)
    if text is not None:
        workdir.untrained.write_text(text)
    assert read_untrained(workdir, tiny_run.config) == ()
    write_untrained(workdir, tiny_run.config, tiny_run.result.untrained)
    assert read_untrained(workdir, tiny_run.config) == tiny_run.result.untrained


def changed(record, **values):
    return {**record, "test_sets": [{**record["test_sets"][0], **values}]}


@pytest.mark.parametrize(
    "values",
    [
        {"mAP": "0.5"},
        {"mAP": float("nan")},
        {"mAP": 7.0},
        {"cmc": []},
        {"cmc": 3},
        {"cmc": [None]},
        {"queries": 1.5},
        {"gallery": -1},
        {"test_set": 4},
        {"reranked": {}},
        {"flipped": []},
    ],
)
def test_what_cannot_be_shown_is_said_and_left_out(tiny_run, tmp_path, caplog, values):
    """Files of before have no checksum, so that their content is looked at."""
    workdir = WorkDirectory(tmp_path)
    record = json.loads(tiny_run.workdir.untrained.read_text())
    del record["checksum"]
    workdir.untrained.write_text(json.dumps(record))
    assert read_untrained(workdir, tiny_run.config) == tiny_run.result.untrained
    workdir.untrained.write_text(json.dumps(changed(record, **values)))
    assert read_untrained(workdir, tiny_run.config) == ()
    assert f"{workdir.untrained} is not a sound record of the untrained network" in caplog.text


def test_flipped_and_cut_files_give_the_same_or_nothing(tiny_run, tmp_path):
    workdir = WorkDirectory(tmp_path)
    data = tiny_run.workdir.untrained.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(len(data), size=200):
        flipped = bytearray(data)
        flipped[place] ^= 1 << random.integers(8)
        for damaged in (bytes(flipped), data[:place], b"[" * 100_000):
            workdir.untrained.write_bytes(damaged)
            assert read_untrained(workdir, tiny_run.config) in ((), tiny_run.result.untrained)
