"""How components stand out from their surroundings, and what clusters take in: points of which both are known."""

import numpy as np
import pytest

from sting.isolate import cluster
from sting.isolate.coherence import contrast, gathered

from .test_cluster import line, make_components, strip

WIDEST = 2.7  # 11 pixels


class TestContrast:
    def test_is_the_part_above_what_is_wide(self):
        rows, columns = range(10, 40), range(5, 45)
        amplitude = np.where((np.arange(30)[:, None] >= 14) & (np.arange(30)[:, None] < 17), 1.0, 0.4) + np.zeros((30, 40))
        components = make_components(strip(columns, rows, 0, amplitude=amplitude.ravel()))
        found = contrast(components, WIDEST).reshape(30, 40)
        assert found[14:17] == pytest.approx(0.6)
        assert found[:14] == pytest.approx(0.0)
        assert found[17:] == pytest.approx(0.0)

    def test_what_is_alone_stands_out(self):
        assert contrast(make_components(line(20, 20, 5.0), line(40, 10, 7.0)), WIDEST) == pytest.approx(1.0)

    def test_what_is_wide_does_not_unless_what_is_wider_counts(self):
        components = make_components(strip(range(5, 45), range(15, 30), 0))
        assert contrast(components, WIDEST) == pytest.approx(0.0)
        assert contrast(components, 5.0) == pytest.approx(1.0)

    def test_other_velocities_are_no_surroundings(self):
        narrow = strip(range(5, 45), range(24, 27), 0, 5.0)
        wide = strip(range(5, 45), range(10, 40), 0, 7.0, amplitude=3.0)
        components = make_components(narrow, wide)
        ours = components.table["velocity"].value == 5.0
        assert contrast(components, WIDEST)[ours] == pytest.approx(1.0, abs=1e-6)

    def test_in_parts(self, monkeypatch):
        components = make_components(strip(range(5, 45), range(20, 30), 0.05), strip(range(20, 30), range(10, 40), 0, 8))
        whole = contrast(components, WIDEST)
        monkeypatch.setattr("sting.isolate.coherence.CHUNK", 3)
        assert contrast(components, WIDEST) == pytest.approx(whole)


def pixels(x, y):
    """Places in beams of 4 pixels, of a rectangle of pixels."""
    y, x = np.meshgrid(y, x, indexing="ij")
    return np.array([x.ravel(), y.ravel()]) / 4


def gather(labels, place, width=None, contrast=None, velocity=None):
    n = len(labels)
    given = [np.full(n, value) if given is None else given for given, value in ((velocity, 5.0), (width, -1.6), (contrast, 0.9))]
    return gathered(np.asarray(labels), place, *given, np.ones(n), tolerance=0.25, contrast_min=0.5)


class TestGathered:
    def test_cores_of_one_structure_become_one_with_all_between(self):
        place = pixels(range(30), range(3))
        column = 4 * place[0]
        labels = np.select([column < 8, column > 20], [0, 1], -1)
        found = gather(labels, place)
        assert len(set(found)) == 1
        assert found[0] >= 0

    def test_two_that_do_not_touch_remain_two(self):
        place = np.hstack([pixels(range(10), range(3)), pixels(range(14, 24), range(3))])
        labels = np.repeat([0, 1], 30)
        assert (gather(labels, place) == labels).all()
        together = np.hstack([pixels(range(10), range(3)), pixels(range(10, 20), range(3))])
        apart = np.repeat([5.0, 5.5], 30)
        assert (gather(labels, together, velocity=apart) == labels).all()

    def test_broader_lines_and_what_does_not_stand_out_are_left_out(self):
        place = pixels(range(20), range(4))
        row = np.round(4 * place[1])
        found = gather(np.zeros(80, int), place, width=np.where(row == 0, -1.3, -1.6), contrast=np.where(row == 3, 0.4, 0.9))
        assert (found == np.where((row == 0) | (row == 3), -1, 0)).all()

    def test_a_blend_with_more_behind_it_must_be_narrower(self):
        place = pixels(range(20), range(4))
        row = np.round(4 * place[1])
        # by 0.25 of the width at most where it stands out wholly, by 0.1 where it does to 0.55
        found = gather(np.zeros(80, int), place, width=np.where(row == 0, -1.4, -1.6), contrast=np.where(row == 0, 0.7, 1.0))
        assert (found == np.where(row == 0, -1, 0)).all()
        whole = gather(np.zeros(80, int), place, width=np.where(row == 0, -1.4, -1.6), contrast=np.ones(80))
        assert (whole == 0).all()

    def test_what_does_not_stand_out_keeps_what_it_had(self):
        place = pixels(range(20), range(4))
        labels = np.where(4 * place[0] < 10, 0, -1)
        assert (gather(labels, place, contrast=np.full(80, 0.1)) == labels).all()

    def test_the_narrowest_comes_first(self):
        place = pixels(range(20), range(4))
        wide = 4 * place[0] >= 10
        # both lie within the tolerance of the broader one
        found = gather(np.where(wide, 0, 1), place, width=np.where(wide, -1.5, -1.7))
        assert set(found) == {1}

    def test_no_cluster(self):
        assert (gather([-1, -1, -1], pixels(range(3), [0])) == -1).all()


def test_a_streamer_on_a_plateau_is_one_cluster():
    ridge = strip(range(5, 45), range(24, 27), 0.002)
    plateau = strip(range(5, 45), [*range(8, 24), *range(27, 42)], 0.002, sigma=0.3, amplitude=0.3)
    # averages over neighbours would mix the two along the border
    clusters = cluster(make_components(ridge, plateau), smoothing=0)
    table = clusters.table
    ours = (table["amplitude"].value == 1.0) & (np.abs(table["x"] - 24.5) < 17)
    assert len(set(table["cluster"][ours])) == 1
    (number,) = set(table["cluster"][ours])
    assert number >= 0
    assert (table["amplitude"][table["cluster"] == number].value == 1.0).all()
    assert clusters.summary["contrast"][number] > 0.6
