"""The noise's scale of few pairs, chosen by fits that leave some of them out."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import DivergenceError
from sklsdm.fitting import noise_scale
from sklsdm.matchers import EnergyMatcher
from sklsdm.metrics import interval_coverage

STEPS = 100


def bent_law(n, seed=0):
    """Conditions (n, 6) and responses (n, 2) that bend with them: few pairs are learnt by heart."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6))
    y = np.column_stack([np.sin(2 * x[:, 0]) * x[:, 1], x[:, 0] + 0.5 * x[:, 3] ** 2])
    return x, y + 0.3 * random.normal(size=y.shape)


def estimator(steps=STEPS, **params):
    est = plain_regressor(matcher="energy", random_state=0)
    return est.set_params(**{"matcher__max_steps": steps, "matcher__noise_scale": "auto"} | params)


@pytest.fixture
def folds(monkeypatch):
    """The folds that are made, and the matchers that are fitted to them."""
    made, fits = [], []
    splits, fit = noise_scale.folds, EnergyMatcher.fit

    def noted(*args):
        made.extend(found := list(splits(*args)))
        return found

    def counted(self, data, run):
        fits.append(len(data.latent))
        return fit(self, data, run)

    monkeypatch.setattr(noise_scale, "folds", noted)
    monkeypatch.setattr(EnergyMatcher, "fit", counted)
    return made, fits


def test_few_pairs_draw_more_widely_and_no_worse():
    """Mean of three draws of sixty pairs, beside the same fits without more noise."""
    coverage, score = {"auto": [], 1.0: []}, {"auto": [], 1.0: []}
    for seed in range(3):
        x, y = bent_law(560, seed)
        for scale, found in coverage.items():
            est = estimator(600, matcher__noise_scale=scale).fit(x[:60], y[:60])
            interval = est.predict_interval(x[60:])
            found.append(interval_coverage(y[60:], interval))
            score[scale].append(est.score(x[60:], y[60:]))
    assert np.mean(coverage["auto"]) > np.mean(coverage[1.0]) + 0.05
    assert np.mean(score["auto"]) > np.mean(score[1.0])


def test_folds_leave_out_each_pair_that_is_learnt_from_once(folds):
    est = estimator().fit(*bent_law(60))
    made, fits = folds
    assert fits == [54, 40, 40, 41, 41]
    assert_array_equal(np.sort(np.concatenate([left_out for _, left_out in made])), np.arange(54))
    assert est.matcher_.noise_scale_ >= 1
    again = estimator().fit(*bent_law(60))
    assert_array_equal(
        again.sample(bent_law(5)[0], random_state=0), est.sample(bent_law(5)[0], random_state=0)
    )


def test_groups_stay_whole(folds):
    x, y = bent_law(60)
    groups = np.arange(60) // 5
    estimator().fit(x, y, groups=groups)
    made, _ = folds
    assert made
    sizes = {len(left_out) for _, left_out in made}
    assert all(size % 5 == 0 for size in sizes)


@pytest.mark.parametrize(
    ("n", "params"),
    [
        (60, {"matcher__noise_scale": 1.2}),
        (60, {"validation_fraction": 0}),
        (15, {}),
        (200, {}),
    ],
    ids=["given by the user", "nothing held out", "too few to hold any out", "enough held out"],
)
def test_no_folds_where_they_are_not_needed(n, params, folds):
    est = estimator(**params).fit(*bent_law(n))
    made, fits = folds
    assert made == []
    assert len(fits) == 1
    assert est.matcher_.noise_scale_ == params.get(
        "matcher__noise_scale", est.matcher_.noise_scale_
    )


def test_labels_have_no_folds(folds):
    _, y = bent_law(60)
    estimator().fit(np.eye(3)[np.arange(60) % 3], y)
    assert folds[0] == []


def test_a_further_fit_keeps_the_scale(monkeypatch):
    x, y = bent_law(60)
    monkeypatch.setattr("sklsdm.matchers.base.best_noise_scale", lambda parts, random: 1.7)
    est = estimator(warm_start=True).fit(x, y)
    assert est.matcher_.noise_scale_ == 1.7
    monkeypatch.setattr(noise_scale, "folds", None)  # calling it would raise
    assert est.fit(x, y).matcher_.noise_scale_ == 1.7


def test_the_users_callbacks_see_the_fit_itself_alone():
    class Counts(Callback):
        n_trainings = 0

        def on_train_begin(self, net, **kwargs):
            Counts.n_trainings += 1

    estimator(matcher__callbacks=[Counts()]).fit(*bent_law(60))
    assert Counts.n_trainings == 1


def test_a_fold_that_diverges_leaves_the_noise_as_it_is(monkeypatch):
    fit = EnergyMatcher.fit

    def diverges(self, data, run):
        if len(data.latent) < 54:
            raise DivergenceError("far off")
        return fit(self, data, run)

    monkeypatch.setattr(EnergyMatcher, "fit", diverges)
    assert estimator().fit(*bent_law(60)).matcher_.noise_scale_ == 1.0


def test_ctrl_c_in_a_fold_ends_the_fit_and_keeps_what_was_learnt(monkeypatch):
    fit = EnergyMatcher.fit

    def interrupted(self, data, run):
        fit(self, data, run)
        self.interrupted_ = len(data.latent) < 54
        return self

    monkeypatch.setattr(EnergyMatcher, "fit", interrupted)
    x, y = bent_law(60)
    est = estimator()
    with pytest.raises(KeyboardInterrupt):
        est.fit(x, y)
    assert est.interrupted_
    assert est.matcher_.noise_scale_ == 1.0
    assert est.sample(x).shape == (60, 1, 2)
