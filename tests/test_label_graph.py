"""Labels that pass between neighbouring images."""

import numpy as np
import pytest
import torch
from helpers import normal
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs, make_moons

from sklsdm.fitting import label_graph
from sklsdm.fitting.label_graph import LabelGraph


def two_moons(n_known, n=400):
    """Points and their labels, of which the first `n_known` are known; the network knows little."""
    rows, labels = make_moons(n, noise=0.05, random_state=0)
    below = rows[:, 1] < 0.25
    probability = np.where(below[:, None], [0.4, 0.6], [0.6, 0.4])
    return rows.astype(np.float32), probability, labels, labels[:n_known]


def test_labels_follow_the_form_of_the_classes():
    rows, probability, labels, known = two_moons(20)
    by_network = (probability.argmax(axis=1) == labels)[20:].mean()
    found = LabelGraph(rows, probability, known).probability
    assert by_network < 0.9
    assert (found.argmax(axis=1) == labels)[20:].mean() > by_network + 0.04
    assert_allclose(found.sum(axis=1), np.ones(400))
    assert_array_equal(found[:20], np.eye(2)[known])


def test_passes_are_those_of_the_equation():
    """F <- a P + (1 - a) S F with known rows set anew, S the row-normalised symmetric graph."""
    rows = normal(30, 3).numpy()
    probability = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)).numpy()
    known = np.array([0, 2, 1])
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2) + np.diag(np.full(30, np.inf))
    linked = distance <= np.sort(distance, axis=1)[:, [9]]
    linked = linked | linked.T
    start = probability.astype(float)
    start[:3] = np.eye(3)[known]
    expected = start
    for _ in range(label_graph._N_PASSES):
        share = linked @ expected / linked.sum(axis=1, keepdims=True)
        expected = label_graph._OWN * start + (1 - label_graph._OWN) * share
        expected[:3] = start[:3]
    assert_allclose(LabelGraph(rows, probability, known).probability, expected, rtol=1e-5)


def test_others_are_averaged_with_their_neighbours():
    rows, labels = make_blobs(300, centers=[[0, 0], [5, 5]], cluster_std=0.5, random_state=0)
    rows = rows.astype(np.float32)
    sure = np.eye(2)[labels]
    graph = LabelGraph(rows[:200], sure[:200], labels[:10])
    unsure = np.full((100, 2), 0.5)
    found = graph.beside_neighbours(rows[200:], unsure)
    own = label_graph._OWN_OF_OTHERS
    assert_allclose(found, own * unsure + (1 - own) * sure[200:], atol=1e-6)


@pytest.mark.parametrize("n", [2, 5])
def test_few_images_have_fewer_neighbours(n):
    graph = LabelGraph(normal(n, 4).numpy(), np.full((n, 2), 0.5), np.array([1]))
    assert_array_equal(graph.probability[0], [0, 1])
    assert graph.probability[1:, 1].min() > 0.5


def test_equal_images_pass_without_a_warning():
    graph = LabelGraph(np.ones((40, 8), np.float32), np.full((40, 2), 0.5), np.array([0, 1]))
    found = graph.beside_neighbours(np.ones((3, 8), np.float32), np.full((3, 2), 0.5))
    assert np.isfinite(found).all()
