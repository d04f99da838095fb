import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.training.optimizer import learning_rate, make_optimizer, moving_average

RECIPE = {
    "base": 3.5e-4,
    "warmup_epochs": 10,
    "warmup_factor": 0.01,
    "decay_epochs": (40, 70),
    "decay_factor": 0.1,
}


@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0, 0.01), (5, 0.505), (9, 0.901), (10, 1), (39, 1), (40, 0.1), (69, 0.1), (70, 0.01)],
)
def test_learning_rate_of_the_published_recipe(epoch, share):
    rate = learning_rate(jnp.int32(epoch), **RECIPE)
    np.testing.assert_allclose(rate, 3.5e-4 * share, rtol=1e-5)


def test_no_warmup():
    recipe = {**RECIPE, "warmup_epochs": 0, "warmup_factor": 1.0}
    np.testing.assert_allclose(learning_rate(jnp.int32(0), **recipe), 3.5e-4, rtol=1e-6)


@pytest.mark.parametrize(
    ("epoch", "share"), [(0, 0.01), (5, 0.505), (10, 1), (40, 0.75), (70, 0.25), (100, 0)]
)
def test_cosine_after_the_warmup(epoch, share):
    """Half a cosine over epochs 10 to 100: cos 60° = 1/2 at a third of it."""
    rate = learning_rate(jnp.int32(epoch), **RECIPE, cosine_epochs=100)
    np.testing.assert_allclose(rate, 3.5e-4 * share, rtol=1e-5, atol=1e-10)


def test_moving_average_forgets_its_beginning():
    """By hand: d is 1/10, 2/11 and 3/12, until it is the given 0.2."""
    average = {"a": jnp.array(1.0)}
    for step, (value, wanted) in enumerate([(2.0, 1.9), (3.0, 2.8), (0.0, 0.56)]):
        average = moving_average(average, {"a": jnp.array(value)}, step=jnp.int32(step), decay=0.2)
        np.testing.assert_allclose(average["a"], wanted, rtol=1e-6)


def test_adam_adds_the_penalty_to_the_gradient():
    """Two steps by hand, in the formulation of Kingma and Ba with L2 in the gradient."""
    parameter, l2, rate = 2.0, 0.1, 0.5
    optimizer = make_optimizer("adam", l2=l2)
    value = jnp.array(parameter)
    state = optimizer.init(value)
    first = second = 0.0
    for step, gradient in enumerate((0.3, -1.2), start=1):
        updates, state = optimizer.update(jnp.array(gradient), state, value)
        value = value - rate * updates
        whole = gradient + l2 * parameter
        first = 0.9 * first + 0.1 * whole
        second = 0.999 * second + 0.001 * whole**2
        mean, variance = first / (1 - 0.9**step), second / (1 - 0.999**step)
        parameter -= rate * mean / (variance**0.5 + 1e-8)
        np.testing.assert_allclose(value, parameter, rtol=1e-5)


def test_sgd_with_and_without_momentum():
    for momentum, wanted in ((0.0, 1.0), (0.9, 1.9)):
        optimizer = make_optimizer("sgd", l2=0.0, momentum=momentum)
        state = optimizer.init(jnp.zeros(()))
        for _ in range(2):
            update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        np.testing.assert_allclose(update, wanted)


def test_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="adam or sgd"):
        make_optimizer("adamw", l2=0.0)
