"""Pseudo-pairs: the formulas, the model of x given the code, and fits that use them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import RUN, matching_data, rows
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from sklsdm import LSDMRegressor, metrics
from sklsdm.batches import PairBatch
from sklsdm.fitting import uses
from sklsdm.fitting.labelling import CodeObjective
from sklsdm.fitting.pairing import MIN_CONFIDENCE, draw_pseudo_pairs
from sklsdm.functional import virtual_adversarial
from sklsdm.functional.categorical import nearest_row
from sklsdm.matchers import MATCHERS, EnergyMatcher, MatchingData


def tensor(array):
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


def pairs(X, Z, codes):
    """Matching data without held-out pairs; the codes of the pairs come first."""
    X, Z, codes = tensor(X), tensor(Z), tensor(codes)
    return matching_data(X, Z, torch.cat([Z, codes]))


# ------------------------------------------------------------------ formulas
def test_divergence_and_entropy_of_classes():
    p, q = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 6))
    log_p, log_q = tensor(p).log(), tensor(q).log()
    assert_allclose(
        virtual_adversarial.divergence_of_classes(log_p, log_q),
        stats.entropy(p, q, axis=1),
        rtol=1e-4,
    )
    assert_allclose(virtual_adversarial.class_entropy(log_p), stats.entropy(p, axis=1), rtol=1e-4)


def test_the_virtual_adversary_moves_across_the_border():
    """Of a linear classifier of two classes the worst way is along its weight."""
    weight = torch.tensor([3.0, 4.0])

    def log_probability(z):
        return torch.stack([z @ weight, torch.zeros(len(z))], dim=1).log_softmax(dim=1)

    random = torch.Generator().manual_seed(0)
    points = 0.3 * torch.randn((50, 2), generator=random)  # where the classifier is not saturated
    direction = torch.randn((50, 2), generator=random)
    moved = virtual_adversarial.virtual_adversary(log_probability, points, direction, radius=0.5)
    along = (moved - points) @ (weight / 5)
    assert_allclose(along.abs(), np.full(50, 0.5), atol=1e-3)


# ------------------------------------------------------------------ labels
def blobs(n, rng):
    """Codes of three classes, each a curved band, and the classes."""
    label = rng.integers(3, size=n)
    angle = 2 * np.pi * (label + rng.uniform(0, 0.8, n)) / 3
    radius = 1.5 + 0.1 * rng.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), label


def test_labels_follow_the_bands_of_the_codes():
    """Four pairs a class at one end of its band; the codes between show where it goes."""
    rng = np.random.default_rng(0)
    codes, label = blobs(2000, rng)
    angle = np.arctan2(codes[:, 1], codes[:, 0]) % (2 * np.pi)
    start = (angle * 3 / (2 * np.pi)) % 1 < 0.2
    few = np.concatenate([np.flatnonzero(start & (label == k))[:4] for k in range(3)])
    data = pairs(np.eye(3)[label[few]], codes[few], codes)
    found = draw_pseudo_pairs(data, tensor(codes), RUN, 600, MIN_CONFIDENCE)
    assert len(found.latent) > 1600
    assert_array_equal(tensor(codes)[found.rows], found.latent)
    index = {tuple(code): k for code, k in zip(tensor(codes).tolist(), label, strict=True)}
    true = np.array([index[tuple(code)] for code in found.latent.tolist()])
    assert (found.condition.argmax(dim=1).numpy() == true).mean() > 0.98
    assert set(map(tuple, found.condition.tolist())) <= set(map(tuple, np.eye(3).tolist()))


# ------------------------------------------------------------------ numbers
def numbers(n, rng, noise):
    """x = z₁ + noise, beside a column that does not depend on z; z is normal."""
    z = rng.normal(size=(n, 2))
    return np.stack([z[:, 0] + noise * rng.normal(size=n), rng.normal(size=n)], axis=1), z


@pytest.mark.slow
def test_numbers_follow_their_law_given_the_code():
    rng = np.random.default_rng(0)
    X, Z = numbers(600, rng, 0.5)
    _, codes = numbers(4000, rng, 0.5)
    found = draw_pseudo_pairs(pairs(X, Z, codes), tensor(codes), RUN, 500, MIN_CONFIDENCE)
    assert_array_equal(found.latent, tensor(codes))  # none is left out: that would bend their law
    off = found.condition[:, 0] - found.latent[:, 0]
    assert abs(float(off.mean())) < 0.1
    assert float(off.std()) == pytest.approx(0.5, abs=0.1)
    assert set(map(tuple, found.condition.tolist())) <= set(map(tuple, tensor(X).tolist()))


def test_numbers_that_the_code_does_not_tell_are_drawn_from_their_own_law():
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(400, 1)), rng.normal(size=(3000, 2))
    data = pairs(X, rng.normal(size=(400, 2)), codes)
    found = draw_pseudo_pairs(data, tensor(codes), RUN, 500, MIN_CONFIDENCE)
    assert stats.ks_2samp(found.condition[:, 0], X[:, 0]).statistic < 0.1
    assert abs(np.corrcoef(found.condition[:, 0], found.latent[:, 0])[0, 1]) < 0.1


def test_conditions_keep_their_shares():
    """Half of x is zero; the others are as many values as there are rows."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((400, 1)) < 0.5, 0.0, rng.normal(3.0, 1.0, (400, 1)))
    codes = rng.normal(size=(3000, 2))
    data = pairs(X, rng.normal(size=(400, 2)), codes)
    assert not data.are_labels
    found = draw_pseudo_pairs(data, tensor(codes), RUN, 500, MIN_CONFIDENCE)
    assert float((found.condition == 0).float().mean()) == pytest.approx((X == 0).mean(), abs=0.1)


def test_more_columns_than_pairs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 40))
    X[:, 0] = 1.0
    codes = rng.normal(size=(200, 2))
    found = draw_pseudo_pairs(pairs(X, codes[:30], codes), tensor(codes), RUN, 3000, MIN_CONFIDENCE)
    assert found.condition.shape == (200, 40)
    assert torch.isfinite(found.condition).all()


def test_equal_seeds_give_equal_pseudo_pairs():
    rng = np.random.default_rng(0)
    X, Z = numbers(100, rng, 0.5)
    state = torch.get_rng_state()
    data = pairs(X, Z, Z)
    one, two = (draw_pseudo_pairs(data, tensor(Z), RUN, 100, MIN_CONFIDENCE) for _ in range(2))
    assert_array_equal(one.condition, two.condition)
    assert_array_equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------ in a fit
@pytest.mark.slow
@pytest.mark.parametrize("matcher", sorted(MATCHERS))
def test_pseudo_pairs_show_what_few_pairs_do_not(matcher):
    """Two classes, of each the lower half among the pairs; 1,500 responses show both halves."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=1500)
    y = np.where(label == 1, 2.5, -2.5)[:, None] * [1.0, 0.3] + rng.normal(size=(1500, 2))
    lower = y[:, 1] < np.where(label == 1, 0.75, -0.75)
    few = np.concatenate([np.flatnonzero(lower & (label == k))[:9] for k in (0, 1)])
    asked = np.repeat(np.eye(2), 500, axis=0)
    found = {}
    for use in ("latent", "pair"):
        est = LSDMRegressor(2, matcher, autoencoder="identity", unpaired=use, random_state=0)
        est.set_params(matcher__max_steps=600)
        est.fit(np.eye(2)[label[few]], y[few], np.delete(y, few, axis=0))
        draws = est.sample(asked, random_state=0)[:, 0]
        found[use] = metrics.energy_distance(draws, y)
        right = ((draws[:, 0] > 0) == (asked[:, 1] == 1)).mean()
    assert est.unpaired_ == "pair"
    assert est.n_pseudo_pairs_ > 1300
    assert found["pair"] < 0.5 * found["latent"]
    assert right > 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "held"), [(True, 4 + 36), (False, 4)])
def test_sure_labels_help_to_choose_the_state(labels, held):
    """A tenth of the pseudo-pairs is held out, and only real pairs compare the uses."""
    rng = np.random.default_rng(0)
    codes, label = blobs(400, rng)
    X = np.eye(3)[label] if labels else codes + rng.normal(size=codes.shape)
    seen = []

    class Spy(EnergyMatcher):
        def fit(self, data, run):
            seen.append(data)
            return super().fit(data, run)

    est = LSDMRegressor(2, Spy(max_steps=200), unpaired="pair", random_state=0)
    est.fit(X[:40], codes[:40], codes[40:])
    (data,) = seen
    assert len(data.held_latent) == pytest.approx(held, abs=2 * labels)
    assert est.held_out_scores_ == {}
    n_trained = est.n_pseudo_pairs_ - (len(data.held_latent) - 4)
    assert len(data.latent) == (36 + n_trained if labels else 36 * 10 + n_trained)
    gaps = torch.cdist(data.held_latent, data.latent)
    assert gaps.min() > 0


def test_pseudo_pairs_that_are_held_out_are_not_matched_as_codes_either():
    """All labels are sure here, so that no code is left without a condition."""
    label = np.random.default_rng(0).integers(2, size=230)
    codes = 4.0 * np.c_[label, -label] + 0.1 * np.random.default_rng(1).normal(size=(230, 2))
    data = pairs(np.eye(2)[label[:30]], codes[:30], codes[30:])
    found = uses.data_for("pair", data, RUN, 300)
    assert (len(found.latent), len(found.held_latent), found.n_pseudo) == (210, 20, 200)
    assert torch.cdist(found.held_latent, found.codes).min() > 0
    assert EnergyMatcher()._plan(found, RUN).unpaired_weight == 0


# ------------------------------------------------------------------ what the choices hang on
def test_classes_that_lose_their_share_cost():
    """A classifier that gives both classes half of the codes, where they have .05 and .95."""
    latent = rows(200, 2)
    labels = (latent[:, 0] > 0).long()
    batch = PairBatch(labels, latent, torch.zeros_like(latent), latent[:, :1], latent)

    def halves(codes):
        return torch.stack([-3 * codes[:, 0], 3 * codes[:, 0]], dim=1).log_softmax(dim=1)

    right, wrong = (
        CodeObjective(torch.tensor(shares).log()) for shares in ([0.5, 0.5], [0.05, 0.95])
    )
    assert wrong(halves, batch) > right(halves, batch) + 0.5


@pytest.mark.parametrize(
    ("labels", "with_codes", "tolerance"),
    [(True, True, 1.0), (True, False, 0.0), (False, True, 0.0)],
)
def test_a_later_state_is_preferred_where_labels_meet_unpaired_codes(labels, with_codes, tolerance):
    latent = rows(80, 2)
    condition = latent[:, :1].sign() if labels else latent[:, :1]
    codes = torch.cat([latent, rows(100, 2, seed=1)]) if with_codes else None
    plan = EnergyMatcher()._plan(matching_data(condition, latent, codes), RUN)
    assert plan.tolerance == tolerance


@pytest.mark.parametrize(
    ("images", "only_sure", "bound"),
    [(None, True, 0.9), ("some", True, 0.75), (None, False, -np.inf), ("some", False, -np.inf)],
)
def test_labels_count_from_another_confidence_by_sight(images, only_sure, bound, monkeypatch):
    class AskedError(Exception):
        pass

    def asked(data, codes, run, max_steps, min_confidence):
        raise AskedError(min_confidence)

    monkeypatch.setattr(uses, "draw_pseudo_pairs", asked)
    codes = np.random.default_rng(0).normal(size=(30, 2))
    data = replace(pairs(np.eye(2)[[0, 1] * 5], codes[:10], codes), images=images)
    with pytest.raises(AskedError) as found:
        uses.data_for("pair", data, RUN, 10, only_sure)
    assert found.value.args == (bound,)


def test_labels_of_large_numbers_keep_their_pairs():
    """Squares of postcodes leave float32 no digit for the distance of two of them."""
    rng = np.random.default_rng(0)
    label = rng.integers(30, size=(600, 1))
    codes = np.c_[label // 6, label % 6] + 0.01 * rng.normal(size=(600, 2))
    far = MatchingData(
        condition=torch.as_tensor(10_115 + 3 * label[:300], dtype=torch.float32),
        latent=torch.as_tensor(codes[:300], dtype=torch.float32),
        held_condition=torch.empty(0, 1),
        held_latent=torch.empty(0, 2),
    )
    found = draw_pseudo_pairs(
        far, torch.as_tensor(codes[300:], dtype=torch.float32), RUN, 400, MIN_CONFIDENCE
    )
    right = found.condition[:, 0] == torch.as_tensor(10_115 + 3 * label[300:, 0])[found.rows]
    assert found.are_sure
    assert right.float().mean() > 0.95
    rows = torch.tensor([[10_115.0], [10_116.0], [10_117.0]])
    assert_array_equal(nearest_row(rows.repeat(20, 1), rows), torch.arange(3).repeat(20))


def test_held_out_pseudo_pairs_are_counted_once():
    label = np.random.default_rng(0).integers(2, size=230)
    codes = 4.0 * np.c_[label, -label] + 0.1 * np.random.default_rng(1).normal(size=(230, 2))
    data = pairs(np.eye(2)[label[:30]], codes[:30], codes[30:])
    found = uses.data_for("pair", data, RUN, 300)
    assert found.n_held_pseudo == 20
    assert found.n_all == 230
