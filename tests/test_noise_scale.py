"""The noise's scale of few pairs, chosen by fits that leave some of them out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import DivergenceError, NotImprovedWarning
from sklsdm.fitting import noise_by_folds
from sklsdm.matchers import EnergyMatcher
from sklsdm.matchers.noise_scale import HeldOut, best_noise_scale
from sklsdm.metrics import interval_coverage

STEPS, EPOCH_STEPS = 60, 20
LONG = 200  # something is learnt
CHOSEN = 1.7


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
    splits, fit = noise_by_folds.folds, EnergyMatcher.fit

    def noted(*args):
        made.extend(found := list(splits(*args)))
        return found

    def counted(self, data, run):
        fits.append(len(data.latent))
        return fit(self, data, run)

    monkeypatch.setattr(noise_by_folds, "folds", noted)
    monkeypatch.setattr(EnergyMatcher, "fit", counted)
    return made, fits


@pytest.fixture
def chosen(monkeypatch):
    """The scale that is chosen wherever one is, in short epochs."""
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", EPOCH_STEPS)
    monkeypatch.setattr(
        "sklsdm.matchers.generators.best_noise_scale", lambda held_out, random: CHOSEN
    )


def test_the_scale_by_thirty_pairs_is_seldom_far_off():
    """Of thirty pairs one more in the intervals had been a reason for any scale."""
    narrow, found = 1 / 1.3, []
    for seed in range(60):
        latent = torch.randn((30, 1), generator=torch.Generator().manual_seed(seed))
        pairs = HeldOut(lambda _, noise: narrow * noise, 1, torch.zeros((30, 1)), latent)
        found.append(best_noise_scale([pairs], torch.Generator().manual_seed(seed)))
    assert np.sqrt(np.mean(np.log(narrow * np.array(found)) ** 2)) < 0.14  # was .158


@pytest.mark.slow
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
    est, again = (estimator(100, matcher__lr=4e-3).fit(*bent_law(60)) for _ in range(2))
    made, fits = folds
    assert fits == 2 * [54, 40, 40, 41, 41]
    left_out = np.concatenate([rest for _, rest in made[:4]])
    assert_array_equal(np.sort(left_out), np.arange(54))
    assert est.matcher_.noise_scale_ == again.matcher_.noise_scale_ > 1


def test_folds_see_no_codes_without_a_condition(monkeypatch):
    seen = []
    fit = EnergyMatcher.fit

    def noted(self, data, run):
        seen.append(data)
        return fit(self, data, run)

    monkeypatch.setattr(EnergyMatcher, "fit", noted)
    x, y = bent_law(90)
    estimator(unpaired="match").fit(x[:60], y[:60], y[60:])
    assert len(seen) == 5
    assert len(seen[0].codes) == len(seen[0].latent) + 30
    for data in seen[1:]:
        assert data.codes is None


def test_groups_stay_whole(folds):
    estimator().fit(*bent_law(60), groups=np.arange(60) // 5)
    made, _ = folds
    assert len(made) == 4
    assert all(len(rest) % 5 == 0 for _, rest in made)


@pytest.mark.parametrize(
    ("n", "params", "groups", "scale"),
    [
        (60, {"matcher__noise_scale": 1.2}, None, 1.2),
        (60, {"validation_fraction": 0}, None, 1.0),
        (7, {}, None, 1.0),
        (220, {"validation_fraction": 0.05}, None, 1.0),
        (60, {}, np.arange(60) // 15, 1.0),
        (60, {}, np.maximum(np.arange(60) - 40, 0), 1.0),
        (200, {}, None, CHOSEN),
        (17, {}, None, CHOSEN),
        (60, {}, None, CHOSEN),
    ],
    ids=[
        "given by the user",
        "nothing held out",
        "too few to hold any out",
        "too many to fit again",
        "few groups",
        "most pairs in one group",
        "enough held out",
        "by folds, none held out",
        "by folds",
    ],
)
def test_where_the_scale_is_chosen(n, params, groups, scale, folds, chosen):
    est = estimator(LONG, **params).fit(*bent_law(n), groups=groups)
    assert est.matcher_.best_step_ > 0
    assert est.matcher_.noise_scale_ == scale
    assert len(folds[1]) == (5 if scale == CHOSEN and n < 200 else 1)  # fits


def test_a_start_that_was_kept_is_not_widened(chosen):
    x = np.random.default_rng(0).normal(size=(60, 5))
    with pytest.warns(NotImprovedWarning):
        est = estimator().fit(x, x[:, :2] + x[:, 2:4], X_val=x[:5], y_val=1e3 * x[:5, :2])
    assert est.matcher_.best_step_ == 0
    assert est.matcher_.noise_scale_ == 1.0


def test_few_pairs_of_the_user_that_judge_have_folds_too(folds, chosen):
    x, y = bent_law(75)
    est = estimator(LONG).fit(x[:60], y[:60], X_val=x[60:], y_val=y[60:])
    assert folds[1] == [60, 45, 45, 45, 45]
    assert est.matcher_.noise_scale_ == CHOSEN


def test_labels_have_no_folds(folds):
    _, y = bent_law(60)
    estimator().fit(np.eye(3)[np.arange(60) % 3], y)
    assert folds[0] == []


def test_a_further_fit_chooses_anew(folds, chosen):
    x, y = bent_law(60)
    est = estimator(warm_start=True).fit(x, y).fit(x, y)
    assert folds[1] == 2 * [54, 40, 40, 41, 41]
    assert est.matcher_.noise_scale_ == CHOSEN


def test_progress_counts_the_folds(capsys):
    estimator(LONG, verbose=2).fit(*bent_law(60))
    lines = [line for line in capsys.readouterr().err.split("\n") if "noise's scale" in line]
    assert len(lines) == 4
    assert "fit 4/4" in lines[-1]


def test_the_users_callbacks_see_the_fit_itself_alone():
    class Counts(Callback):
        n_trainings = 0

        def on_train_begin(self, net, **kwargs):
            Counts.n_trainings += 1

    estimator(matcher__callbacks=[Counts()]).fit(*bent_law(60))
    assert Counts.n_trainings == 1


def test_a_fold_that_diverges_leaves_the_noise_as_it_is(monkeypatch, chosen):
    fit = EnergyMatcher.fit

    def diverges(self, data, run):
        if len(data.latent) < 54:
            raise DivergenceError("far off")
        return fit(self, data, run)

    monkeypatch.setattr(EnergyMatcher, "fit", diverges)
    assert estimator(LONG).fit(*bent_law(60)).matcher_.noise_scale_ == 1.0


def interrupted_net(self, data, run, fit=EnergyMatcher.fit):
    """A fit that Ctrl-C ended, if it is that of a fold."""
    fit(self, data, run)
    self.interrupted_ = len(data.latent) < 54
    return self


def interrupted_before(self, data, run, fit=EnergyMatcher.fit):
    """Ctrl-C before the training of a fold began."""
    if len(data.latent) < 54:
        raise KeyboardInterrupt
    return fit(self, data, run)


@pytest.mark.parametrize("interrupted", [interrupted_net, interrupted_before])
def test_ctrl_c_in_a_fold_ends_the_fit_and_keeps_what_was_learnt(interrupted, monkeypatch, chosen):
    monkeypatch.setattr(EnergyMatcher, "fit", interrupted)
    x, y = bent_law(60)
    est = estimator(LONG)
    with pytest.raises(KeyboardInterrupt):
        est.fit(x, y)
    assert est.interrupted_
    assert est.matcher_.noise_scale_ == 1.0
    assert est.sample(x).shape == (60, 1, 2)
