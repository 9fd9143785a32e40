"""Moved images: what the moves are, and that stage 1 learns more from few images by them."""

import numpy as np
import pytest
import torch
from helpers import plain_regressor, rows, seeded, shorten_epochs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from sklsdm.functional.augmentation import random_affine

SHAPE = (2, 12, 15)


def fit(y, **params):
    est = plain_regressor(random_state=0, matcher="energy").set_params(matcher__max_steps=2)
    return est.set_params(**params).fit(np.zeros((len(y), 1)), y)


def test_no_strength_is_no_move():
    images = rows(5, 2 * 12 * 15)
    assert_allclose(random_affine(images, SHAPE, 0.0, seeded()), images, atol=1e-5)


def test_moves_are_small_random_and_stay_among_the_values():
    images = rows(1, 2 * 12 * 15).expand(50, -1)
    moved = random_affine(images, SHAPE, 1.0, seeded())
    assert_array_equal(moved, random_affine(images, SHAPE, 1.0, seeded()))
    assert len(moved.unique(dim=0)) == 50
    assert moved.min() >= images.min()
    assert moved.max() <= images.max()


def test_all_channels_move_alike_by_at_most_what_is_said():
    """A spot of two channels: its centre moves by the shift, and a little by the other three."""
    place = torch.arange(28.0) - 13.5
    spot = (-(place[:, None].square() + place.square()) / 8).exp()
    images = torch.stack([spot, 2 * spot]).flatten().expand(300, -1)
    moved = random_affine(images, (2, 28, 28), 1.0, seeded()).view(300, 2, 28, 28)
    mass = moved.sum(dim=(2, 3))
    across = (moved.sum(dim=2) @ place) / mass
    down = (moved.sum(dim=3) @ place) / mass
    assert_allclose(across[:, 0], across[:, 1], atol=1e-4)
    for centre in (across, down):
        assert centre.abs().max() <= 2 * 1.3  # two pixels, by what turns, scales and shears them
        assert centre.std() > 0.8
        assert abs(centre.mean()) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epochs"), [("mlp", 25), ("conv", 5)])
def test_few_images_teach_more(name, epochs):
    digits = load_digits().images / 16
    few, fresh = digits[:100], digits[100:]

    def error(**params):
        est = fit(few, latent_dim=12, autoencoder=name, autoencoder__max_epochs=epochs, **params)
        return np.square(est.reconstruct(fresh) - fresh).mean()

    assert error() < 0.95 * error(autoencoder__augmentation=0)


def test_vectors_and_many_images_are_left_alone():
    few, many = np.random.default_rng(0).normal(size=(40, 60)), np.zeros((10_100, 2, 2), np.uint8)
    many[:, 0, 0] = np.arange(10_100) % 256
    for y in (few, many):
        params = {"autoencoder": "mlp", "autoencoder__max_epochs": 1, "latent_dim": 2}
        draws = [
            fit(y, **params, **given).sample(np.zeros((3, 1)), random_state=0)
            for given in ({}, {"autoencoder__augmentation": 0})
        ]
        assert_array_equal(*draws)
        if y is few:
            again = fit(y, **params, autoencoder__augmentation=1)
            assert_array_equal(again.sample(np.zeros((3, 1)), random_state=0), draws[0])


def test_auto_hands_it_on(monkeypatch):
    shorten_epochs(monkeypatch, 5)
    est = fit(
        np.random.default_rng(0).random((30, 16, 16)),
        autoencoder__augmentation=0.5,
        autoencoder__max_epochs=1,
    )
    assert est.autoencoder_.augmentation == 0.5


def test_bad_strength():
    with pytest.raises(ValueError, match=r"autoencoder__augmentation must be .* got -1"):
        fit(np.zeros((30, 16, 16)), autoencoder="conv", autoencoder__augmentation=-1)
