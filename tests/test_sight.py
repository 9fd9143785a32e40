"""Labels of unpaired images: by sight where they are images, by their codes otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import RUN, matching_data, normal, plain_regressor, rows, seeded
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from sklsdm.blocks import spread_rows
from sklsdm.fitting import labelling, sight
from sklsdm.fitting.sight import ImageObjective
from sklsdm.functional.augmentation import random_changes, random_mirror
from sklsdm.inputs.images import SmallImages
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import EnergyMatcher
from sklsdm.modules import ImageClassifier


# ------------------------------------------------------------------ small images
def test_large_images_are_averaged_over_squares():
    images = np.random.default_rng(0).normal(size=(5, 2, 66, 67))
    found = SmallImages(Responses(images[:2], images[2:]), np.arange(5))
    assert found.shape == (2, 33, 33)
    small = found.take(np.array([3, 0])).view(2, *found.shape)
    whole = found.responses.take(np.array([3, 0])).view(2, 2, 66, 67)
    assert_allclose(small[:, :, 4, 7], whole[:, :, 8:10, 14:16].mean(dim=(2, 3)), rtol=1e-5)


def test_rows_are_those_of_the_codes():
    images = np.random.default_rng(0).normal(size=(9, 8, 10))
    found = SmallImages(Responses(images[:4], images[4:]), np.array([2, 0, 5, 8, 7]))
    whole = torch.cat(list(found.responses.blocks()))
    assert_array_equal(found.take(np.array([3, 0])), whole[[8, 2]])
    assert_array_equal(found.some(np.array([1, 4])).take(np.arange(2)), whole[[0, 7]])


@pytest.mark.parametrize(
    ("sides", "small"),
    [
        ((28, 28), (28, 28)),
        ((40, 40), (40, 40)),
        ((63, 63), (31, 31)),
        ((64, 500), (10, 83)),
        ((9, 900), (9, 900)),
        ((63, 1000), (9, 142)),
    ],
)
def test_large_images_have_about_a_thousand_pixels(sides, small):
    found = SmallImages(Responses(np.random.default_rng(0).normal(size=(3, *sides)), None), None)
    assert found.shape == (1, *small)


def test_many_images_are_learnt_from_in_part(monkeypatch):
    monkeypatch.setattr(sight, "_STEPS", 2)
    monkeypatch.setattr(sight, "_MOST_BYTES", 4 * 256 * 7)  # 256 features
    seen, fit = [], sight.fit_classifier

    def noted(classifier, objective, data, *arguments, **settings):
        seen.append(data)
        return fit(classifier, objective, data, *arguments, **settings)

    monkeypatch.setattr(sight, "fit_classifier", noted)
    images = np.random.default_rng(0).normal(size=(50, 8, 8))
    small = SmallImages(Responses(images[:20], images[20:]), np.arange(50))
    data = replace(
        matching_data(torch.eye(2).repeat(10, 1), normal(20, 3), normal(50, 3)), images=small
    )
    shares = torch.tensor([0.5, 0.5]).log()
    found = labelling.label_log_weights(data, shares, data.codes[20:], RUN, 500)
    assert len(torch.cat(list(found))) == 30
    ((labels, paired, every),) = seen
    places = spread_rows(20, 7)
    assert_array_equal(labels, 1 - np.arange(20)[places] % 2)  # (0, 1) comes before (1, 0)
    assert_array_equal(paired, small.take(places))
    assert len(every) == 14


@pytest.mark.parametrize(
    ("shape", "suits"), [((8, 8), True), ((3, 9, 20), True), ((7, 20), False), ((12,), False)]
)
def test_images_of_eight_pixels_suit(shape, suits):
    assert SmallImages.suit(Responses(np.random.default_rng(0).normal(size=(5, *shape)), None)) == (
        suits
    )


# ------------------------------------------------------------------ changed images
def test_changes_hide_a_part_and_repeat():
    shape = (2, 20, 25)
    images = rows(40, 2 * 20 * 25) + 10
    changed = random_changes(images, shape, seeded())
    assert_array_equal(changed, random_changes(images, shape, seeded()))
    hidden = (changed == 0).view(40, *shape)
    assert_array_equal(hidden.sum(dim=(2, 3)), np.full((40, 2), 8 * 10))
    assert len(hidden.flatten(1).unique(dim=0)) > 30
    seen = changed[changed != 0]
    assert seen.min() > 0.6 * images.min() - 0.4 - 1e-3
    assert seen.max() < 1.4 * images.max() + 0.4 + 1e-3


def test_half_of_the_images_are_mirrored():
    shape = (2, 5, 6)
    images = rows(200, 2 * 5 * 6)
    found = random_mirror(images, shape, seeded())
    assert_array_equal(found, random_mirror(images, shape, seeded()))
    mirrored = images.view(-1, *shape).flip(-1).flatten(1)
    swapped = (found == mirrored).all(dim=1)
    assert_array_equal(found[~swapped], images[~swapped])
    assert 70 < swapped.sum() < 130


def arrows(n, n_classes=2):
    """Wedges that point left or right (classes 0 and 1), or stripes, of two channels."""
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(16.0), np.arange(16.0))
    labels = np.arange(n) % n_classes
    place = random.uniform(6, 10, size=(2, n, 1, 1))
    side = np.where(labels == 0, 1, -1)[:, None, None] * (across - place[0])
    images = (np.abs(down - place[1]) < side) + 0.05 * random.normal(size=(n, 16, 16))
    both = np.stack([images, 0.5 * images], axis=1).reshape(n, -1)
    return torch.from_numpy(both).float(), torch.from_numpy(labels)


def test_images_are_mirrored_where_their_labels_stay():
    images, labels = arrows(60)
    shape = (2, 16, 16)
    assert not sight._tells_mirrored(shape, labels, images)
    turned = images.view(-1, *shape).transpose(-2, -1).flatten(1)  # now they point up or down
    assert sight._tells_mirrored(shape, labels, turned)
    assert not sight._tells_mirrored(shape, labels[:29], turned[:29])
    few_numbers = 29 * sight.Cells(shape)(images[:1]).numel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sight, "_MOST_CELL_NUMBERS", few_numbers)
        assert not sight._tells_mirrored(shape, labels, turned)


def test_what_shows_nothing_is_not_mirrored():
    """Images that tell no label, images of a label each, and two labels among many symmetric."""
    noise, shape = rows(60, 64), (1, 8, 8)
    found = [sight._tells_mirrored(shape, torch.arange(60) % k, noise) for k in (2, 60)]
    assert found == [False, False]
    images, labels = arrows(120)
    turned = images.view(-1, 2, 16, 16).transpose(-2, -1).flatten(1)
    both = torch.cat([turned, images[:10]])  # the arrows are their mirrored images' opposites
    named = torch.cat([labels, labels[:10] + 2])
    shape = (2, 16, 16)
    assert sight._tells_mirrored(shape, labels, turned)
    assert not sight._tells_mirrored(shape, named, both)


@pytest.mark.parametrize("mirrors", [False, True])
def test_mirrored_images_are_learnt_in_twice_the_steps(mirrors, monkeypatch):
    seen = {}

    def noted(classifier, objective, data, recipe, *arguments):
        seen.update(mirrors=objective.mirrors, n_steps=recipe.n_steps)
        return classifier

    monkeypatch.setattr(sight, "fit_classifier", noted)
    monkeypatch.setattr(sight, "_tells_mirrored", lambda *args: mirrors)
    images = np.random.default_rng(0).normal(size=(40, 8, 8))
    small = SmallImages(Responses(images[:20], images[20:]), np.arange(40))
    list(sight.log_weights_by_sight(small, torch.arange(20) % 2, 2, RUN, 10_000))
    assert seen == {"mirrors": mirrors, "n_steps": sight._STEPS * (1 + mirrors)}


def test_who_tells_left_from_right_loses_by_mirrors():
    def by_side(images):
        sides = images.view(-1, 8, 8)
        apart = 5 * (sides[..., :4].mean(dim=(1, 2)) - sides[..., 4:].mean(dim=(1, 2)))
        return torch.stack([apart, -apart], dim=1).log_softmax(dim=1)

    labels = torch.arange(40) % 2
    images = torch.zeros((40, 8, 8))
    images[labels == 0, :, :4] = images[labels == 1, :, 4:] = 1
    images = images.flatten(1)
    batch = sight.PairBatch(labels, images, images[:, :0], images, images)
    plain, mirrored = (
        ImageObjective((1, 8, 8), seeded(), mirrors)(by_side, batch) for mirrors in (False, True)
    )
    assert mirrored > plain + 1


# ------------------------------------------------------------------ the classifier
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 31), (1, 28, 28)])
def test_probabilities_of_any_image_sum_to_one(shape):
    classifier = ImageClassifier(shape, 4, seeded())
    found = classifier(rows(6, int(np.prod(shape))))
    assert_allclose(found.exp().sum(dim=1).detach(), np.ones(6), rtol=1e-5)
    classifier(rows(6, int(np.prod(shape)))).sum().backward()
    assert all(p.grad is not None for p in classifier.parameters())


def two_kinds(n=60, n_known=20):
    random = np.random.default_rng(0)
    images = random.normal(size=(n, 8, 8))
    small = SmallImages(Responses(images[:n_known], images[n_known:]), np.arange(n))
    return small, torch.arange(n_known) % 2


def test_what_is_found_is_what_the_graph_says(monkeypatch):
    seen = {}

    class Graph:
        def __init__(self, features, probability, known):
            seen.update(features=features.shape, sums=probability.sum(axis=1), known=known)

        def beside_neighbours(self, features, probability):
            seen.update(others=len(features))
            return np.tile([0.25, 0.75], (len(features), 1))

    monkeypatch.setattr(sight, "_STEPS", 2)
    monkeypatch.setattr(sight, "LabelGraph", Graph)
    small, labels = two_kinds()
    found = torch.cat(list(sight.log_weights_by_sight(small, labels, 2, RUN, 10)))
    assert_allclose(found.exp(), np.tile([0.25, 0.75], (40, 1)), rtol=1e-6)
    assert (seen["features"][0], seen["others"]) == (60, 40)
    assert_allclose(seen["sums"], np.ones(60), rtol=1e-5)
    assert_array_equal(seen["known"], labels)


def test_features_and_labels_count_among_the_bytes(monkeypatch):
    """Elongated images have more features than pixels, and many labels take room as well."""
    monkeypatch.setattr(sight, "_STEPS", 1)
    shape, n_labels = (1, 8, 8), 100
    n_features = ImageClassifier(shape, 2, seeded()).n_features
    assert n_features > 64
    sizes = {}
    monkeypatch.setattr(sight, "_MOST_BYTES", 4 * n_features * 7)
    monkeypatch.setattr(
        sight,
        "_fit",
        lambda classifier, shape, seen, *rest: sizes.update(n=len(seen)) or classifier,
    )
    small, labels = two_kinds()
    list(sight.log_weights_by_sight(small, labels, 2, RUN, 10))
    assert sizes["n"] == 14
    list(sight.log_weights_by_sight(small, labels, 2 * n_labels, RUN, 10))
    assert sizes["n"] == 2 * (n_features * 7 // (8 * n_labels))


def test_classes_of_one_form_are_told_by_their_light():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = random.uniform(-1, 1, size=(60, 3, 1, 1)) + 0.1 * random.normal(size=(60, 3, 9, 9))
    images[:, 1] += (3 * labels - 1.5)[:, None, None]
    small = SmallImages(Responses(images[:20], images[20:]), np.arange(60))
    found = sight.log_weights_by_sight(small, torch.from_numpy(labels[:20]), 2, RUN, 60)
    assert_array_equal(torch.cat(list(found)).argmax(dim=1), labels[20:])


def test_changed_images_are_to_have_the_class_of_nearly_unchanged_ones():
    """A classifier that sees light alone: with all images alike, moves change nothing."""
    shape = (1, 8, 8)
    images = torch.ones((50, 64))
    batch = sight.PairBatch(torch.zeros(50).long(), images, images[:, :0], images, images)

    def by_light(slope):
        def classify(rows):
            light = slope * (rows.mean(dim=1) - 0.5)
            return torch.stack([light, -light], dim=1).log_softmax(dim=1)

        return classify

    # All have class 0. Some changed ones are as dark as class 1, which costs more than the labels.
    for slope in (1.0, 30.0):
        of_labels = np.log1p(np.exp(-slope))
        assert ImageObjective(shape, seeded())(by_light(slope), batch) > of_labels + 0.3


# ------------------------------------------------------------------ in a fit
def digits(n_labelled, n_others, seed=0):
    """Images and one-hot labels, and the images of others with their labels."""
    order = np.random.default_rng(seed).permutation(1797)
    images, labels = load_digits(return_X_y=True)
    images, labels = images.reshape(-1, 8, 8)[order] / 16, labels[order]
    few = np.concatenate([np.flatnonzero(labels == k)[: n_labelled // 10] for k in range(10)])
    rest = np.setdiff1d(np.arange(1797), few)[:n_others]
    return np.eye(10)[labels[few]], images[few], images[rest], labels[rest]


def seen_data(**params):
    """The data of stage 2 in a fit of digits, and the true labels of the unpaired ones."""
    X, y, others, labels = digits(80, 600)
    seen = []

    class Spy(EnergyMatcher):
        def fit(self, data, run):
            seen.append(data)
            return super().fit(data, run)

    matcher = Spy(max_steps=200, widths=(32, 32), noise_scale=1.0)
    est = plain_regressor(8, matcher, unpaired="pair", random_state=0, autoencoder="pca")
    est.set_params(**params).fit(X, y, others)
    (data,) = seen
    return est, data, others, labels


def share_right(est, data, others, labels):
    """Of the labels that stage 2 learns, how many are true."""
    codes = est.encode(others)
    codes = (codes - est._latent_standardiser_.mean) / est._latent_standardiser_.scale
    n_kept = est.n_pseudo_pairs_ - (len(data.held_latent) - 8)
    nearest = torch.cdist(data.latent[-n_kept:], torch.from_numpy(codes).float()).argmin(dim=1)
    return (data.condition[-n_kept:].argmax(dim=1).numpy() == labels[nearest]).mean()


def test_labels_are_found_by_sight(monkeypatch):
    monkeypatch.setattr(sight, "_STEPS", 120)
    monkeypatch.setattr(labelling, "_by_code", None)
    found = seen_data()
    assert share_right(*found) > 0.94
    assert found[0].n_pseudo_pairs_ > 450


def test_images_that_must_not_be_moved_are_labelled_by_their_codes(monkeypatch):
    monkeypatch.setattr(labelling, "_STEPS", 10)
    monkeypatch.setattr(labelling, "log_weights_by_sight", None)
    settings = {"autoencoder__max_epochs": 1, "autoencoder__augmentation": 0}
    seen_data(autoencoder="mlp", **settings)


def test_equal_seeds_find_equal_labels_and_leave_the_global_state(monkeypatch):
    monkeypatch.setattr(sight, "_STEPS", 20)
    images = np.random.default_rng(0).normal(size=(60, 9, 9))
    data = matching_data(torch.eye(2).repeat(10, 1), normal(20, 3), normal(60, 3))
    found = []
    state = torch.get_rng_state()
    for _ in range(2):
        small = SmallImages(Responses(images[:20], images[20:]), np.arange(60))
        shares = torch.tensor([0.5, 0.5]).log()
        blocks = labelling.label_log_weights(
            replace(data, images=small), shares, data.codes[20:], RUN, 500
        )
        found.append(torch.cat(list(blocks)))
    assert found[0].shape == (40, 2)
    assert_array_equal(found[0], found[1])
    assert_array_equal(torch.get_rng_state(), state)
