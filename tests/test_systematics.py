"""How far points move with the voxels they are made of: paths beside each other, and a selection."""

import numpy as np
import pytest

from sting.isolate import select
from sting.isolate.systematics import largest_shift


def path(x, y=0.0, v=0.0):
    return np.array(np.broadcast_arrays(np.asarray(x, float), y, v))


class TestLargestShift:
    def test_beside_a_line(self):
        points, other = path([1.0, 2.5, 4.0]), path(np.linspace(0, 5, 4), 0.3, -0.2)
        assert largest_shift(points, [other]) == pytest.approx(path([0.0] * 3, 0.3, 0.2))

    def test_is_the_largest_of_several_whichever_way_they_run(self):
        points = path([1.0, 2.0])
        near, far = path([0, 5], 0.1, 0.5), path([5, 0], -0.4, 0.0)
        assert largest_shift(points, [near, far]) == pytest.approx(path([0.0, 0.0], 0.4, 0.5))

    def test_to_a_slope_it_is_the_shortest_way(self):
        other = np.array([[0.0, 4.0], [0.0, 4.0], [1.0, 5.0]])
        # from (2, 0) to (1, 1), where the velocity is 2
        assert largest_shift(path([2.0], 0.0, 2.5), [other])[:, 0] == pytest.approx([1, 1, 0.5])

    def test_beyond_the_ends_nothing_is_said(self):
        points = path([-1.0, 1.0, 9.0])
        assert largest_shift(points, [path([0, 3, 5], 0.3)])[1] == pytest.approx([0, 0.3, 0])

    def test_without_others(self):
        assert (largest_shift(path([1.0, 2.0]), []) == 0).all()
        assert (largest_shift(path([1.0, 2.0]), [path([1.0])]) == 0).all()


@pytest.fixture(scope="module")
def selection(protostar):
    scene, clusters = protostar
    return select(clusters, scene.star_position)


class TestSelection:
    def test_adds_to_the_errors_and_moves_no_point(self, selection):
        noise, both = (selection.streamer(6, systematic=choice) for choice in (False, True))
        for one, other in zip(noise.data, both.data, strict=True):
            assert (one == other).all()
        added = np.array(both.uncertainties) ** 2 - np.array(noise.uncertainties) ** 2
        assert (added >= -1e-12).all()
        # across the streamer and in velocity, where each point has others beside it
        assert (np.count_nonzero(added > 1e-8, axis=1) >= 4).all()
        others = [
            select(selection.clusters, selection.star_position, **change).streamer(6, systematic=False)
            for change in ({"purity": 0.95}, {"purity": 0.5}, {"reach": 1.5}, {"rms_thresh": 6.0})
        ]
        expected = largest_shift(np.array(noise.data), [np.array(other.data) for other in others])
        assert np.sqrt(np.maximum(added, 0)) == pytest.approx(expected, abs=1e-6)

    def test_the_spread_stays(self, selection):
        one, other = (selection.streamer(6, uncertainty="spread", systematic=choice) for choice in (False, True))
        assert np.array_equal(one.uncertainties, other.uncertainties)

    def test_choices_that_leave_too_little_say_nothing(self, selection, monkeypatch):
        whole = selection.streamer(6)
        monkeypatch.setattr("sting.isolate.selection.BRIGHTER", 100)
        less = selection.streamer(6)
        for one, other in zip(less.uncertainties, whole.uncertainties, strict=True):
            assert (one <= other).all()
