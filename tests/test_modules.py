"""Generators draw several times for one condition as for so many copies of it."""

import pytest
import torch
from helpers import rows
from torch import nn
from torch.testing import assert_close

from sklsdm.matchers.base import several_draws
from sklsdm.modules import ConditionalGenerator


@pytest.mark.parametrize("widths", [(), (8,), (8, 6)])
@pytest.mark.parametrize("shape", [(0, None), (3, None), (64, (1, 8, 8))])
def test_several_draws_are_those_for_repeated_conditions(widths, shape):
    n_columns, image_shape = shape
    random = torch.Generator().manual_seed(0)
    generator = ConditionalGenerator(
        n_columns, 2, 4, widths, image_shape=image_shape, generator=random
    )
    condition, noise = rows(5, n_columns), rows(15, 4, seed=1)
    repeated = condition.repeat_interleave(3, dim=0)
    wanted = generator(repeated, noise)
    assert_close(generator(condition, noise), wanted)
    assert_close(several_draws(generator, condition, noise), wanted)
    of_first = generator(condition[:1].expand(15, -1), noise)
    if n_columns:
        assert (wanted - of_first)[3:].abs().max() > 0.01
    assert generator(condition[:0], noise[:0]).shape == (0, 2)


def test_a_users_network_gets_one_condition_for_each_noise():
    class Sum(nn.Module):
        def forward(self, condition, noise):
            return condition + noise

    found = several_draws(Sum(), torch.tensor([[1.0], [2.0]]), torch.zeros(6, 1))
    assert found[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
