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


def test_faint_edges_are_small_and_strong_ones_alike():
    """Steps of 2, 4 and .02 from left to right, each in cells of their own."""
    heights = torch.tensor([2.0, 4.0, 0.02])
    image = torch.zeros((1, 1, 16, 48))
    for place, height in enumerate(heights):
        image[..., 16 * place + 8 : 16 * place + 16] = height
    histograms = oriented_gradients(image, 4).view(4, N_ORIENTATIONS, 4, 12)
    low, high, faint = (histograms[:, 0, 1, 4 * place + 1 : 4 * place + 3] for place in range(3))
    assert low.max() > 1
    assert_allclose(low, high, rtol=0.3)
    assert faint.max() < 0.05


def test_the_four_parts_are_of_four_blocks():
    """An edge alone in the first cell, beside a stronger one in the cell at its right."""
    image = torch.zeros((1, 1, 16, 16))
    image[..., 0:4, 2:] += 2
    image[..., 0:4, 6:] += 8
    parts = oriented_gradients(image, 4).view(4, N_ORIENTATIONS, 4, 4)[:, 0, 0, 0]
    upper_left, upper_right, lower_left, lower_right = parts
    assert upper_left > 2 * upper_right
    assert lower_left > 2 * lower_right
    assert upper_right < lower_right  # below there is nothing


def test_an_image_does_not_depend_on_the_others():
    images = rows(4, 144).view(4, 1, 12, 12) * torch.tensor([0.01, 1.0, 1.0, 50.0]).view(4, 1, 1, 1)
    together = oriented_gradients(images, 3)
    for place in range(4):
        alone = oriented_gradients(images[place : place + 1], 3)
        assert_allclose(together[place : place + 1], alone, rtol=1e-5, atol=1e-6)


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
