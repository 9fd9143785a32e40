"""A classifier of codes tells the generator of images how well its draws go with their labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from sklsdm import LSDMRegressor
from sklsdm.batches import PairBatch
from sklsdm.matchers import MatchingData, WGANMatcher
from sklsdm.matchers.base import Plan
from sklsdm.matchers.label_loss import LabelLoss, NoisyLabelObjective, learn_labels
from sklsdm.modules import CodeClassifier, Critics
from sklsdm.run import Run

RUN = Run(torch.device("cpu"), 0)
CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]])
LABELS = torch.eye(3) - 1 / 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def data(n_rows=1200, spread=0.5, **params):
    """Codes of 1 x 2 x 2 numbers, the first two of them about a centre for each of three labels."""
    number = torch.arange(n_rows) % 3
    latent = torch.randn((n_rows, 4), generator=seeded())
    latent[:, :2] = CENTRES[number] + spread * latent[:, :2]
    none = torch.zeros((0, 3)), torch.zeros((0, 4))
    return MatchingData(LABELS[number], latent, *none, code_shape=(1, 2, 2), **params)


def plan(n_epochs=4):
    return Plan(
        run=RUN,
        random=seeded(),
        noise_dim=4,
        n_epochs=n_epochs,
        epoch_steps=100,
        batch_size=64,
        unpaired_weight=0.0,
        tolerance=0.0,
    )


def test_labels_are_read_from_codes():
    loss = learn_labels(data(), plan())
    codes = torch.cat([CENTRES, torch.zeros((3, 2))], dim=1)
    right = loss(LABELS, codes)
    wrong = loss(LABELS.roll(1, dims=0), codes)
    assert right < 0.3
    assert wrong > 2.0
    assert all(not p.requires_grad for p in loss.classifier.parameters())


def test_several_draws_of_a_condition_have_its_label():
    classifier = CodeClassifier(4, 3, (8,), seeded())
    loss = LabelLoss(classifier, LABELS)
    drawn = torch.randn((6, 4), generator=seeded())
    found = loss(LABELS[[2, 0]], drawn)
    log_shares = classifier(drawn)
    assert_close(found, -(log_shares[:3, 2].sum() + log_shares[3:, 0].sum()) / 6)
    near = LABELS[[2, 0]] + 0.1  # as with condition_noise
    assert_close(loss(near, drawn), found)


def test_one_label_teaches_nothing():
    assert learn_labels(replace(data(), condition=torch.zeros((1200, 3))), plan()) is None


@pytest.mark.slow
def test_what_codes_do_not_tell_is_not_asked_of_draws():
    some, other = data(300), data(330)
    noise = torch.randn((300, 4), generator=seeded(1))
    blind = replace(some, latent=noise, held_condition=other.condition[300:])
    held = torch.randn((30, 4), generator=seeded(2))
    assert learn_labels(replace(blind, held_latent=held), plan(16)) is None
    told = replace(some, held_condition=other.condition[300:], held_latent=other.latent[300:])
    assert learn_labels(told, plan()) is not None
    matcher = WGANMatcher(channels=8, label_weight=0.7)
    for asked, left in ((replace(blind, held_latent=held), 0.0), (told, 0.7)):
        matcher.settings_ = matcher._settings_for(asked)
        assert (matcher._learn_labels(asked, plan(16)) is None) == (left == 0.0)
        assert matcher.settings_["label_weight"] == left


def weight(some, **params):
    matcher = WGANMatcher(channels=8, **params)
    return matcher._settings_for(some)["label_weight"]


def test_when_there_is_a_weight():
    some = data()
    assert weight(some) > 0
    assert weight(some, label_weight=0.7) == 0.7
    assert weight(some, label_weight=0) == 0
    few = data(290)
    assert weight(few) == 0
    assert weight(few, label_weight=0.7) == 0.7
    numbers = replace(some, condition=torch.randn((1200, 2), generator=seeded()))
    nothing = replace(some, condition=torch.zeros((1200, 0)))
    for other in (replace(some, code_shape=None), numbers, nothing):
        assert weight(other) == weight(other, label_weight=0.7) == 0


@pytest.mark.parametrize("n_draws", [1, 2])
def test_it_is_part_of_the_loss_of_the_generator(n_draws):
    some, losses = data(), []
    for each in (0.0, 0.7):
        matcher = WGANMatcher(channels=8, label_weight=each, n_draws=n_draws, energy_weight=0.0)
        matcher.settings_ = matcher._settings_for(some)
        generator = matcher._module(some, plan())
        objective = matcher._objective(generator, some, plan())
        critics = Critics(matcher._critic(some, seeded()), None).requires_grad_(False)
        noise = torch.randn((5 * n_draws, 4), generator=seeded())
        batch = PairBatch(some.condition[:5], some.latent[:5], noise, torch.zeros((5, 1)), None)
        losses.append(objective.generator_loss(generator, critics, batch))
    drawn = generator(batch.condition, batch.noise)
    assert_close(losses[1] - losses[0], 0.7 * objective.label_loss(batch.condition, drawn))
    assert objective.recordable


@pytest.mark.slow
def test_draws_go_with_their_labels_more_often():
    some, short = data(spread=1.5), {"max_steps": 200, "channels": 8, "batch_size": 64}
    plain, told = (WGANMatcher(**short, label_weight=each).fit(some, RUN) for each in (0.0, 1.0))
    reader = learn_labels(some, plan())
    condition = LABELS.repeat_interleave(300, dim=0)
    noise = torch.randn((900, 64), generator=seeded(5))
    found = [reader(condition, each.draw(condition, noise)).item() for each in (plain, told)]
    assert found[1] < 0.7 * found[0]


def shades(n_rows=60):
    images = np.random.default_rng(0).integers(0, 255, (n_rows, 8, 8)).astype(np.uint8)
    images[::2] //= 4
    return np.eye(2)[np.arange(n_rows) % 2], images


def model(**params):
    est = plain_regressor(matcher="wgan", autoencoder="feature-map", random_state=0)
    est.set_params(matcher__max_steps=20, matcher__channels=8, matcher__label_weight=0.1)
    return est.set_params(autoencoder__max_epochs=1, **params)


@pytest.mark.slow
@pytest.mark.parametrize("part", [LabelLoss, NoisyLabelObjective])
def test_a_fit_that_was_broken_off_ends_as_an_unbroken_one(part, tmp_path, monkeypatch):
    X, y = shades()
    whole = model().fit(X, y)

    def breaks_off(self, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as within:
        within.setattr(part, "__call__", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            model(checkpoint=tmp_path).fit(X, y)
    again = model(checkpoint=tmp_path).fit(X, y)
    assert_array_equal(again.sample(X, random_state=0), whole.sample(X, random_state=0))


@pytest.mark.parametrize("bad", [-0.1, "often", None])
def test_bad_weights(bad):
    X, y = shades()
    with pytest.raises((TypeError, ValueError), match="matcher__label_weight"):
        LSDMRegressor().set_params(matcher__label_weight=bad).fit(X, y)
