"""HDBSCAN over a graph of neighbours, beside that over all distances."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn import cluster as learn
from sklearn.metrics import adjusted_rand_score

from sting.isolate import density


def blobs(seed, n_blobs=6, n=150):
    """Points in clumps of different density on a sparse ground."""
    rng = np.random.default_rng(seed)
    clumps = [rng.normal(rng.uniform(-20, 20, 3), rng.uniform(0.4, 1.5), (n, 3)) for _ in range(n_blobs)]
    return np.concatenate([*clumps, rng.uniform(-25, 25, (200, 3))])


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_those_of_all_distances(seed):
    points, settings = blobs(seed), {"min_size": 40, "min_samples": 10}
    every = learn.HDBSCAN(min_cluster_size=40, min_samples=10, cluster_selection_method="leaf", copy=True).fit_predict(points)
    ours = density.leaves(learn, points, **settings)
    assert ours.max() == every.max() >= 3
    assert adjusted_rand_score(every, ours) > 0.98


@pytest.mark.parametrize("small", [0, 200])
def test_pieces_are_bridged_where_they_are_nearest(small, monkeypatch):
    monkeypatch.setattr(density, "SMALL", small)
    rng = np.random.default_rng(1)
    # clumps of 30 points, far from each other: five neighbours connect none of them
    points = np.concatenate([rng.normal(center, 0.3, (30, 2)) for center in ([0, 0], [10, 0], [0, 20], [40, 40])])
    graph = density.neighbour_graph(points, 5)
    assert connected_components(graph, directed=False, return_labels=False) == 1
    assert (graph != graph.T).nnz == 0
    # the shortest tree is that of all distances
    assert minimum_spanning_tree(graph).sum() == pytest.approx(minimum_spanning_tree(cdist(points, points)).sum(), rel=1e-6)


def test_points_at_one_place():
    graph = density.neighbour_graph(np.zeros((20, 2)), 4)
    assert connected_components(graph, directed=False, return_labels=False) == 1


def test_fewer_points_than_neighbours():
    assert density.neighbour_graph(np.arange(6.0).reshape(3, 2), 40).shape == (3, 3)
