import re
from xml.etree import ElementTree

import numpy as np
import pytest

from input_pipeline.dataset import PALETTE
from magnifier_jax.evaluation.report.charts import Curve, chart
from magnifier_jax.evaluation.report.curves import curves
from magnifier_jax.evaluation.report.drawing import (
    Mark,
    Ranking,
    Shown,
    overlay,
    part_map_sheet,
    ranking_sheet,
)


def flat(value):
    return np.full((64, 32, 3), value, np.uint8)


def test_borders_tell_right_from_wrong_in_order():
    matches = tuple(
        Shown(flat(9), ("0.123", "a very long name of an image.jpg"), mark)
        for mark in (Mark.RIGHT, Mark.WRONG, Mark.UNKNOWN)
    )
    rankings = [Ranking(Shown(flat(9)), matches), Ranking(Shown(None), matches[:1])]
    drawn = np.asarray(ranking_sheet(rankings, title="Title"))
    columns = {
        mark: np.flatnonzero((drawn == np.array(mark.value)).all(-1).sum(0) > 180)
        for mark in (Mark.RIGHT, Mark.WRONG)
    }
    assert len(columns[Mark.RIGHT])
    assert len(columns[Mark.WRONG])
    assert columns[Mark.RIGHT].max() < columns[Mark.WRONG].min()
    one = ranking_sheet(rankings[:1]).height
    assert drawn.shape[0] > one > 192


def test_many_matches_take_several_rows():
    def sheet(matches, **options):
        rankings = [
            Ranking(Shown(flat(9)), (Shown(flat(9)),) * matches),
            Ranking(query, ()),
        ]
        return ranking_sheet(rankings, **options)

    query = Shown(flat(9), ("a name",))
    one, three = sheet(4, columns=4), sheet(9, columns=4)
    assert one.width == three.width == sheet(4).width
    rows = one.height / 2
    assert three.height == pytest.approx(4 * rows, abs=20)


def test_part_maps_are_tinted_by_the_palette_and_background_darkened():
    part_map = np.zeros((4, 2), np.uint8)
    part_map[2:] = 3
    mixed = overlay(flat(200), part_map)
    assert (mixed[:32] == 70).all()
    np.testing.assert_allclose(mixed[40, 5], 0.45 * 200 + 0.55 * PALETTE[3].astype(float), atol=1)


def test_part_map_sheet_holds_every_pair_and_the_legend():
    images = np.stack([flat(value) for value in (10, 90, 170)])
    sheet = np.asarray(part_map_sheet(images, np.full((3, 8, 4), 5), columns=2))
    for value in (10, 90, 170):
        assert (sheet == value).all(-1).sum() >= 192 * 96
    assert (sheet == PALETTE[7]).all(-1).sum() >= 100


def test_curves_show_what_was_logged_and_nothing_else():
    records = [{"step": step, "total": 10 / step, "learning_rate": 0.1} for step in range(1, 900)]
    records += [{"step": step, "set<1>/mAP": 0.5, "set<1>/rank1": 0.6} for step in (100, 899)]
    drawn = [ElementTree.fromstring(svg) for svg in curves(records)]
    titles = [svg.attrib["aria-label"] for svg in drawn]
    assert titles == ["Total loss", "Learning rate", "set<1>"]
    line = next(element for element in drawn[0].iter() if element.tag.endswith("polyline"))
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) <= 400
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # Falling: y grows downwards.


@pytest.mark.parametrize("values", [(0.0,), (0.0, 0.0), (5.0, 5.0), (-1.0, 1e9), (1e-9, 2e-9)])
def test_charts_of_any_range_stay_inside(values):
    svg = chart("odd", [Curve("a", tuple(range(len(values))), values)])
    points = re.search(r'points="([^"]*)"', svg)
    assert points is not None
    for x, y in (map(float, point.split(",")) for point in points[1].split()):
        assert 0 <= x <= 460
        assert 0 <= y <= 250
