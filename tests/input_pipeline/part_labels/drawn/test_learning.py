import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.part_labels.drawn import train
from input_pipeline.part_labels.drawn.learning import parsing_loss, shares_of_parts
from input_pipeline.part_labels.drawn.measuring import iou_of_parts
from input_pipeline.part_labels.drawn.network import Parser, Size
from input_pipeline.part_labels.drawn.weights import read_weights

TINY = Size(height=32, width=16, channels=(8, 8, 8, 8), blocks=(0, 0, 0, 0))


def test_shares_count_the_shown_pixels_of_each_cell():
    parts = np.zeros((1, 2, 4), np.uint8)
    parts[0, 0] = (3, 0, 7, 7)
    shown = np.ones((1, 2, 4), bool)
    shown[0, 1, 2:] = False
    shares = np.asarray(shares_of_parts(jnp.asarray(parts), jnp.asarray(shown)))
    expected = np.zeros((1, 1, 2, 8))
    expected[0, 0, 0, [0, 3]] = 0.75, 0.25
    expected[0, 0, 1, 7] = 0.5
    np.testing.assert_allclose(shares, expected)


def test_the_loss_is_nothing_where_all_is_right_and_ignores_what_does_not_count():
    truth = np.eye(8, dtype=np.float32)[np.arange(8)].reshape(1, 4, 2, 8)
    right = 50 * truth
    assert float(parsing_loss(jnp.asarray(right), jnp.asarray(truth))) < 1e-3
    unsure = np.zeros_like(right)
    # The cross entropy of eight equal chances, and a Dice of 2 (1/8) + 1 over 8/64 + 1 + 1.
    expected = np.log(8) + 0.5 * (1 - (2 / 8 + 1) / (8 / 64 + 1 + 1))
    assert float(parsing_loss(jnp.asarray(unsure), jnp.asarray(truth))) == pytest.approx(expected)
    counted = truth.copy()
    counted[0, 0, 0] = 0
    wrong = right.copy()
    wrong[0, 0, 0] = (0, 50, 0, 0, 0, 0, 0, 0)
    losses = [float(parsing_loss(jnp.asarray(x), jnp.asarray(counted))) for x in (right, wrong)]
    assert losses[0] == pytest.approx(losses[1])


def test_the_network_answers_at_half_the_size():
    images = np.zeros((2, 32, 16, 3), np.float32)
    logits = jax.eval_shape(
        lambda x: Parser(TINY).init_with_output(jax.random.key(0), x)[0], images
    )
    assert logits.shape == (2, 16, 8, 8)


def test_training_resumes_and_repeats_exactly(tmp_path, monkeypatch):
    settings = dataclasses.replace(
        train.TrainingSettings(),
        people=4,
        textures=6,
        small_steps=2,
        small=(32, 16),
        steps=4,
        batch=2,
        size=TINY,
    )
    monkeypatch.setattr(train, "_SAVED_EVERY", 3)
    whole = train.train_parser(settings, kept=tmp_path / "whole", progress=False)
    # The file of the unfinished training is of step 6, then of step 3.
    kept = tmp_path / "kept"
    stopped = []

    def stop(state, path):
        stopped.append(int(state.step))
        save(state, path)
        if len(stopped) == 1:
            raise KeyboardInterrupt

    save = train._save
    monkeypatch.setattr(train, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        train.train_parser(settings, kept=kept, progress=False)
    resumed = train.train_parser(settings, kept=kept, progress=False)
    assert stopped == [3, 6]
    jax.tree.map(np.testing.assert_array_equal, dict(whole.variables), dict(resumed.variables))


def test_the_command_writes_weights_with_their_card(tmp_path, monkeypatch, capsys):
    tiny = dataclasses.replace(
        train.TrainingSettings(),
        people=4,
        textures=6,
        small=(32, 16),
        batch=2,
        size=TINY,
        tested=3,
    )
    monkeypatch.setattr(train, "TrainingSettings", lambda: tiny)
    path = tmp_path / "parser.safetensors"
    arguments = ["--output", str(path), "--seed", "5", "--steps", "1", "--small-steps", "1"]
    assert train.main(arguments) == 0
    assert str(path) in capsys.readouterr().out
    card = read_weights(path).card
    assert card["license"] == "Apache-2.0"
    assert card["command"].endswith("--seed 5 --steps 1 --small-steps 1")
    assert "no image of a real person" in card["data"]
    assert set(card) >= {"iou_seen", "iou_occluded", "iou_strange", "iou_bands_seen"}
    assert [file.name for file in tmp_path.iterdir()] == ["parser.safetensors"]
    assert train.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


def test_iou_of_parts_by_hand():
    truth = [np.array([[0, 1], [1, 2]], np.uint8), np.array([[2, 2]], np.uint8)]
    found = [np.array([[0, 1], [2, 2]], np.uint8), np.array([[0, 2]], np.uint8)]
    iou = iou_of_parts(truth, found)
    np.testing.assert_allclose(iou[:3], (1 / 2, 1 / 2, 2 / 4))
    assert np.isnan(iou[3:]).all()
