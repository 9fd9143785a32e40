"""warm_start=True: a further fit goes on from the one before; streams of unpaired responses."""

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import plain_regressor, two_sided
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklsdm import LSDMGenerator, LSDMRegressor, Unpaired, load, save
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.matchers import EnergyMatcher
from sklsdm.scorers import neg_energy_score
from sklsdm.storage.fit_folder import FitFolder

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning")

MATCHERS = ["wgan", "fgan", "energy", "sinkhorn", "transport", "diffusion", "flow", "mdn"]


def curves(n, seed):
    """Sine waves y of 60 numbers; X is the wave's number of periods and its height."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(1, 2, size=(n, 2))
    phase = rng.uniform(0, 2, size=(n, 1))
    y = X[:, 1:] * np.sin(X[:, :1] * np.linspace(0, 4, 60) + phase)
    return X, y + 0.02 * rng.normal(size=y.shape)


X, Y = curves(120, 0)
X2, Y2 = curves(120, 1)
X_TEST, Y_TEST = curves(400, 2)
MANY = curves(600, 3)[1]


def warm(matcher="energy", max_steps=20, max_epochs=1, **params):
    est = plain_regressor(4, matcher, autoencoder="mlp", warm_start=True, random_state=0, **params)
    return est.set_params(
        matcher__max_steps=max_steps,
        autoencoder__max_epochs=max_epochs,
        autoencoder__widths=(64,),
    )


def reconstruction_error(est):
    return np.square(est.reconstruct(Y_TEST) - Y_TEST).mean()


# ------------------------------------------------------------------ both stages
def test_stage_1_goes_on():
    est = warm(max_steps=1).fit(X, Y, MANY[:200])
    short = reconstruction_error(est)
    assert reconstruction_error(est.fit(X2, Y2, MANY[200:])) < 0.9 * short
    assert (est.n_paired_, est.n_unpaired_) == (120, 400)


def test_a_calibration_ends_with_the_draws_that_it_was_made_of():
    est = warm(max_steps=1).fit(X, Y, MANY[:200]).conformalize(X_TEST[:50], Y_TEST[:50])
    assert est.fit_unpaired(MANY)._calibration_ is not None  # draws stay those of the last fit
    est.fit(X2, Y2)
    with pytest.raises(NotFittedError, match="needs a calibration"):
        est.predict_interval(X_TEST[:3], conformal=True)


def test_draws_stay_those_of_the_last_fit_where_a_stream_passes_an_end():
    """Amounts are not drawn negative, also where streamed responses are: until the next fit."""
    amounts = np.random.default_rng(0).gamma(0.8, size=(200, 6))
    est = warm("energy", max_steps=20).fit(amounts[:80, :1], amounts[:80], amounts[80:])
    draws = est.sample(amounts[:40, :1], 20, random_state=0)
    assert draws.min() >= 0
    est.fit_unpaired(amounts - 0.5)
    assert_array_equal(est.sample(amounts[:40, :1], 20, random_state=0), draws)
    est.fit(amounts[:80, :1], amounts[:80] - 0.5)
    assert est.sample(amounts[:40, :1], 20, random_state=0).min() < 0


def test_the_responses_kept_for_comparison_are_those_of_the_latest_fit():
    est = warm(max_steps=1).fit(X, Y).fit(X2[:20], Y2[:20])
    assert_array_equal(est._reference_, Y2[:20])
    with pytest.warns(UserWarning, match=r"100% of these responses equal a training response"):
        est.conformalize(X2[:20], Y2[:20])
    est.set_params(store_reference=False).fit(X, Y)
    with pytest.raises(ValueError, match="store_reference=False kept none"):
        est.score(X, Y)


def test_stage_2_goes_on():
    matcher = EnergyMatcher(max_steps=100)
    est = plain_regressor(1, matcher, warm_start=True, random_state=0)
    losses, scores = [], []
    for seed in range(2):
        est.fit(*two_sided(600, seed))
        losses.append(est.matcher_.best_score_[0])
        scores.append(-neg_energy_score(est, *two_sided(500, 9)))
    assert losses[1] < 0.9 * losses[0]
    assert scores[1] < 0.98 * scores[0]


@pytest.mark.parametrize("matcher", MATCHERS)
def test_the_start_is_the_fit_before(matcher):
    if matcher == "transport":
        pytest.importorskip("ot")
    x, y = two_sided(60)
    est = plain_regressor(1, matcher, warm_start=True, random_state=0)
    est = est.set_params(matcher__max_steps=20, validation_fraction=0).fit(x, y)
    draws, first = est.sample(x, 5, random_state=0), est.matcher_
    est.set_params(matcher__max_steps=1, matcher__lr=1e-12)
    est.fit(*two_sided(60, seed=1))
    assert est.matcher_ is not first
    assert_allclose(est.sample(x, 5, random_state=0), draws, atol=1e-5)


def test_codes_keep_their_units_while_the_encoder_moves():
    est = warm(max_epochs=2).fit(X, Y, MANY)
    before = est._latent_standardiser_.forward(est.encode(MANY))
    est.fit(X2, Y2, MANY)
    after = est._latent_standardiser_.forward(est.encode(MANY))
    assert np.abs(est.encode(MANY) - before * est._latent_standardiser_.scale).max() > 0.01
    assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=0.02)
    assert_allclose(after.std(axis=0), before.std(axis=0), atol=0.02)


def test_equal_seeds_and_data_give_equal_fits():
    found = [
        warm("wgan").fit(X, Y, MANY).fit(X2, Y2, MANY).sample(X[:9], 3, random_state=0)
        for _ in range(2)
    ]
    assert_array_equal(*found)
    once = warm("wgan").fit(X, Y, MANY).sample(X[:9], 3, random_state=0)
    assert (once != found[0]).any()


def test_critics_go_on_too():
    est = warm("wgan", max_steps=30).fit(X, Y, MANY)
    critic = est.matcher_.critic_
    est.set_params(matcher__max_steps=1, matcher__lr=1e-12, matcher__critic_lr=1e-12)
    est.fit(X2, Y2, MANY)
    for now, before in zip(est.matcher_.critic_.parameters(), critic.parameters(), strict=True):
        assert_allclose(now.detach(), before.detach(), atol=1e-6)
    est.fit(X2, Y2)  # without a critic of all codes
    assert est.matcher_.code_critic_ is None
    assert not hasattr(warm("wgan").set_params(warm_start=False).fit(X, Y).matcher_, "critic_")


@pytest.mark.slow
def test_what_was_chosen_stays():
    x, y = two_sided(100)
    est = LSDMRegressor(matcher="energy", warm_start=True, random_state=0)
    est.set_params(matcher__max_steps=20).fit(x, y, two_sided(200, seed=5)[1])
    kept = ("latent_dim_", "condition_encoder_", "_response_format_", "_conditions_", "unpaired_")
    before = [getattr(est, name) for name in kept]
    scores = est.encoder_scores_, est.held_out_scores_
    new_x, new_y = two_sided(50, seed=1)
    with pytest.warns(DistributionShiftWarning):
        est.fit(3 + new_x, 2 + new_y, two_sided(99, seed=6)[1])
    assert [getattr(est, name) for name in kept] == before
    assert (est.encoder_scores_, est.held_out_scores_) == scores
    est.fit(new_x, new_y)
    assert est.unpaired_ == "none"
    est.fit(new_x, new_y, two_sided(99, seed=6)[1])
    assert est.unpaired_ == before[-1]


def test_latent_spaces_that_are_not_trained_stay():
    for autoencoder in ("pca", "identity"):
        est = plain_regressor("auto", "energy", autoencoder=autoencoder, warm_start=True)
        est.set_params(matcher__max_steps=5).fit(X, Y)
        codes = est.encode(Y2)
        assert_array_equal(est.fit(X2, Y2, MANY).encode(Y2), codes)


@pytest.mark.slow
def test_trees_of_the_first_fit_stay():
    est = warm(condition_encoder="trees", max_steps=5).fit(X, Y)
    forest = est.condition_encoder_.forest_
    assert est.fit(X2, Y2).condition_encoder_.forest_ is forest
    assert est.sample(X).shape == (120, 1, 60)


def test_images_as_bytes_and_generators():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, size=(60, 8, 8)).astype(np.uint8)
    model = LSDMGenerator(3, matcher="energy", warm_start=True, random_state=0)
    model.set_params(matcher__max_steps=5, autoencoder="mlp", autoencoder__max_epochs=1)
    model.set_params(validation_fraction=0)
    start = model.fit(images).reconstruct(images)
    again = model.fit(images[:40] // 2)
    assert again.sample(3).shape == (3, 8, 8)
    assert (again.reconstruct(images) != start).any()
    with pytest.raises(ValueError, match=r"X has 4 features, but .* expecting 8"):
        model.fit(images[:, :4])


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"matcher__widths": (8,)}, r"matcher__widths=\(8,\) \(it was \(32, 32\)\)"),
        ({"matcher__activation": "silu"}, r"matcher__activation='silu'"),
        ({"autoencoder__widths": (8, 8)}, r"autoencoder__widths=\(8, 8\) \(it was \(64,\)\)"),
        ({"matcher": "mdn"}, r"matcher='mdn' has changed.*had 'EnergyMatcher'"),
        ({"autoencoder": "pca"}, r"autoencoder='pca' has changed"),
        ({"condition_encoder": "trees"}, r"condition_encoder='trees' has changed"),
        ({"latent_dim": 3}, r"latent_dim=3 has changed.*had 4.*warm_start=False"),
        ({"scale_X": False}, r"scale_X=False has changed"),
        ({"y_range": (-9, 9)}, r"y_range=\(-9, 9\) has changed"),
        ({"y_range": (np.full(60, -9.0), None)}, r"(?s)y_range=\(array.* has changed"),
    ],
)
def test_changes_that_do_not_fit(params, message):
    est = warm(max_steps=2).fit(X, Y)
    draws = est.sample(X[:3], random_state=0)
    est.set_params(**params)
    with pytest.raises(ValueError, match=message):
        est.fit(X2, Y2)
    est.set_params(matcher=EnergyMatcher())
    assert_array_equal(est.sample(X[:3], random_state=0), draws)


def test_critics_of_other_widths():
    est = warm("wgan", max_steps=2).fit(X, Y).set_params(matcher__critic_widths=(8,))
    with pytest.raises(ValueError, match=r"matcher__critic_widths=\(8,\) \(it was"):
        est.fit(X, Y)


def test_data_of_another_shape_leave_the_estimator_usable():
    est = warm(max_steps=2).fit(X, Y, MANY)
    draws = est.sample(X[:3], random_state=0)
    for args, message in [
        ((X[:, :1], Y), "X has 1 features, but .* is expecting 2"),
        ((X, Y[:, :9]), r"y must have shape \(n, 60\) as in fit"),
        ((X, Y, MANY[:, :9]), r"Y_unpaired must have shape \(N, 60\)"),
        ((X, np.where(Y > 1, np.nan, Y)), "y contains"),
        ((X[:5], Y), "rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            est.fit(*args)
        assert_array_equal(est.sample(X[:3], random_state=0), draws)


def test_outputs_that_were_constant():
    y = np.column_stack([np.arange(30.0), np.full(30, 7.0)])
    est = plain_regressor(matcher="energy", warm_start=True).set_params(matcher__max_steps=2)
    with pytest.warns(UserWarning, match="are constant"):
        est.fit(X[:30], y)
    with pytest.raises(ValueError, match=r"Columns \[1\] .* were constant"):
        est.fit(X[:30], y + np.arange(30)[:, None])


# ------------------------------------------------------------------ what is kept
def test_clones_begin_anew():
    est = warm(max_steps=2).fit(X, Y)
    fresh = clone(est)
    with pytest.raises(NotFittedError):
        fresh.sample(X)
    assert_array_equal(
        fresh.fit(X2, Y2).sample(X, random_state=0),
        warm(max_steps=2).fit(X2, Y2).sample(X, random_state=0),
    )
    anew = est.set_params(warm_start=False).fit(X2, Y2)
    assert_array_equal(anew.sample(X, random_state=0), fresh.sample(X, random_state=0))


def test_files_keep_the_state(tmp_path):
    est = warm("wgan", max_steps=5).fit(X, Y, MANY).fit_unpaired(MANY)
    joblib.dump(est, tmp_path / "est.joblib")
    save(est, tmp_path / "est.safetensors")
    expected = est.fit(X2, Y2).sample(X, random_state=0)
    for again in (joblib.load(tmp_path / "est.joblib"), load(tmp_path / "est.safetensors")):
        assert again.n_streamed_ == 600
        assert_array_equal(again.fit(X2, Y2).sample(X, random_state=0), expected)


def test_a_fit_that_was_broken_off_resumes(tmp_path, monkeypatch):
    def second(est):
        return est.set_params(matcher__max_steps=200).fit(X2, Y2)

    expected = second(warm(max_steps=1).fit(X, Y)).sample(X, random_state=0)
    est = warm(max_steps=1).fit(X, Y).set_params(checkpoint=tmp_path)
    save_state, count = FitFolder.save, iter(range(9))

    def save_or_fail(self, name, content):
        save_state(self, name, content)
        if next(count) == 1:  # the first epoch of stage 2
            raise RuntimeError("broken off")

    monkeypatch.setattr(FitFolder, "save", save_or_fail)
    with pytest.raises(RuntimeError, match="broken off"):
        second(est)
    assert list(tmp_path.iterdir())
    assert_array_equal(second(est).sample(X, random_state=0), expected)
    assert next(count) == 3  # the second epoch alone was trained
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ streams
def test_a_stream_before_the_pairs():
    errors = []
    for n_blocks in (1, 3):
        est = warm()
        for block in np.split(MANY, 3)[:n_blocks]:
            est.fit_unpaired(block)
        assert est.n_streamed_ == 200 * n_blocks
        with pytest.raises(NotFittedError):
            est.sample(X)
        with pytest.raises(NotFittedError):
            check_is_fitted(est)
        assert est.fit(X, Y).n_streamed_ == 0
        check_is_fitted(est)
        assert est.sample(X).shape == (120, 1, 60)
        errors.append(reconstruction_error(est))
    assert errors[1] < 0.9 * errors[0]


def test_a_stream_after_a_fit_does_not_touch_draws():
    est = warm(max_steps=50).fit(X, Y)
    draws, codes = est.sample(X, random_state=0), est.encode(Y_TEST)
    est.fit_unpaired(Unpaired(MANY[:300])).fit_unpaired(MANY[300:])
    assert_array_equal(est.sample(X, random_state=0), draws)
    assert_array_equal(est.encode(Y_TEST), codes)
    moved, error = est._streamed_autoencoder_, reconstruction_error(est)
    est.fit(X2, Y2)  # leaves stage 1 as the stream did
    assert_array_equal(
        est.autoencoder_.coder_.state_dict()["encoder.0.weight"],
        moved.coder_.state_dict()["encoder.0.weight"],
    )
    assert reconstruction_error(est) < error
    est.fit_unpaired(MANY).fit(X2, Y2, MANY)  # goes on with it
    assert est.n_unpaired_ == 600


def test_streams_that_are_refused(tmp_path):
    est = warm(max_steps=2)
    with pytest.raises(ValueError, match="fit_unpaired needs warm_start=True"):
        clone(est).set_params(warm_start=False).fit_unpaired(MANY)
    with pytest.raises(ValueError, match="unpaired='none'"):
        clone(est).set_params(unpaired="none").fit_unpaired(MANY)
    with pytest.raises(ValueError, match="nothing to train in autoencoder='pca'"):
        clone(est).set_params(autoencoder="pca").fit_unpaired(MANY)
    with pytest.raises(TypeError, match="got None"):
        est.fit_unpaired(None)
    with pytest.raises(ValueError, match="at least 2 responses, got 1"):
        est.fit_unpaired(MANY[:1])
    assert not hasattr(est, "n_streamed_")
    est.fit_unpaired(MANY)
    before = vars(est).copy()
    np.save(tmp_path / "wide.npy", MANY[:, :9])
    for block, message in [
        (MANY[:, :9], r"must have shape \(N, 60\)"),
        (tmp_path / "wide.npy", r"must have shape \(N, 60\)"),
        (np.where(MANY > 1, np.inf, MANY), "Y_unpaired contains"),
    ]:
        with pytest.raises(ValueError, match=message):
            est.fit_unpaired(block)
        assert vars(est) == before
    with pytest.raises(ValueError, match=r"y must have shape \(n, 60\)"):
        est.fit(X, Y[:, :9])
    images = MANY[:, :49].reshape(-1, 7, 7)
    pictures = warm().fit_unpaired(images / np.abs(images).max())
    with pytest.raises(ValueError, match="same kind of numbers"):
        pictures.fit_unpaired((images > 0).astype(np.uint8))


def test_an_extreme_value_among_new_pairs_is_found():
    """The standard deviation of the first ones does not tell of it."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    est = plain_regressor(matcher="energy", warm_start=True, random_state=0)
    est.set_params(matcher__max_steps=3).fit(X, y)
    y[7, 1] = 1e9
    with pytest.warns(UserWarning, match=r"y holds 1e\+09 in row 7, column 1"):
        est.fit(X, y)


def test_ends_of_a_range_may_be_columns_of_a_frame():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), pd.DataFrame(rng.normal(size=(60, 2)))
    est = plain_regressor(matcher="energy", warm_start=True, random_state=0)
    est.set_params(matcher__max_steps=3, y_range=(y.min() - 1, y.max() + 1)).fit(X, y)
    est.fit(X, y)
    with pytest.raises(ValueError, match=r"(?s)^y_range=.* has changed"):
        est.set_params(y_range=(y.min() - 2, y.max() + 1)).fit(X, y)
