import numpy as np
import pytest

from input_pipeline.dataset import NUM_PARTS, TORSO, UPPER_LEG
from input_pipeline.part_labels.drawn.examples.exposure import expose
from input_pipeline.part_labels.drawn.examples.garments import dress
from input_pipeline.part_labels.drawn.examples.people import draw_plain
from input_pipeline.part_labels.drawn.examples.placement import Placement, place
from input_pipeline.part_labels.drawn.examples.surroundings import hide
from input_pipeline.part_labels.drawn.examples.textures import (
    SEEN,
    SIDE,
    Kind,
    TextureBank,
    fractal_noise,
    make_texture,
)
from input_pipeline.part_labels.drawn.examples.variation import Variation
from input_pipeline.part_labels.drawn.network import PADDING

SIZE = (64, 32)
AS_DRAWN = Placement(
    center=(0, 0), scale=(1, 1), angle=0, shear=0, bend=0, phase=(0, 0, 0, 0), mirrored=False
)


@pytest.fixture(scope="module")
def people():
    return draw_plain(8, seed=4, size=SIZE)


@pytest.fixture(scope="module")
def bank():
    return TextureBank(np.random.default_rng(2), SEEN, count=len(SEEN))


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_the_same_seed_draws_the_same_people_and_another_draws_others(people):
    again = draw_plain(8, seed=4, size=SIZE)
    np.testing.assert_array_equal(people.images, again.images)
    np.testing.assert_array_equal(people.parts, again.parts)
    assert (draw_plain(1, seed=5, size=SIZE).images[0] != people.images[0]).any()


def test_as_it_was_drawn_a_person_stays_where_it_is(people):
    layer = place(people.images[0], people.parts[0], AS_DRAWN, size=SIZE)
    np.testing.assert_array_equal(layer.parts, people.parts[0])
    # The last row and column are those just before the edge.
    np.testing.assert_allclose(layer.pixels, people.images[0], atol=0.5)
    assert layer.inside.all()


def test_mirrored_is_turned_left_to_right(people):
    mirrored = Placement(**{**vars(AS_DRAWN), "mirrored": True})
    layer = place(people.images[0], people.parts[0], mirrored, size=SIZE)
    np.testing.assert_array_equal(layer.parts, people.parts[0][:, ::-1])


def test_half_as_large_covers_a_quarter(people):
    small = Placement(**{**vars(AS_DRAWN), "scale": (0.5, 0.5)})
    layer = place(people.images[0], people.parts[0], small, size=SIZE)
    whole = (people.parts[0] > 0).sum()
    assert abs((layer.parts > 0).sum() - whole / 4) < 0.1 * whole
    assert layer.inside.sum() == SIZE[0] * SIZE[1] / 4
    assert not layer.parts[~layer.inside].any()


def test_moved_to_the_right_and_down(people):
    moved = Placement(**{**vars(AS_DRAWN), "center": (0.25, 0.25)})
    layer = place(people.images[0], people.parts[0], moved, size=SIZE)
    np.testing.assert_array_equal(layer.parts[16:, 8:], people.parts[0][:-16, :-8])


def test_other_cloth_leaves_the_background_alone(rng, people, bank):
    parts = people.parts[0]
    pixels = people.images[0].astype(np.float32)
    dressed = [dress(rng, pixels, parts, bank) for _ in range(8)]
    for image in dressed:
        np.testing.assert_array_equal(image[parts == 0], pixels[parts == 0])
    for part in (TORSO, UPPER_LEG):
        changes = [np.abs(image - pixels)[parts == part].mean() for image in dressed]
        assert max(changes) > 20


def test_what_hides_is_background_and_the_rest_is_untouched(rng, bank):
    pixels = np.full((*SIZE, 3), 50.0)
    for _ in range(8):
        hidden, covered = hide(rng, pixels, bank)
        np.testing.assert_array_equal(hidden[~covered], pixels[~covered])
        assert covered.dtype == bool


@pytest.mark.parametrize("kind", Kind)
def test_textures_differ_from_draw_to_draw(rng, kind):
    one, other = make_texture(rng, kind), make_texture(rng, kind)
    assert one.shape == (SIDE, SIDE, 3)
    assert one.dtype == np.uint8
    assert (one != other).any()


def test_noise_falls_with_frequency_as_it_is_asked_to(rng):
    noise = np.mean([np.abs(np.fft.fft2(fractal_noise(rng, 1.0))) for _ in range(20)], axis=0)
    # Along a row of frequencies, a tenth of the frequency has ten times the amplitude.
    assert noise[0, 4] / noise[0, 40] == pytest.approx(10, rel=0.4)


def test_cameras_keep_shape_and_type(rng, people, bank):
    for _ in range(12):
        image = expose(rng, people.images[0].astype(np.float32), bank)
        assert image.shape == (*SIZE, 3)
        assert image.dtype == np.uint8


def test_examples_follow_from_the_seed_and_their_number(people, bank):
    one, again, other = (Variation(people, bank, seed=s, size=SIZE) for s in (0, 0, 1))
    batch, later = one.batch(0, 6), again.batch(4, 2)
    np.testing.assert_array_equal(batch.images[4:], later.images)
    np.testing.assert_array_equal(batch.parts[4:], later.parts)
    assert (other.batch(0, 6).images != batch.images).any()


def test_the_letterbox_around_an_example_is_plain_and_does_not_count(people, bank):
    batch = Variation(people, bank, seed=0, size=SIZE).batch(0, 24)
    assert batch.parts.max() < NUM_PARTS
    outside = ~batch.shown
    assert 0 < outside.mean() < 0.4
    assert (batch.images[outside] == PADDING).all()
    assert not batch.parts[outside].any()
