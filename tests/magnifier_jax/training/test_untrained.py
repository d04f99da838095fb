import dataclasses

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
