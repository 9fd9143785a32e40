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
    rows = normal(120, 3).numpy()
    probability = torch.rand(120, 3, generator=torch.Generator().manual_seed(0)).numpy()
    known = np.array([0, 2, 1])
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2) + np.diag(np.full(120, np.inf))
    linked = distance <= np.sort(distance, axis=1)[:, [9]]
    linked = linked | linked.T
    start = probability.astype(float)
    start[:3] = np.eye(3)[known]
    expected, given = start, probability.copy()
    for _ in range(label_graph._N_PASSES):
        share = linked @ expected / linked.sum(axis=1, keepdims=True)
        expected = label_graph._OWN * start + (1 - label_graph._OWN) * share
        expected[:3] = start[:3]
    assert_allclose(LabelGraph(rows, probability, known).probability, expected, rtol=1e-5)
    assert_array_equal(probability, given)


def test_images_are_averaged_with_their_neighbours():
    rows = normal(300, 2).numpy()
    sure = np.eye(2)[(rows[:, 0] > 0).astype(int)]
    graph = LabelGraph(rows[:200], sure[:200], sure[:10].argmax(axis=1))
    unsure = np.full((100, 2), 0.5)
    found = graph.beside_neighbours(rows[200:], unsure)
    distance = np.linalg.norm(rows[200:, None] - rows[None, :200], axis=2)
    theirs = graph.probability[np.argsort(distance, axis=1)[:, :10]].mean(axis=1)
    own = label_graph._OWN_AT_LAST
    assert_allclose(found, own * unsure + (1 - own) * theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("known", "n_images", "n_neighbours"),
    [
        (np.arange(50) % 10, 80, 2),
        (np.arange(50) % 10, 1000, 10),
        (np.array([0] * 98 + [1] * 2), 1000, 5),
        (np.array([0, 2]), 4, 1),
        (np.zeros(5, int), 12, 3),
    ],
)
def test_a_rare_label_has_more_images_than_neighbours(known, n_images, n_neighbours):
    assert label_graph._n_neighbours(known, n_images) == n_neighbours


def test_few_images_of_many_labels_stay_sure():
    rows, labels = make_blobs(80, centers=10 * np.eye(10), cluster_std=0.5, random_state=0)
    graph = LabelGraph(rows.astype(np.float32), 0.99 * np.eye(10)[labels] + 0.001, labels[:50])
    assert graph.probability[50:].max(axis=1).min() > 0.95


def test_two_images_are_enough():
    graph = LabelGraph(normal(2, 4).numpy(), np.full((2, 2), 0.5), np.array([1]))
    assert_array_equal(graph.probability[0], [0, 1])
    assert graph.probability[1, 1] > 0.5


@pytest.mark.filterwarnings("error")
def test_equal_images_pass_without_a_warning():
    graph = LabelGraph(np.ones((40, 8), np.float32), np.full((40, 2), 0.5), np.array([0, 1]))
    found = graph.beside_neighbours(np.ones((3, 8), np.float32), np.full((3, 2), 0.5))
    assert np.isfinite(found).all()
