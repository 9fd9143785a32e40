"""Histograms of oriented gradients: which direction counts where, and what does not matter."""

import numpy as np
import pytest
import torch
from helpers import rows
from numpy.testing import assert_allclose, assert_array_equal

from sklsdm.functional.oriented_gradients import N_ORIENTATIONS, oriented_gradients


def waves(angle, side=32):
    """An image (1, 1, side, side) that changes in the direction `angle` alone."""
    place = torch.arange(float(side))
    along = np.cos(angle) * place + np.sin(angle) * place[:, None]
    return (0.5 * along).sin()[None, None]


@pytest.mark.parametrize("bin_", range(N_ORIENTATIONS))
def test_a_change_in_one_direction_fills_its_bin(bin_):
    found = oriented_gradients(waves(np.pi * bin_ / N_ORIENTATIONS), 8)
    histograms = found.view(4, N_ORIENTATIONS, 4, 4)
    assert_array_equal(histograms.argmax(dim=1), np.full((4, 4, 4), bin_))
    assert (histograms.amax(dim=1) > 0.8 * histograms.sum(dim=1)).all()


def test_a_direction_between_two_bins_fills_both():
    histogram = oriented_gradients(waves(np.pi * 2.5 / N_ORIENTATIONS), 8).view(4, 8, 4, 4)
    inner = histogram[..., 1:3, 1:3]
    assert_allclose(inner[:, 2], inner[:, 3], rtol=0.2)


def test_light_and_sign_do_not_matter_and_contrast_hardly():
    images = 3 * rows(5, 2 * 9 * 11).view(5, 2, 9, 11)
    found = oriented_gradients(images, 2)
    assert_allclose(oriented_gradients(-images, 2), found, atol=1e-5)
    assert_allclose(oriented_gradients(images + 5, 2), found, atol=1e-4)
    assert_allclose(oriented_gradients(2 * images, 2), found, rtol=0.05, atol=0.02)


def test_channels_that_change_alike_are_as_one():
    image = 5 * rows(1, 144).view(1, 1, 12, 12)
    both = torch.cat([image, -image], dim=1)
    assert_allclose(
        oriented_gradients(both, 4), oriented_gradients(np.sqrt(2) * image, 4), atol=1e-5
    )


@pytest.mark.parametrize(
    ("sides", "cells"), [((8, 8), (4, 4)), ((9, 20), (5, 10)), ((4, 5), (2, 3))]
)
def test_cells_cover_images_of_any_size(sides, cells):
    images = rows(3, 2 * int(np.prod(sides))).view(3, 2, *sides)
    found = oriented_gradients(images, 2)
    assert found.shape == (3, 4 * N_ORIENTATIONS, *cells)
    assert found.isfinite().all()


def test_a_constant_image_has_no_edges():
    assert_array_equal(
        oriented_gradients(torch.full((2, 3, 8, 8), 4.0), 2), torch.zeros(2, 32, 4, 4)
    )
