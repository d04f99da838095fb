"""Images without a part map: the part terms learn as if the batch held no such images."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.dataset import NO_MAP
from magnifier_jax.model import BACKBONES, MagnifierNet, Outputs
from magnifier_jax.model.branches import AdversarialBranch, FusionBranch, GlobalBranch, ParsingHead
from magnifier_jax.model.layers import BatchNorm
from magnifier_jax.model.resnet import Backbone
from magnifier_jax.training.losses import LossWeights, total_loss

WIDE = {"dtype": jnp.float64, "param_dtype": jnp.float64}
IDENTITIES, PARTS, FEATURES = 4, 8, 8
LABELED = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
LABELS = np.arange(8) // 2
WEIGHTS = LossWeights(parts=0.5, diversity=0.3, circle=0.2)


@dataclasses.dataclass(frozen=True)
class Case:
    model: MagnifierNet
    variables: dict
    images: jax.Array
    maps: np.ndarray
    hidden: jax.Array
    run: Callable


@pytest.fixture(scope="module")
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def case(wide) -> Case:
    rng = np.random.default_rng(0)
    model = MagnifierNet(
        num_identities=IDENTITIES, backbone=BACKBONES["tiny"], parsing_features=FEATURES, **WIDE
    )
    images = jnp.asarray(rng.standard_normal((8, 32, 16, 3)))
    maps = rng.integers(0, PARTS, (8, 16, 8))
    hidden = jnp.asarray(np.isin(np.arange(PARTS), (1, 3, 5))[None])
    variables = model.init(jax.random.key(0), images, train=True, part_labels=jnp.asarray(maps))
    # Random batch statistics and scales, so that none of them can be confused with another.
    shaken = jax.tree.map(lambda x: x + 0.1 * rng.random(x.shape), variables)
    return Case(model, shaken, images, maps, hidden, whole_network(model, images, hidden))


def masked(case: Case, maps: np.ndarray, labeled: np.ndarray | None):
    """Loss, gradients and new statistics of the whole network on the whole batch."""
    given = None if labeled is None else jnp.asarray(labeled)
    return case.run(case.variables, jnp.asarray(maps), given)


def whole_network(model: MagnifierNet, images: jax.Array, hidden: jax.Array):
    """What `masked` computes, compiled once for a mask and once for none."""

    @jax.jit
    def run(variables, maps, labeled):
        def loss(params):
            outputs, changed = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                part_labels=maps,
                hidden=hidden,
                labeled=labeled,
                mutable=["batch_stats"],
            )
            total, terms = total_loss(outputs, jnp.asarray(LABELS), maps, WEIGHTS)
            return total, (terms, changed["batch_stats"])

        (_, (terms, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return terms, gradients, stats

    return run


def separate(case: Case, labeled: np.ndarray):
    """The same, by giving the labeled images alone to the pieces that need part maps."""
    rows = np.flatnonzero(labeled)
    maps = jnp.asarray(case.maps[rows])
    shared = {"num_identities": IDENTITIES, **WIDE}
    modules = {
        "backbone": Backbone(BACKBONES["tiny"], **WIDE),
        "global_branch": GlobalBranch(**shared),
        "parsing": ParsingHead(PARTS, FEATURES, **WIDE),
        "adversarial": AdversarialBranch(**shared),
        "fusion": FusionBranch(num_parts=PARTS, **shared),
    }

    def loss(params):
        stats = {}

        def run(name, *inputs, **options):
            variables = {
                "params": params[name],
                "batch_stats": case.variables["batch_stats"][name],
            }
            made, changed = modules[name].apply(
                variables, *inputs, train=True, mutable=["batch_stats"], **options
            )
            stats[name] = changed["batch_stats"]
            return made

        trunk, features = run("backbone", case.images)
        whole = run("global_branch", features)
        parsing = run("parsing", features[rows])
        cells = maps[:, ::2, ::2]
        adversarial, visible = run("adversarial", trunk[rows], part_map=cells, hidden=case.hidden)
        fusion = run("fusion", trunk[rows], cells)
        everyone = Outputs(
            descriptor=whole.neck, global_embedding=whole.embedding, global_logits=whole.logits
        )
        labeled_ones = Outputs(
            descriptor=fusion.neck,
            adversarial_embedding=adversarial.embedding,
            adversarial_logits=adversarial.logits,
            fusion_embedding=fusion.embedding,
            fusion_logits=fusion.logits,
            part_embeddings=fusion.part_embeddings,
            part_logits=fusion.part_logits,
            parsing_logits=parsing,
            visible=visible,
            part_shares=jax.nn.one_hot(cells, PARTS).mean((1, 2)),
        )
        one, terms = total_loss(everyone, jnp.asarray(LABELS), None, WEIGHTS)
        two, more = total_loss(labeled_ones, jnp.asarray(LABELS[rows]), maps, WEIGHTS)
        return one + two, ({**terms, **more, "total": one + two}, stats)

    (_, (terms, stats)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        case.variables["params"]
    )
    return terms, gradients, stats


def same(one, other, *, atol=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=atol), one, other)


def test_losses_gradients_and_statistics_are_those_of_the_labeled_images_alone(case):
    maps = np.where(LABELED[:, None, None], case.maps, NO_MAP)
    terms, gradients, stats = masked(case, maps, LABELED)
    expected, expected_gradients, expected_stats = separate(case, LABELED)
    assert terms.keys() == expected.keys()
    assert len(terms) == 10 + 2 * PARTS + 1
    same(terms, dict(expected))
    same(gradients, expected_gradients)
    same(stats, dict(expected_stats))
    # The mask matters: part terms of all images are others.
    unmasked, _, _ = masked(case, case.maps, None)
    for name in (
        "parsing",
        "adversarial_id",
        "fusion_id",
        "fusion_triplet",
        "fusion_circle",
        "diversity",
    ):
        assert abs(float(unmasked[name] - terms[name])) > 1e-6, name
    assert float(unmasked["global_id"]) == pytest.approx(float(terms["global_id"]), rel=1e-12)


def test_a_mask_of_all_images_is_no_mask(case):
    for one, other in zip(
        masked(case, case.maps, np.ones(8, bool)), masked(case, case.maps, None), strict=True
    ):
        same(one, other)


def test_a_batch_without_any_part_map_trains_the_global_branch_alone(case):
    maps = np.full_like(case.maps, NO_MAP)
    terms, gradients, stats = masked(case, maps, np.zeros(8, bool))
    assert all(np.isfinite(value) for value in terms.values())
    terms = {name: float(value) for name, value in terms.items()}
    assert terms["total"] == pytest.approx(
        terms["global_id"] + terms["global_triplet"] + 0.2 * terms["global_circle"], rel=1e-9
    )
    for branch in ("parsing", "adversarial", "fusion"):
        jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), gradients[branch])
        same(stats[branch], case.variables["batch_stats"][branch])
    assert max(float(abs(g).max()) for g in jax.tree.leaves(gradients["backbone"])) > 0


def test_batch_norm_of_some_rows(wide):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 3, 2, 4))
    rows = np.array([0, 1, 1, 0, 1, 0], bool)
    norm = BatchNorm(**WIDE)
    variables = norm.init(jax.random.key(0), x, train=True)
    y, changed = norm.apply(variables, x, train=True, rows=rows, mutable=["batch_stats"])
    chosen = x[rows].reshape(-1, 4)
    expected = (x[rows] - chosen.mean(0)) / np.sqrt(chosen.var(0) + 1e-5)
    np.testing.assert_allclose(y[rows], expected, rtol=1e-9)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * chosen.mean(0), rtol=1e-9)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * chosen.var(0, ddof=1), rtol=1e-9)
