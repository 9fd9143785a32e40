"""What `fit` chooses by cross-fitting: the condition encoder and the use of unpaired responses."""

import functools
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ONE_FIT, shorten_epochs, small, two_sided
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_pinwheel
from sklsdm.encoders import (
    AutoConditionEncoder,
    FlattenConditionEncoder,
    PeriodicConditionEncoder,
    TreesConditionEncoder,
)
from sklsdm.fitting import choosing
from sklsdm.fitting.choosing import choose_best, choose_first_as_good
from sklsdm.fitting.holding_out import folds_of, hold_out_pairs
from sklsdm.fitting.pairs import Pairs
from sklsdm.fitting.uses import check_weight, uses_to_try
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import EnergyMatcher, MDNMatcher
from sklsdm.run import Run

RNG = np.random.default_rng(0)
X = np.column_stack([np.arange(60.0), RNG.normal(size=60)])
Y = X / [20.0, 1.0] + 0.3 * RNG.normal(size=(60, 2))
MORE = Y[:50] + 0.1 * RNG.normal(size=(50, 2))
WIDE = Y @ RNG.normal(size=(2, 12)) + 0.05 * RNG.normal(size=(60, 12))


pytestmark = pytest.mark.usefixtures("small_forests")


def quick(steps=20, **params):
    """Short fits of small networks, whose noise is not scaled."""
    est = small(small(LSDMRegressor(matcher="energy", random_state=0)), ONE_FIT)
    return est.set_params(matcher__max_steps=steps, **params)


def draw(est, x=X[:10]):
    return est.sample(x, 3, random_state=0)


def of_patched(monkeypatch, kind):
    """The data of each fit of this kind of matcher from now on."""
    seen, fit = [], kind.fit

    def noted(self, data, run):
        seen.append(data)
        return fit(self, data, run)

    monkeypatch.setattr(kind, "fit", noted)
    return seen


def rows_of(condition):
    """Which pairs these conditions are of: the first column of X counts them."""
    scaled = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    return np.abs(condition[:, :1].numpy() - scaled).argmin(axis=1)


# ------------------------------------------------------------------ the encoder that sees
def steps(n=300):
    """The response steps with two of eight columns."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 8))
    return x, np.sign(x[:, :1]) * (1 + np.sign(x[:, 1:2])) + 0.1 * rng.normal(size=(n, 1))


@pytest.mark.slow
def test_trees_are_chosen_where_the_law_has_steps():
    est = quick(200).fit(*steps())
    assert type(est.condition_encoder_) is TreesConditionEncoder
    assert choose_best(est.encoder_scores_) == "trees"
    assert est.encoder_scores_["trees"].mean() < est.encoder_scores_["flatten"].mean() - 0.05
    assert est.held_out_scores_ == {}


@pytest.mark.slow
def test_waves_are_chosen_where_the_law_turns():
    pinwheel, others = make_pinwheel(1000, random_state=0), make_pinwheel(400, random_state=50)
    est = quick(200).fit(pinwheel.X, pinwheel.y, X_val=others.X, y_val=others.y)
    assert list(est.encoder_scores_) == ["flatten", "trees", "periodic"]
    assert type(est.condition_encoder_) is PeriodicConditionEncoder


@pytest.mark.slow
def test_on_a_linear_gaussian_law_conditions_enter_as_they_are_or_as_well():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    est = quick(200).fit(x, x @ rng.normal(size=(3, 2)) + 0.5 * rng.normal(size=(200, 2)))
    chosen = choose_best(est.encoder_scores_)
    assert choose_first_as_good(
        {name: est.encoder_scores_[name] for name in ("flatten", chosen)}
    ) == ("flatten")


def test_labels_and_few_pairs_are_not_compared():
    labels = np.eye(3)[np.arange(60) % 3]
    for x, n in ((labels, 60), (X, 19), (X, 29)):
        est = quick(1).fit(x[:n], Y[:n])
        assert isinstance(est.condition_encoder_, FlattenConditionEncoder)
        assert est.encoder_scores_ == {}


# ------------------------------------------------------------------ folds
@pytest.mark.parametrize("groups", [None, np.arange(50) % 7, np.arange(50) % 2])
def test_folds_cover_all_pairs_once_and_split_no_group(groups):
    folds = folds_of(50, 0, groups)
    assert len(folds) == (3 if groups is None or groups.max() > 1 else 2)
    assert_array_equal(np.sort(np.concatenate(folds)), np.arange(50))
    if groups is None:
        assert sorted(map(len, folds)) == [16, 17, 17]
    else:
        kinds = [set(groups[fold]) for fold in folds]
        assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert not all(map(np.array_equal, folds, folds_of(50, 1, groups)))
    for fold, again in zip(folds, folds_of(50, 0, groups), strict=True):
        assert_array_equal(fold, again)


def test_from_3000_pairs_on_there_is_one_fold():
    assert len(folds_of(2999, 0)) == 3
    (fold,) = folds_of(3000, 0)
    assert len(fold) == len(set(fold)) == 1024
    groups = np.arange(3000) // 100
    (fold,) = folds_of(3000, 0, groups)
    assert_array_equal(np.flatnonzero(np.isin(groups, groups[fold])), fold)
    assert len(fold) == 1100
    (fold,) = folds_of(3000, 0, (np.arange(3000) > 29).astype(int))
    assert_array_equal(fold, np.arange(30))  # a group of more than half is learnt from
    assert folds_of(3000, 0, (np.arange(3000) > 9).astype(int)) == []
    for n_pairs in (600, 6000):
        groups = np.maximum(np.arange(n_pairs) - 2 * n_pairs // 3, 0) // 5
        for fold in folds_of(n_pairs, 0, groups):
            assert fold.min() >= 2 * n_pairs // 3
    (fold,) = folds_of(3000, 0, (np.arange(3000) >= 1500).astype(int))  # one group is learnt from
    assert len(fold) == 1500


@pytest.mark.parametrize("grouped", [False, True])
def test_each_pair_is_judged_once_by_a_fit_of_stage_two_without_it(monkeypatch, grouped):
    groups = np.arange(60) // 6 if grouped else None
    fits, judged = of_patched(monkeypatch, MDNMatcher), []

    def noted(sampler, condition, y, std):
        judged.append(np.array([np.flatnonzero((row == Y).all(axis=1))[0] for row in y]))
        assert_array_equal(rows_of(torch.from_numpy(condition)), judged[-1])
        return np.full(len(y), float(len(judged)))

    monkeypatch.setattr(choosing, "multiscale_scores", noted)
    monkeypatch.setattr(choosing, "_FEWEST_GROUPS_TO_DROP", 100)  # none falls behind
    est = quick().fit(X, Y, groups=groups)
    assert len(fits) == len(judged) == 2 * 3  # flatten and trees
    for place, (data, rows) in enumerate(zip(fits, judged, strict=True)):
        assert len(data.held_latent) == len(rows)  # they choose its state, and are not learnt from
        assert_array_equal(np.sort(np.r_[rows_of(data.condition), rows]), np.arange(60))
        assert_array_equal(rows, judged[place // 2 * 2])  # both candidates have the same folds
        if grouped:
            assert not set(groups[rows]) & set(groups[rows_of(data.condition)])
    assert_array_equal(np.sort(np.concatenate(judged[::2])), np.arange(60))
    units = [rows if groups is None else np.unique(groups[rows]) for rows in judged[::2]]
    expected = np.repeat([1.0, 3.0, 5.0], list(map(len, units)))
    assert_array_equal(est.encoder_scores_["flatten"], expected)


def test_encoders_that_give_equal_conditions_are_fitted_once(monkeypatch):
    def twice(self, condition, codes, seed, are_images):
        return {"flatten": FlattenConditionEncoder(), "again": FlattenConditionEncoder()}

    monkeypatch.setattr(AutoConditionEncoder, "candidates", twice)
    fits = of_patched(monkeypatch, MDNMatcher)
    scores = quick().fit(X, Y).encoder_scores_
    assert len(fits) == 3
    assert_array_equal(scores["again"], scores["flatten"])


def test_an_encoder_is_fitted_once_for_each_fold_and_latent_space(monkeypatch):
    """Both comparisons share it, and all uses of unpaired responses in one latent space."""
    fit, n_pairs = FlattenConditionEncoder.fit_transform, []

    def noted(self, condition, codes, seed, groups=None):
        n_pairs.append(len(condition))
        return fit(self, condition, codes, seed, groups)

    monkeypatch.setattr(FlattenConditionEncoder, "fit_transform", noted)
    est = quick().fit(X, Y, MORE)
    assert len(est.held_out_scores_) == 3
    assert n_pairs == 2 * [40, 40, 40] + [54]  # of all responses, of the pairs, and the end


def test_uses_are_not_judged_by_the_fits_of_the_encoders(monkeypatch):
    short = of_patched(monkeypatch, EnergyMatcher)
    est = quick().fit(X, Y, MORE)
    assert est.encoder_scores_
    assert len(short) == 3 * len(est.held_out_scores_) + 1  # every use on three folds, and the end


def test_copies_of_the_pairs_that_judge_are_kept_from_the_short_fits(monkeypatch):
    fits = of_patched(monkeypatch, EnergyMatcher)
    quick(1, condition_encoder="flatten").fit(X, Y, np.concatenate([Y, MORE]))
    matching = [data for data in fits[:-1] if data.codes is not None]
    assert len(matching) >= 3
    for data in matching:
        assert len(data.held_latent) == 0  # a fit of one use takes all its steps
        assert len(data.codes) == 2 * 40 + 50  # the copies of 20 pairs are left out


def test_validation_pairs_replace_the_folds(monkeypatch):
    judges = {"X_val": X[:25], "y_val": Y[:25]}
    short, final = of_patched(monkeypatch, MDNMatcher), of_patched(monkeypatch, EnergyMatcher)
    est = quick(1).fit(X, Y, **judges)
    assert [len(data.latent) for data in short] == [60, 60]  # flatten and trees
    assert [len(data.held_latent) for data in final] == [25]
    assert {len(scores) for scores in est.encoder_scores_.values()} == {25}
    est = quick(1, condition_encoder="flatten").fit(X, Y, MORE, **judges)
    assert [len(data.latent) for data in final[1:3]] == [60, 60]  # none and match
    assert {len(scores) for scores in est.held_out_scores_.values()} == {25}


# ------------------------------------------------------------------ randomness
def test_equal_seeds_choose_and_draw_the_same(monkeypatch):
    monkeypatch.setattr("sklsdm.fitting.holding_out.N_FOLDS", 2)
    states = torch.get_rng_state(), random.getstate()
    first, again = (quick(5, autoencoder="pca").fit(X, WIDE, WIDE[:30] + 0.1) for _ in range(2))
    assert_array_equal(draw(first), draw(again))
    assert (first.encoder_scores_.keys(), first.held_out_scores_.keys()) == (
        {"flatten", "trees"},
        {"none", "latent", "match", "pair"},
    )
    for name in ("encoder_scores_", "held_out_scores_"):
        for key, scores in getattr(first, name).items():
            assert scores.shape == (60,)
            assert_array_equal(getattr(again, name)[key], scores)
    assert_array_equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_the_choice_leaves_the_final_fit_alone():
    """It draws as a fit that was told the choice."""
    est = quick().fit(X, Y, MORE)
    encoder = clone(est.condition_encoder_)
    told = quick(condition_encoder=encoder, unpaired=est.unpaired_).fit(X, Y, MORE)
    assert (told.encoder_scores_, told.held_out_scores_) == ({}, {})
    assert_array_equal(draw(est), draw(told))


# ------------------------------------------------------------------ uses of unpaired responses
def test_uses_to_try():
    def tried(
        asked="auto",
        n_unpaired=9,
        can_judge=True,
        weight="auto",
        are_labels=False,
        pairs_first=False,
        **of_space,
    ):
        pairs = SimpleNamespace(are_labels=are_labels)
        stage = SimpleNamespace(n_unpaired=n_unpaired, pairs=pairs, pairs_first=pairs_first)
        space = SimpleNamespace(form=SimpleNamespace(is_image=of_space.pop("is_image", False)))
        coded = SimpleNamespace(
            **{"are_images": False, "learns_space": True} | of_space, space=space
        )
        return uses_to_try(asked, stage, coded, can_judge=can_judge, weight=weight)

    assert tried() == ("none", "latent", "match", "pair")
    assert tried(is_image=True) == ("latent", "match", "pair")
    assert tried(is_image=True, are_labels=True) == ("pair", "match", "latent")
    assert tried(is_image=True, are_labels=True, can_judge=False) == ("latent",)
    assert tried(is_image=True, are_images=True) == ("latent",)
    assert tried(is_image=True, are_images=True, are_labels=True) == ("pair",)
    assert tried(pairs_first=True) == ("pair", "match", "latent", "none")
    assert tried(is_image=True, are_images=True, pairs_first=True) == ("pair",)
    assert tried(learns_space=False) == ("none", "match", "pair")
    assert tried(learns_space=False, is_image=True) == ("none", "match", "pair")
    assert tried(can_judge=False) == ("latent",)
    assert tried(can_judge=False, learns_space=False) == ("none",)
    assert tried(can_judge=False, weight=1.0) == ("match",)
    assert tried(n_unpaired=0) == tried("pair", n_unpaired=0) == ("none",)
    assert tried("pair", can_judge=False) == ("pair",)


def test_what_is_used_without_a_comparison():
    assert quick(1).fit(X, Y).unpaired_ == "none"
    few = quick(1).fit(X[:19], Y[:19], MORE)
    assert (few.unpaired_, few.held_out_scores_, few.n_unpaired_) == ("none", {}, len(MORE))
    wide = quick(1, autoencoder="pca").fit(X[:19], WIDE[:19], WIDE[19:])
    assert (wide.unpaired_, wide.held_out_scores_) == ("latent", {})
    weighted = quick(1, matcher__unpaired_weight=1.0).fit(X[:19], Y[:19], MORE)
    assert weighted.unpaired_ == "match"
    images = WIDE.reshape(60, 3, 4)
    est = quick(1, autoencoder="pca", condition_encoder="flatten").fit(X, images, images + 1)
    assert list(est.held_out_scores_) == ["latent", "match", "pair"]


@pytest.mark.parametrize("asked", ["none", "latent"])
def test_a_weight_without_effect_is_refused(asked):
    with pytest.raises(ValueError, match=rf"weight=1\.0 has no effect with unpaired='{asked}'"):
        check_weight(asked, 1.0)
    with pytest.raises(ValueError, match="has no effect"):
        quick(unpaired=asked, matcher__unpaired_weight=1.0).fit(X, Y, MORE)
    check_weight(asked, "auto")
    check_weight("auto", 1.0)


def test_ties_go_to_the_safer_use():
    worse = np.arange(5.0) % 2
    assert choose_first_as_good({"none": worse + 1, "match": worse}) == "match"
    assert choose_first_as_good({"none": worse, "match": worse[::-1] + 0.0}) == "none"
    assert choose_first_as_good({"none": worse, "match": worse}) == "none"
    noise = np.random.default_rng(0).normal(size=100)
    noise -= noise.mean()  # the standard error of its mean is near .1
    assert choose_first_as_good({"none": noise + 0.05, "latent": np.zeros(100)}) == "none"
    assert choose_first_as_good({"none": noise + 0.2, "latent": np.zeros(100)}) == "latent"
    assert choose_first_as_good({"none": noise + 0.15, "latent": np.zeros(100)}, 2.0) == "none"
    assert choose_best({"none": noise + 1, "latent": noise, "match": noise}) == "latent"


def test_the_use_is_chosen_by_the_scores():
    est = quick(condition_encoder="flatten").fit(X, Y, MORE)
    assert list(est.held_out_scores_) == ["none", "match", "pair"]  # stage 1 learns nothing
    assert est.unpaired_ == choose_first_as_good(est.held_out_scores_, 2.0)


@pytest.mark.slow
def test_copies_of_the_pairs_tell_nothing():
    alone = quick().fit(X, Y)
    pooled = quick().fit(X, Y, Y[::-1][:40])
    assert (pooled.unpaired_, pooled.held_out_scores_, pooled.n_unpaired_) == ("none", {}, 40)
    assert_array_equal(draw(pooled), draw(alone))
    assert quick(1, unpaired="match").fit(X, Y, Y).unpaired_ == "match"
    assert quick(1).fit(X, Y, np.concatenate([Y[:20], Y[:20]])).held_out_scores_  # twice is more


@pytest.mark.parametrize("use", ["none", "latent", "match", "pair"])
def test_encoders_are_compared_with_every_use(use):
    est = quick(unpaired=use).fit(X, Y, MORE)
    assert (est.unpaired_, set(est.encoder_scores_)) == (use, {"flatten", "trees"})


@pytest.mark.slow
def test_unpaired_responses_that_help_stay_in_stage_2():
    """Thirty pairs hardly show the two sides, 3,000 responses do; 300 held-out pairs see it."""
    (x, y), (_, more), (X_val, y_val) = (
        two_sided(n, seed, 0.1) for n, seed in ((30, 0), (3000, 1), (300, 2))
    )
    est = quick(300, condition_encoder="flatten", matcher="energy")  # with wide networks
    est.set_params(matcher__max_steps=300).fit(x, y, more, X_val=X_val, y_val=y_val)
    assert est.unpaired_ in ("match", "pair")


@pytest.mark.parametrize(
    ("matcher", "max_steps", "n_pairs", "n_wrong"),
    [
        ("energy", 100, 200, 600),
        pytest.param("energy", 600, 600, 3000, marks=pytest.mark.slow),
        pytest.param("mdn", 600, 600, 3000, marks=pytest.mark.slow),
    ],
)
def test_misleading_unpaired_responses_are_left_out_of_stage_2(
    matcher, max_steps, n_pairs, n_wrong
):
    """Responses from elsewhere hide the two sides; 300 held-out pairs show what that costs.

    The fit is then, number by number, one without them.
    """
    (x, y), (X_val, y_val) = two_sided(n_pairs, 0), two_sided(300, 1)
    wrong = 5 * np.random.default_rng(2).normal(size=n_wrong)
    held_out = {"X_val": X_val, "y_val": y_val}
    est = small(quick(matcher=matcher, condition_encoder="flatten"))
    est.set_params(matcher__max_steps=max_steps)
    assert est.fit(x, y, wrong, **held_out).unpaired_ == "none"
    alone = clone(est).fit(x, y, **held_out)
    assert_array_equal(alone.sample(x[:9], 5, random_state=0), est.sample(x[:9], 5, random_state=0))
    est.set_params(matcher__unpaired_weight=1.0)
    assert est.fit(x, y, wrong, **held_out).unpaired_ == "none"


def test_where_they_spoil_the_latent_space_the_fit_is_one_without_them():
    """They lie in other directions, so that few of their components say nothing of the pairs."""
    rng = np.random.default_rng(1)
    wrong = 5 * rng.normal(size=(200, 3)) @ rng.normal(size=(3, 12))
    params = {"autoencoder": "pca", "latent_dim": 2, "condition_encoder": "flatten"}
    est = quick(**params).fit(X, WIDE, wrong)
    assert est.unpaired_ == "none"
    assert list(est.held_out_scores_) == ["none", "latent", "match", "pair"]
    alone = quick(**params).fit(X, WIDE)
    asked = quick(unpaired="none", **params).fit(X, WIDE, wrong)
    assert (alone.unpaired_, asked.held_out_scores_) == ("none", {})
    for other in (alone, asked):
        assert_array_equal(draw(other), draw(est))
        assert_array_equal(other.encode(WIDE), est.encode(WIDE))


def test_none_reads_nothing_of_them_also_without_a_latent_space():
    alone = quick(condition_encoder="flatten").fit(X, Y)
    est = quick(condition_encoder="flatten", unpaired="none").fit(X, Y, 100 * MORE)
    assert_array_equal(draw(est), draw(alone))


# ------------------------------------------------------------------ callbacks, Ctrl-C, progress
class Count(Callback):
    """Counts the trainings that call it."""

    def __init__(self):
        self.n_trainings = 0

    def on_train_begin(self, net, **kwargs):
        self.n_trainings += 1


def test_users_callbacks_see_the_final_fit_alone():
    mine = Count()
    est = quick(1, matcher__callbacks=[mine]).fit(X, Y, MORE)
    assert est.held_out_scores_
    assert est.encoder_scores_
    assert mine.n_trainings == 1
    assert est.matcher_.callbacks_ == [mine]


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("choice", ["encoder", "use"])
def test_ctrl_c_in_the_choice_leaves_the_earlier_fit(monkeypatch, choice):
    kind = MDNMatcher if choice == "encoder" else EnergyMatcher
    params = {} if choice == "encoder" else {"condition_encoder": "flatten"}
    est = quick(**params).fit(X[:30], Y[:30])
    before, fit = draw(est), kind.fit
    monkeypatch.setattr(
        kind, "fit", lambda self, *args: fit(self.set_params(callbacks=[Interrupt()]), *args)
    )
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, Y, MORE)
    assert_array_equal(draw(est), before)
    assert est.n_paired_ == 30
    assert not est.interrupted_


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_tells_of_the_short_fits(capfd, verbose):
    quick(verbose=verbose).fit(X, Y, MORE)
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if "comparing" in line]
    assert lines == verbose * [
        "comparing 2 condition encoders: 6 fits of at most 20 steps",
        "comparing 3 uses of the unpaired responses: 9 fits of at most 20 steps",
    ]
    assert bool(err) == bool(verbose)
    for what, n_fits in [("condition encoders", 6), ("uses of the unpaired responses", 9)]:
        assert (f"{what}: fit {n_fits}/{n_fits}\n" in err) == bool(verbose)
    assert err.count("stage 2 (matching): epoch 1/1") == verbose  # the short fits have none


def test_short_fits_of_uses_take_a_share_of_the_final_steps(monkeypatch):
    """But each at least `_FEWEST_STEPS`, and none more than the final fit."""
    monkeypatch.setattr(choosing, "_SHARE_OF_STEPS", 0.75)
    monkeypatch.setattr(choosing, "_FEWEST_STEPS", 100)
    taken = []

    def noted(self, setting, fold):
        taken.append(self.matcher.max_steps)
        return np.zeros(9)

    monkeypatch.setattr(choosing.ShortFits, "scores", noted)
    rows = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    device, pair = torch.device("cpu"), choosing.Pairs(rows, rows)
    stage = choosing.StageTwo(pair, Responses(rows, rows), Run(device, 0))
    for n_steps, expected in ((50, 50), (200, 100), (8000, 2000)):
        taken.clear()
        choosing.choose_setting(
            stage,
            dict.fromkeys(("latent", "match", "pair"), None),
            {"flatten": FlattenConditionEncoder()},
            EnergyMatcher(max_steps=n_steps),
            np.ones(2),
        )
        assert taken == [expected] * 3


@pytest.mark.parametrize(
    ("uses", "errors", "chosen"),
    [
        (("pair", "match", "latent"), 3.5, "pair"),
        (("pair", "match", "latent"), 4.5, "match"),
        (("latent", "match", "pair"), 1.5, "latent"),
        (("latent", "match", "pair"), 2.5, "match"),
    ],
)
def test_short_fits_of_labelled_images_are_doubted_more(uses, errors, chosen, monkeypatch):
    """The first use is worse than the second by so many standard errors, the third far worse."""
    noise = np.random.default_rng(0).normal(size=400)
    noise = (noise - noise.mean()) * 20 / noise.std(ddof=1) + errors
    at = dict(zip(uses, (noise, np.zeros(400), np.full(400, 99.0)), strict=True))

    def told(self, setting, fold):
        return at[setting.use]

    rows = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    pairs = choosing.Pairs(rows, rows)
    if uses[0] == "pair":
        images = np.random.default_rng(1).uniform(size=(400, 4, 4))
        pairs = choosing.Pairs((rows > 0).astype(np.float32), images)
    monkeypatch.setattr(choosing.ShortFits, "scores", told)
    found = choosing.choose_setting(
        choosing.StageTwo(pairs, Responses(pairs.y, pairs.y), Run(torch.device("cpu"), 0)),
        dict.fromkeys(uses, None),
        {"flatten": FlattenConditionEncoder()},
        EnergyMatcher(max_steps=50),
        np.ones(2),
        pairs,
    )
    assert found.setting.use == chosen


@pytest.mark.parametrize(
    ("n_pairs", "behind", "judged"),
    [(200, 1.0, (1, 1, 1)), (200, 0.2, (3, 3, 1)), (50, 1.0, (2, 2, 2))],
)
def test_who_falls_far_behind_is_dropped(n_pairs, behind, judged):
    """Here a is best, b is behind it, with an error of .1 for 200 pairs, and c is far behind."""
    random = np.random.default_rng(0)
    at = {"a": 0.0, "b": behind, "c": 9.0}
    calls = Counter()

    def score(name, fold):
        calls[name] += 1
        return at[name] + random.normal(size=n_pairs)

    found = choosing.scores_by_fold(at, [0, 1, 2], score)
    assert tuple(calls.values()) == judged
    assert tuple(len(scores) // n_pairs for scores in found.values()) == judged
    assert choose_best(found) == choose_first_as_good(found) == "a"


@pytest.mark.parametrize(("behind", "n_folds"), [(3.0, 1), (0.9, 3)])
def test_of_groups_fewer_suffice_to_fall_behind(monkeypatch, behind, n_folds):
    """There are eight in each fold, by which differences have a standard error of .19."""
    calls = Counter()

    def scores(self, setting, fold):
        calls[setting.use] += 1
        return behind * (setting.use == "match") + np.arange(8.0) % 2 * (setting.use == "none")

    monkeypatch.setattr(choosing.ShortFits, "scores", scores)
    pairs = choosing.Pairs(X, Y, np.arange(60) // 5)
    stage = SimpleNamespace(pairs=pairs, run=Run(torch.device("cpu"), 0))
    trials = choosing.TrialEncoders(stage)
    fits = choosing.ShortFits(trials, [0, 1, 2], np.ones(2), EnergyMatcher(max_steps=1))
    settings = {use: choosing.Setting(use, None) for use in ("none", "match")}
    assert len(fits.compare("uses", settings)["match"]) == 8 * n_folds
    assert calls["match"] == n_folds


# ------------------------------------------------------------------ checkpoints
class Killed(BaseException):
    """Nothing catches it, as nothing catches the end of a process."""


class KillAt(Callback):
    """End the fit in one epoch of one of the trainings that call it."""

    armed = True  # no setting: a resumed fit has the settings of the one that was killed

    def __init__(self, training, epoch):
        self.training, self.epoch = training, epoch

    def on_train_begin(self, net, **kwargs):
        self.n_trainings_ = getattr(self, "n_trainings_", 0) + 1

    def on_epoch_begin(self, net, **kwargs):
        here = getattr(self, "n_trainings_", 0), len(net.history)
        if self.armed and here == (self.training, self.epoch):
            raise Killed


@pytest.fixture
def short_epochs(monkeypatch):
    """Of ten steps each, three in a training."""
    shorten_epochs(monkeypatch, 10)


def with_checkpoint(folder, **params):
    est = quick(30, autoencoder="mlp", autoencoder__max_epochs=3, condition_encoder="flatten")
    return est.set_params(latent_dim=3, matcher__widths=(16,), checkpoint=folder, **params)


UNPAIRED = np.random.default_rng(3).normal(size=(200, 12))


@functools.cache
def unbroken():
    return with_checkpoint(None).fit(X, WIDE, UNPAIRED)


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(
    ("part", "training", "left"),
    [
        pytest.param(
            *("autoencoder", 2, ["none-stage-1", "seed", "stage-1"]), marks=pytest.mark.slow
        ),
        ("matcher", 1, ["none-stage-1", "seed", "stage-1", "stage-2"]),
    ],
)
def test_a_killed_choice_ends_as_an_unbroken_one(tmp_path, monkeypatch, part, training, left):
    """The second training of an autoencoder is that on the pairs alone, with files of its own."""
    params = {f"{part}__callbacks": [KillAt(training, 2)]}
    with pytest.raises(Killed):
        with_checkpoint(tmp_path, **params).fit(X, WIDE, UNPAIRED)
    (state,) = tmp_path.iterdir()
    assert sorted(path.stem for path in state.glob("*.state")) == left
    monkeypatch.setattr(KillAt, "armed", False)
    params = {f"{part}__callbacks": [KillAt(training, 2)]}
    resumed = with_checkpoint(tmp_path, **params).fit(X, WIDE, UNPAIRED)
    whole = unbroken()
    assert_array_equal(draw(resumed), draw(whole))
    assert resumed.unpaired_ == whole.unpaired_
    for use, scores in whole.held_out_scores_.items():
        assert_array_equal(resumed.held_out_scores_[use], scores)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_latent_dimension_does_not_grow_with_the_unpaired_responses():
    """More of them tell of more dimensions than the pairs can fill; images need them all."""
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 2))
    to_outputs = random.normal(size=(6, 60))
    y = np.c_[X, 0.3 * random.normal(size=(60, 4))] @ to_outputs
    more = random.normal(size=(2000, 6)) @ to_outputs
    est = LSDMRegressor(unpaired="latent", condition_encoder="flatten", random_state=0)
    est.set_params(matcher__max_steps=2, autoencoder__max_epochs=1)
    alone = clone(est).fit(X, y).latent_dim_
    assert clone(est).fit(X, y, more).latent_dim_ == alone
    images = [rows.reshape(-1, 6, 10) for rows in (y, more)]
    with_images = clone(est).fit(X, *images).latent_dim_
    assert with_images > alone


def test_judged_pairs_are_in_random_order():
    """Of a table that is sorted by x, the first few must not be all of small x."""
    pairs = Pairs(np.arange(5000.0, dtype=np.float32)[:, None], np.arange(5000.0))
    judged = pairs.to_judge(0)
    assert_array_equal(judged.condition[:, 0], judged.y)
    assert len(set(judged.y)) == 2000
    assert abs(judged.y[:256].mean() - 2500) < 300
    assert judged.y[:256].max() > 4900
    few = pairs.take(np.arange(256))
    assert few.to_judge(0) is few


def test_a_group_with_nearly_all_pairs_is_learnt_from():
    groups = np.r_[np.zeros(59, int), 1]
    for seed in range(4):
        assert_array_equal(hold_out_pairs(60, 0.1, seed, groups), [59])
    assert len(hold_out_pairs(60, 0.1, 0, np.zeros(60, int))) == 0
    est = quick(5).fit(X, Y, MORE, groups=groups)
    assert (est.encoder_scores_, est.held_out_scores_) == ({}, {})
    assert est.unpaired_ == "none"
    assert np.isfinite(draw(est)).all()
