"""What LSDMRegressor does beyond the contract: latent dimension, validation, score, interrupts."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ONE_FIT, plain_regressor, shorten_epochs, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, GradientNormClipping

from sklsdm import DivergenceError, LSDMRegressor, NotImprovedWarning, SamplingEnsemble
from sklsdm.autoencoders import MLPAutoencoder, PCAAutoencoder
from sklsdm.blocks import row_hashes
from sklsdm.fitting.holding_out import hold_out_pairs
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import EnergyMatcher, WGANMatcher
from sklsdm.metrics import energy_skill

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2))
Y = np.column_stack([X[:, 0], X[:, 0] - X[:, 1]]) + 0.5 * RNG.normal(size=(120, 2))
CURVES = Y @ RNG.normal(size=(2, 12)) + 0.1 * RNG.normal(size=(120, 12))


def quick(matcher="energy", **params):
    """A short fit; the critic of `wgan` starts at ridge regression, as the others do."""
    params = {"matcher__max_steps": 30, **params}
    if matcher == "wgan":
        params = {"matcher__start": "linear", **params}
    return plain_regressor(matcher=matcher, random_state=0).set_params(**params)


def draw(est):
    return est.sample(X, 3, random_state=0)


STEPS = 20


@pytest.fixture
def short_epochs(monkeypatch):
    shorten_epochs(monkeypatch, STEPS)


# ------------------------------------------------------------------ latent dimension and parts
@pytest.mark.parametrize("autoencoder", ["auto", "pca", "mlp", "identity"])
def test_few_outputs_keep_their_dimension(autoencoder):
    params = {"autoencoder": autoencoder}
    if autoencoder in ("auto", "mlp"):
        params["autoencoder__max_epochs"] = 1
    assert quick(**params).fit(X, Y[:, 0]).latent_dim_ == 1
    assert quick(**params).fit(X, CURVES[:, :8]).latent_dim_ == 8


@pytest.mark.parametrize(("dimension", "low", "high"), [(2, 3, 5), (4, 5, 8)])
def test_many_outputs_take_half_again_their_intrinsic_dimension(dimension, low, high):
    inside = RNG.uniform(-1, 1, size=(600, dimension))
    wide = np.hstack([inside, np.sin(2 * inside) + inside**2])
    wide = wide @ RNG.normal(size=(wide.shape[1], 25))
    found = quick(autoencoder="pca").fit(inside[:40, :1], wide[:40], wide[40:]).latent_dim_
    assert low <= found <= high


def test_auto_stays_below_the_number_of_responses():
    assert quick(autoencoder="pca").fit(X[:4], RNG.normal(size=(4, 30))).latent_dim_ <= 3
    assert quick().fit(X[:4], RNG.normal(size=(4, 8))).latent_dim_ == 8  # the identity needs none


def test_identity_takes_only_the_number_of_outputs():
    assert quick(autoencoder="identity", latent_dim=2).fit(X, Y).latent_dim_ == 2
    with pytest.raises(ValueError, match="latent_dim=1 does not fit autoencoder='identity'"):
        quick(autoencoder="identity", latent_dim=1).fit(X, Y)
    compressed = quick(autoencoder="auto", latent_dim=1, autoencoder__max_epochs=1).fit(X, Y)
    assert type(compressed.autoencoder_) is MLPAutoencoder


def test_parts_may_be_objects():
    named = quick("wgan", autoencoder="pca", latent_dim=3).fit(X, CURVES)
    parts = {"matcher": WGANMatcher(start="linear"), "autoencoder": PCAAutoencoder()}
    built = small(plain_regressor(latent_dim=3, random_state=0, **parts))
    built.set_params(matcher__max_steps=30, **ONE_FIT).fit(X, CURVES)
    assert_array_equal(draw(built), draw(named))
    assert isinstance(built.matcher_, WGANMatcher)
    assert built.matcher_ is not parts["matcher"]


# ------------------------------------------------------------------ ways to hand over data
def test_pairs_by_their_own_names():
    expected = draw(quick().fit(X, Y, Y[:30]))
    found = quick().fit(X_paired=X, Y_paired=Y, Y_unpaired=Y[:30])
    assert_array_equal(draw(found), expected)
    assert_array_equal(draw(quick().fit(X, Y_paired=Y, Y_unpaired=Y[:30])), expected)
    assert (found.n_paired_, found.n_unpaired_, found.n_features_in_) == (120, 30, 2)


def test_tables_lists_and_tensors():
    expected = quick().fit(X, Y, Y[:30])
    tables = [pd.DataFrame(part, columns=["u", "v"]) for part in (X, Y, Y[:30])]
    found = quick().fit(*tables)
    assert list(found.feature_names_in_) == ["u", "v"]
    assert_allclose(found.sample(tables[0], 3, random_state=0), draw(expected), rtol=1e-9)
    assert not hasattr(expected, "feature_names_in_")
    for convert in (np.ndarray.tolist, torch.from_numpy):
        found = quick().fit(*map(convert, (X, Y, Y[:30])))
        assert_allclose(draw(found), draw(expected), rtol=1e-9)


def test_polars():
    polars = pytest.importorskip("polars")
    tables = [polars.DataFrame(part, schema=["u", "v"]) for part in (X, Y, Y[:30])]
    found = quick().fit(*tables)
    assert list(found.feature_names_in_) == ["u", "v"]
    drawn = found.sample(tables[0], 3, random_state=0)
    assert_allclose(drawn, draw(quick().fit(X, Y, Y[:30])), rtol=1e-9)


def test_large_offsets_keep_their_digits():
    """A spread of 1e-8 of the mean is not rounded away: y is float64, and so are the draws."""
    offset, scale = 1e9, 1e-2
    plain, shifted = quick().fit(X, Y), quick().fit(X, offset + scale * Y)
    assert_allclose((draw(shifted) - offset) / scale, draw(plain), atol=2e-4)
    predicted = (shifted.predict(X) - offset) / scale
    assert_allclose(predicted, plain.predict(X), atol=2e-4)


# ------------------------------------------------------------------ validation pairs
def test_validation_pairs_replace_the_share_held_out():
    few = slice(0, 15)
    alone = quick().fit(X[few], Y[few])  # below 20 pairs none are held out
    assert "valid_multiscale_score" not in alone.history_["matcher"]
    near = quick().fit(X[few], Y[few], X_val=X[60:], y_val=Y[60:])
    away = quick().fit(X[few], Y[few], X_val=X[60:], y_val=Y[60:] + 100)
    assert near.history_["matcher"]["valid_multiscale_score"].max() < 3
    assert away.history_["matcher"]["valid_multiscale_score"].min() > 30


@pytest.mark.slow
@pytest.mark.parametrize(("matcher", "n_steps"), [("wgan", 2 * 200), ("diffusion", 200)])
def test_nothing_held_out_learns_from_all_pairs_to_the_last_step(matcher, n_steps):
    """The generator of `wgan` takes as many steps before the critic's first."""
    params = {"matcher": matcher, "matcher__max_steps": 200, "validation_fraction": 0.0}
    if matcher == "wgan":
        params["matcher__start"] = "diffusion"
    model = quick(**params).fit(X, Y, 2 * Y)
    assert model.matcher_.n_steps_ == n_steps
    assert all("valid" not in name for part in model.history_.values() for name in part)
    assert model.held_out_scores_ == {}


@pytest.mark.parametrize(
    ("n", "labels", "side", "n_unpaired", "judged"),
    [
        (60, True, 4, 0, False),
        (60, True, None, 0, True),  # no images
        (60, False, 4, 0, True),
        (60, True, 4, 50, True),
        (2000, True, 4, 0, True),
    ],
)
def test_few_labelled_images_all_teach(n, labels, side, n_unpaired, judged):
    """A tenth of them cannot tell which state draws best; user's own pairs still do."""
    random = np.random.default_rng(0)
    conditions = np.eye(3)[np.arange(n) % 3] if labels else random.normal(size=(n, 3))
    shape = (n + n_unpaired, 12) if side is None else (n + n_unpaired, side, side)
    responses = random.uniform(size=shape)
    few = {"autoencoder": "pca", "latent_dim": 2, "unpaired": "latent"}
    est = plain_regressor(matcher="energy", random_state=0, **few)
    est.set_params(matcher__max_steps=10)
    extra = responses[n:] if n_unpaired else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotImprovedWarning)
        est.fit(conditions, responses[:n], extra)
        assert (est.matcher_.best_score_ is not None) == judged
        est.fit(conditions, responses[:n], extra, X_val=conditions[:9], y_val=responses[:9])
    assert est.matcher_.best_score_ is not None


def test_the_state_is_chosen_on_the_validation_pairs():
    """Where training can only harm there, it stops at once and the start is kept."""
    matcher = EnergyMatcher(n_iter_no_change=2, lr=1e-2, widths=(32, 32))
    params = {"matcher": matcher, "matcher__max_steps": 400}
    curved = np.column_stack([np.abs(X[:, 0]), np.cos(3 * X[:, 1])])
    helped = quick(**params).fit(X, curved, X_val=X, y_val=curved)
    start = EnergyMatcher(max_steps=1, lr=1e-12, widths=(32, 32))
    start = plain_regressor(matcher=start, random_state=0)
    start.fit(X, curved, X_val=X, y_val=curved)
    against = start.predict(X) - 3 * (helped.predict(X) - start.predict(X))
    harmed = quick(**params).fit(X, curved, X_val=X, y_val=against)
    assert harmed.matcher_.n_steps_ == 200
    assert helped.matcher_.n_steps_ > 200
    start.matcher_.noise_scale_ = 1.0  # it is chosen for trained states only
    assert_allclose(draw(harmed), draw(start), atol=1e-5)


# ------------------------------------------------------------------ score
@pytest.fixture(scope="module")
def fitted():
    return quick(matcher__max_steps=200).fit(X, Y)


def test_score_is_the_energy_skill(fitted):
    X_new = RNG.normal(size=(400, 2))
    y_new = np.column_stack([X_new[:, 0], X_new[:, 0] - X_new[:, 1]])
    y_new += 0.5 * RNG.normal(size=(400, 2))
    draws = fitted.sample(X_new, 400, random_state=0)
    expected = energy_skill(y_new, draws, Y, scale=Y.std(axis=0))
    assert fitted.score(X_new, y_new) == pytest.approx(expected, abs=0.01)
    assert expected > 0.4
    weight = np.repeat([0.0, 2.0], 200)
    half = fitted.score(X_new[200:], y_new[200:])
    assert fitted.score(X_new, y_new, weight) == pytest.approx(half)


def test_score_does_not_see_units():
    plain, scaled = (quick(matcher__max_steps=100).fit(X, Y * u) for u in (1.0, [1e3, 1e-3]))
    assert scaled.score(X, Y * [1e3, 1e-3]) == pytest.approx(plain.score(X, Y), abs=1e-3)


def test_images_are_scored_by_one_spread():
    images = CURVES.reshape(120, 3, 4) * np.linspace(0.1, 3, 4)
    est = quick(autoencoder="pca", latent_dim=3).fit(X, images)
    draws = est.sample(X, 400, random_state=0)
    expected = energy_skill(images, draws, images, scale=images.std())
    assert est.score(X, images) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("matcher", ["energy", "wgan"])
def test_a_model_that_ignores_x_scores_zero(matcher):
    est = quick(matcher).fit(np.zeros_like(X), Y)
    X_new, y_new = np.zeros((2000, 2)), Y[RNG.integers(120, size=2000)]
    assert est.score(X_new, y_new) == pytest.approx(0, abs=0.05)
    worse = quick(matcher).fit(X, -Y)
    assert worse.score(X, Y) < -0.3


def test_without_a_reference():
    est = quick(store_reference=False).fit(X, Y)
    assert_array_equal(draw(est), draw(quick().fit(X, Y)))
    with pytest.raises(ValueError, match="store_reference=False kept none"):
        est.score(X, Y)


def test_the_reference_is_not_what_was_held_out():
    """Of 20,000 pairs 2,000 are held out, and as many kept to compare draws with."""
    y = np.arange(20_000.0)
    kept = Responses(y, None).some_paired(0)
    held = hold_out_pairs(len(y), 0.1, 0)
    assert len(kept) == len(held) == 2000
    assert np.isin(kept, y[held]).mean() < 0.2


def test_the_reference_is_bounded():
    many = RNG.normal(size=(2500, 1))
    est = quick(matcher__max_steps=1).fit(many, many)
    assert np.isin(est._reference_, many).all()
    assert len(np.unique(est._reference_)) == 2000


# ------------------------------------------------------------------ forecasts
def test_quantiles_and_intervals(fitted):
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    found = fitted.predict_quantiles(X, levels)
    assert (np.diff(found, axis=1) > 0).all()
    assert_allclose(fitted.predict_interval(X, 0.9), found[:, [0, -1]], rtol=1e-9)
    assert_allclose(fitted.predict_quantiles(X), found[:, [0, 2, 4]], rtol=1e-9)
    assert_allclose(fitted.predict_quantiles(X, 0.25), found[:, [1]], rtol=1e-9)
    below = fitted.sample(X, 2000, random_state=0)[:, :, None] < found[:, None]
    wanted = np.broadcast_to(np.array(levels)[:, None], (120, 5, 2))
    assert_allclose(below.mean(axis=1), wanted, atol=0.06)


def test_forecasts_agree_with_draws(fitted):
    mean, std = fitted.predict(X, return_std=True)
    draws = fitted.sample(X, 4000, random_state=0)
    assert_array_equal(fitted.predict(X), mean)
    assert_allclose(mean, draws.mean(axis=1), atol=0.06)
    assert_allclose(std, draws.std(axis=1), rtol=0.08)


# ------------------------------------------------------------------ history and progress
@pytest.mark.parametrize("matcher", ["energy", "wgan"])
def test_history_holds_arrays(matcher, monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", STEPS)
    params = {"autoencoder": "mlp", "autoencoder__max_epochs": 3, "matcher__max_steps": 2 * STEPS}
    est = quick(matcher, latent_dim=2, **params).fit(X, CURVES)
    wanted = {
        "autoencoder": {"train_loss", "valid_loss"},
        "matcher": {"train_loss", "valid_multiscale_score"},
    }
    for stage, n_epochs in (("autoencoder", 3), ("matcher", 2)):
        history = est.history_[stage]
        assert wanted[stage] <= history.keys()
        for values in history.values():
            assert values.shape == (n_epochs,)
            assert values.dtype == float
            assert np.isfinite(values).all()
    assert ("train_critic_loss" in est.history_["matcher"]) == (matcher == "wgan")
    assert est.history_["autoencoder"]["valid_loss"][-1] < 0.5
    assert est.matcher_.n_steps_ == 2 * STEPS
    assert not est.interrupted_


def test_progress_is_shown_on_request(capfd):
    params = {"autoencoder": "mlp", "autoencoder__max_epochs": 2}
    quick(**params).fit(X, CURVES)
    assert capfd.readouterr() == ("", "")
    quick(verbose=1, **params).fit(X, CURVES)
    shown = capfd.readouterr()
    assert shown.out == ""
    for stage in ("stage 1 (autoencoder): epoch 2/2", "stage 2 (matching): epoch 1/1"):
        assert f"{stage}, loss=" in shown.err


# ------------------------------------------------------------------ interrupts
class RaiseAt(Callback):
    """Raises at the end of an epoch, counted from 1, or in the middle of it."""

    def __init__(self, epoch, inside=False, error=KeyboardInterrupt):
        self.epoch = epoch
        self.inside = inside
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if self.inside and len(net.history) == self.epoch:
            raise self.error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("matcher", ["energy", "wgan"])
def test_ctrl_c_in_stage_2_keeps_the_best_state(matcher, inside):
    params = {"matcher__max_steps": 3 * STEPS, "matcher__callbacks": [RaiseAt(2, inside)]}
    est = quick(matcher, **params)
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, Y)
    assert est.interrupted_
    assert est.matcher_.interrupted_
    assert STEPS <= est.matcher_.n_steps_ <= 2 * STEPS
    assert est.score(X, Y) > 0.3
    # An earlier end is kept where it was the better one: here the very start, at a mad rate.
    mad = quick(matcher, **params).set_params(matcher__lr=3.0)
    with pytest.raises(KeyboardInterrupt):
        mad.fit(X, Y)
    start = quick(matcher, matcher__max_steps=1, matcher__lr=1e-12).fit(X, Y)
    assert_allclose(draw(mad), draw(start), atol=1e-5)


def test_ctrl_c_in_stage_1_leaves_the_earlier_fit():
    est = quick(autoencoder="mlp", autoencoder__max_epochs=4).fit(X, CURVES)
    before = draw(est)
    est.set_params(autoencoder__callbacks=[RaiseAt(2)])
    with pytest.raises(KeyboardInterrupt):
        est.fit(X[:50], CURVES[:50])
    assert_array_equal(draw(est), before)
    assert not est.interrupted_
    assert est.n_paired_ == 120


def test_ctrl_c_stops_a_search():
    est = quick(matcher__callbacks=[RaiseAt(1)])
    search = GridSearchCV(est, {"matcher__lr": [1e-3, 1e-2]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)


# ------------------------------------------------------------------ divergence
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"matcher__lr": 1e30}, r"stage 2 \(matching\): .*step \d+ .*Lower the matcher's lr"),
        (
            {"autoencoder": "mlp", "autoencoder__lr": 1e30, "latent_dim": 1},
            r"stage 1 \(autoencoder\): .*step \d+ .*Lower the autoencoder's lr",
        ),
    ],
    ids=["matcher", "autoencoder"],
)
@pytest.mark.parametrize("matcher", ["energy", "wgan"])
def test_divergence_is_told_and_leaves_the_earlier_fit(matcher, params, message):
    est = quick(matcher).fit(X, Y)
    before = draw(est)
    est.set_params(matcher__max_steps=100, **params)
    with pytest.raises(DivergenceError, match=message):
        est.fit(X, Y)
    assert_array_equal(draw(est), before)


class SpoilOnce(Callback):
    """One gradient of NaN."""

    def __init__(self, at):
        self.at = at

    def on_train_begin(self, net, **kwargs):
        self.n_seen_ = 0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.n_seen_ += 1
        if self.n_seen_ == self.at:
            for _, parameter in named_parameters:
                parameter.grad.fill_(np.nan)


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(
    "at", [STEPS * 3 // 2, STEPS * 2], ids=["inside an epoch", "at the end of one"]
)
@pytest.mark.parametrize("matcher", ["energy", "wgan"])
def test_one_bad_gradient_is_overcome(matcher, at):
    params = {"matcher__max_steps": 4 * STEPS, "matcher__callbacks": [SpoilOnce(at)]}
    est = quick(matcher, **params).fit(X, Y)
    assert np.isfinite(draw(est)).all()
    assert np.isfinite(est.history_["matcher"]["train_loss"][-1])
    assert est.score(X, Y) > 0.4
    assert est.matcher_.n_steps_ == 4 * STEPS


# ------------------------------------------------------------------ users' callbacks
class Watch(Callback):
    """Like skorch's EpochScoring, and it looks at what the callbacks before it left."""

    seen = ()  # of the instance that was cloned and trained with

    def on_train_begin(self, net, **kwargs):
        type(self).seen = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        norms = [parameter.grad.norm() for _, parameter in named_parameters]
        self.seen.append(float(torch.stack(norms).norm()))

    def on_epoch_end(self, net, **kwargs):
        norm = sum(p.detach().square().sum() for p in net.module_.parameters())
        net.history.record("norm_score", float(norm))


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("stage", ["autoencoder", "energy", "wgan"])
def test_users_callbacks_run_in_every_net(stage, tmp_path):
    """Clipping acts, scores are recorded, files are written, our held-out score stops training."""
    monitor = "valid_loss" if stage == "autoencoder" else "valid_multiscale_score"
    callbacks = [
        GradientNormClipping(1e-3),
        ("mine", Watch()),
        Checkpoint(monitor=None, dirname=str(tmp_path), f_criterion=None),
        EarlyStopping(monitor, patience=2, threshold=1e9, threshold_mode="abs"),
    ]
    if stage == "autoencoder":
        parts = {"autoencoder": MLPAutoencoder(callbacks=callbacks)}
    else:
        parts = {
            "autoencoder": "pca",
            "matcher__max_steps": 9 * STEPS,
            "matcher__callbacks": callbacks,
        }
    est = quick("energy" if stage == "autoencoder" else stage, latent_dim=2, **parts)
    est.fit(X, CURVES)
    history = est.history_["autoencoder" if stage == "autoencoder" else "matcher"]
    assert not est.interrupted_
    assert history[monitor].shape == history["norm_score"].shape == (3,)
    assert (np.diff(history["norm_score"]) != 0).all()
    assert len(Watch.seen) == 3 * STEPS * (2 if stage == "wgan" else 1)
    assert max(Watch.seen) < 1.001e-3
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    net = est.autoencoder_.coder_ if stage == "autoencoder" else est.matcher_.network_
    assert saved.keys() == net.state_dict().keys()
    assert (tmp_path / "optimizer.pt").exists()


# ------------------------------------------------------------------ few pairs
def test_copies_of_held_out_pairs_are_kept_from_stage_2():
    """Each held-out response once: a value that also comes by itself stays."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(40, 2)).astype(np.float32)
    unpaired = np.concatenate([rng.normal(size=(5, 2)), y, y[:1], y[:1]])
    responses = Responses(y, unpaired)
    rows = responses.format.flatten(y[[0, 7, 0]])
    assert_array_equal(responses.unpaired_copies(row_hashes(rows)), [45, 52, 85])
    responses._parts = []  # the responses are read once, although each fold looks for copies
    assert_array_equal(responses.unpaired_copies(row_hashes(rows)), [45, 52, 85])
    assert len(responses.unpaired_copies(row_hashes(rows[:0]))) == 0
    seen = []

    class Spy(EnergyMatcher):
        def fit(self, data, run):
            seen.append(data)
            return super().fit(data, run)

    spy = Spy(max_steps=2, noise_scale=1.0)
    est = plain_regressor(matcher=spy, unpaired="match", random_state=0)
    est.fit(y, y, y)
    (data,) = seen
    assert len(data.held_latent) == 4
    assert len(data.codes) == 36 + 36
    gaps = np.abs(data.codes.numpy()[:, None] - data.held_latent.numpy()).sum(axis=2)
    assert gaps.min() > 1e-3


@pytest.mark.slow
def test_condition_noise_keeps_few_pairs_from_being_learnt_by_heart():
    """Twenty noisy copies of one number as columns, 60 pairs."""

    def noisy_copies(n, seed):
        rng = np.random.default_rng(seed)
        t = rng.uniform(-2, 2, n)
        y = np.column_stack([np.sin(2 * t), t**2]) + 0.2 * rng.normal(size=(n, 2))
        return t[:, None] + 0.3 * rng.normal(size=(n, 20)), y

    test = noisy_copies(500, 99)
    est = plain_regressor(matcher=EnergyMatcher(), random_state=0)
    plain = est.fit(*noisy_copies(60, 0)).score(*test)
    est.set_params(matcher__condition_noise=0.3).fit(*noisy_copies(60, 0))
    assert est.score(*test) > plain + 0.03
    with pytest.raises(ValueError, match=r"matcher__condition_noise must be .*-1"):
        est.set_params(matcher__condition_noise=-1.0).fit(X, Y)


def test_failed_set_params_changes_nothing():
    """scikit-learn sets one parameter after the other; the ones before an unknown name stayed."""
    matcher = WGANMatcher(lr=1e-3)
    est = LSDMRegressor(matcher=matcher, random_state=0)
    ensemble = SamplingEnsemble(est, n_estimators=3)
    settings = {"random_state": 1, "matcher__lr": 0.5, "autoencoder__max_epochs": 3}
    for model, prefix in ((est, ""), (ensemble, "estimator__")):
        before = repr(model.get_params())
        for wrong in ("nope", "matcher__nope", "autoencoder__nope"):
            named = {prefix + name: value for name, value in settings.items()}
            with pytest.raises(ValueError, match="nope"):
                model.set_params(**named, **{prefix + wrong: 3})
            assert repr(model.get_params()) == before
    assert est.matcher is matcher
    new = WGANMatcher(lr=1e-4)
    with pytest.raises(ValueError, match="nope"):
        est.set_params(matcher=new, matcher__lr=0.5, matcher__nope=3)
    assert (est.matcher, new.lr) == (matcher, 1e-4)
    assert est.set_params(matcher__lr=0.5).matcher.lr == matcher.lr == 0.5
