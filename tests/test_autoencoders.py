"""Stage 1: what each autoencoder promises beyond the contract, ranges, slopes, wrapped ones."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import torch
from helpers import RUN, plain_regressor, shorten_epochs, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA, FastICA, KernelPCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.manifold import Isomap
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import PrintLog
from torch import nn

from sklsdm.autoencoders import (
    AutoAutoencoder,
    ConvAutoencoder,
    DPAAutoencoder,
    FeatureMapAutoencoder,
    IdentityAutoencoder,
    MLPAutoencoder,
    PCAAutoencoder,
    TorchAutoencoder,
    TransformerAutoencoder,
    VAEAutoencoder,
    trained,
)
from sklsdm.autoencoders.auto import intrinsic_dimension
from sklsdm.autoencoders.trained import automatic_channels
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import MATCHERS
from sklsdm.modules import ConvCoder, MLPCoder


@pytest.fixture
def short_epochs(monkeypatch):
    """Ten steps each, for tests that look at nothing that is learnt."""
    shorten_epochs(monkeypatch, 10)


@functools.cache
def sheet(n_rows, seed, noise=0.1):
    """Rows near a curved two-dimensional sheet in twelve dimensions."""
    fixed, rng = np.random.default_rng(1), np.random.default_rng(seed)
    place = rng.uniform(-2, 2, size=(n_rows, 2))
    waves = np.sin(place @ fixed.normal(size=(2, 12)) + fixed.uniform(0, 6, size=12))
    return waves + noise * rng.normal(size=(n_rows, 12))


@functools.cache
def blobs(n_rows, seed, shape=(12, 11)):
    """Images of one bump each, whose place moves."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0.2, 0.8, size=(n_rows, 2, 1, 1)) * np.reshape(shape, (1, 2, 1, 1))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    return np.exp(-np.square(grid - place).sum(axis=1) / 6).astype(np.float32)


def learn(autoencoder, y, latent_dim=2, **params):
    """An estimator whose stage 2 is cut to almost nothing."""
    est = plain_regressor(latent_dim, autoencoder=autoencoder, matcher="energy", random_state=0)
    nested = {f"autoencoder__{name}": value for name, value in params.items()}
    return est.set_params(matcher__max_steps=2, **nested).fit(np.zeros((len(y), 1)), y)


def error(est, y):
    return np.square(est.reconstruct(y) - y).mean() / y.var()


def stage_1(autoencoder, y, latent_dim, n_held_out=100):
    """Stage 1 alone; also its standardised responses, those held out first."""
    responses = Responses(y, None)
    chosen = autoencoder.resolve(responses.format, latent_dim)
    fitted = chosen.fit(responses, latent_dim, np.arange(n_held_out), RUN)
    return fitted, torch.cat(list(responses.blocks()))


# ------------------------------------------------------------------ reconstruction
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "vae", "dpa"])
def test_curved_latent_spaces_beat_principal_components(name):
    y, fresh = sheet(500, 0), sheet(500, 1)
    linear = error(learn("pca", y), fresh)
    assert error(learn(name, y, max_epochs=8), fresh) < 0.6 * linear


@pytest.mark.slow
def test_convolutions_beat_principal_components():
    y, fresh = blobs(500, 0), blobs(300, 1)
    linear = error(learn("pca", y), fresh)
    assert error(learn("conv", y, max_epochs=1), fresh) < 0.5 * linear


@pytest.mark.parametrize("kind", [MLPAutoencoder, ConvAutoencoder])
def test_never_worse_than_principal_components_on_held_out_rows(kind):
    """Also on white noise, of which nothing can be learnt, and at a rate that overfits."""
    noise = np.random.default_rng(0).normal(size=(160, 6, 6))
    fitted, rows = stage_1(kind(max_epochs=2, lr=0.02), noise, 3)
    linear, _ = stage_1(PCAAutoencoder(), noise, 3)
    errors = [
        (ae.decode(ae.encode(rows[:100])) - rows[:100]).square().mean() for ae in (fitted, linear)
    ]
    assert errors[0] <= errors[1] + 1e-6


@pytest.mark.slow
def test_variational_codes_are_standard_and_do_not_collapse():
    fitted, rows = stage_1(VAEAutoencoder(max_epochs=8), sheet(500, 0), 2)
    codes = fitted.encode(rows)
    assert_allclose(codes.std(dim=0), 1, atol=0.25)
    with torch.no_grad():
        log_spread = fitted.coder_.posterior(rows)[1].mean(dim=0)
    assert (log_spread < -1).all()  # far from the prior's 0
    assert (log_spread > -5).all()


@pytest.mark.slow
def test_beta_prunes_the_codes():
    autoencoder = VAEAutoencoder(beta=20.0, free_bits=0.0, max_epochs=5)
    pruned, rows = stage_1(autoencoder, sheet(500, 0), 2)
    assert pruned.encode(rows).std(dim=0).max() < 0.2


# ------------------------------------------------------------------ images
@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("shape", [(9, 14), (1, 8, 8), (3, 17, 5), (2, 2, 3)])
def test_images_of_any_size(shape):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 256, size=(40, *shape), dtype=np.uint8)
    est = learn("conv", y, max_epochs=1)
    assert est.reconstruct(y[:5]).shape == (5, *shape)
    draws = est.sample(np.zeros((3, 1)), 4, random_state=0)
    assert draws.shape == (3, 4, *shape)
    assert draws.min() >= 0
    assert draws.max() <= 1


def test_channels():
    assert [automatic_channels(side, 4) for side in (3, 9, 16, 28, 64, 100)] == [
        [16],
        [16, 32],
        [16, 32],
        [16, 32, 64],
        [16, 32, 64, 64],
        [16, 32, 64, 64, 64],
    ]
    y = blobs(40, 0)
    est = learn(ConvAutoencoder((4, 6), hidden=10, max_epochs=1), y)
    assert est.autoencoder_.coder_.config["channels"] == (4, 6)


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"channels": "many"}, ValueError, "autoencoder__channels must be .*'many'"),
        ({"channels": ()}, ValueError, "autoencoder__channels must hold at least one"),
        ({"channels": (4, 0)}, ValueError, "autoencoder__channels must be at least 1, got 0"),
        ({"hidden": 0}, ValueError, "autoencoder__hidden must be at least 1, got 0"),
        ({"lipschitz": 0}, ValueError, "autoencoder__lipschitz must be above 0, got 0"),
        ({"lr": "fast"}, TypeError, "autoencoder__lr must be a number, got 'fast'"),
    ],
)
def test_bad_parameters(params, kind, message):
    with pytest.raises(kind, match=message):
        learn(ConvAutoencoder(**params), blobs(40, 0))


def test_convolutions_want_images():
    with pytest.raises(ValueError, match=r"'conv' needs images y .*\(12,\)"):
        learn("conv", sheet(40, 0))


@pytest.mark.parametrize(
    ("shape", "latent_dim", "kind"),
    [
        ((50,), "auto", IdentityAutoencoder),
        ((8,), 8, IdentityAutoencoder),
        ((8,), 3, MLPAutoencoder),
        ((51,), "auto", MLPAutoencoder),
        ((15, 30), "auto", MLPAutoencoder),
        ((16, 30), "auto", ConvAutoencoder),
        ((3, 16, 30), "auto", ConvAutoencoder),
    ],
)
def test_what_auto_picks(shape, latent_dim, kind):
    form = Responses(np.random.default_rng(0).normal(size=(5, *shape)), None).format
    assert type(AutoAutoencoder().resolve(form, latent_dim)) is kind


def test_auto_hands_its_budget_on():
    form = Responses(blobs(5, 0, (16, 16)), None).format
    assert AutoAutoencoder().resolve(form, 2).get_params() == ConvAutoencoder().get_params()
    assert type(AutoAutoencoder().resolve(form, "auto", 300, 300)) is FeatureMapAutoencoder
    assert type(AutoAutoencoder().resolve(form, "auto", 299, 300)) is ConvAutoencoder
    assert type(AutoAutoencoder().resolve(form, "auto", 10**9)) is ConvAutoencoder
    assert type(AutoAutoencoder().resolve(form, 2, 300, 300)) is ConvAutoencoder
    least = {name: kind.fewest_code_images for name, kind in MATCHERS.items()}
    assert (least["wgan"], least["diffusion"], least["mdn"]) == (250, 5000, math.inf)
    blurred = AutoAutoencoder(critic_weight=0.0)
    assert blurred.resolve(form, "auto", 300, 300).critic_weight == 0.0
    assert type(blurred.resolve(form, 2)) is ConvAutoencoder  # which has no such weight
    picked = AutoAutoencoder(max_epochs=3, lr=0.5).resolve(form, 2)
    assert (picked.max_epochs, picked.lr) == (3, 0.5)
    assert picked.batch_size == ConvAutoencoder().batch_size


# ------------------------------------------------------------------ the decoder's slope
def jacobian_norm(decode, code, spread):
    """Exact slope at a code, in units of the codes' spread and of rows by root mean square."""
    jacobian = torch.autograd.functional.jacobian(lambda z: decode(z[None])[0], code)
    return torch.linalg.matrix_norm(jacobian * spread, 2).item() / len(jacobian) ** 0.5


@pytest.mark.parametrize("activation", ["silu", "gelu", "elu", "leaky_relu"])
@pytest.mark.parametrize("shape", [(40,), (1, 12, 11), (2, 5, 8)])
def test_slope_bounds_every_jacobian(shape, activation):
    random = torch.Generator().manual_seed(0)
    if len(shape) == 1:
        coder = MLPCoder(40, 3, (20, 30), activation, random)
    else:
        coder = ConvCoder(shape, 3, (6, 5), 20, activation, random)
    with torch.no_grad():
        for parameter in coder.decoder.parameters():
            parameter.mul_(2.0)
        coder.gain.fill_(0.7)
    spread = torch.tensor([0.5, 2.0, 1.0])
    bound = 0.7 * coder.slope(spread).item()
    codes = 2 * torch.randn((8, 3), generator=random)
    slopes = [jacobian_norm(coder.decode, code, spread) for code in codes]
    assert max(slopes) <= bound
    assert bound < 20 * max(slopes)
    assert_allclose(0.7 * coder.slope(spread, 15).item(), bound, rtol=0.1)


@pytest.mark.parametrize(
    "kind",
    slow_but({MLPAutoencoder}, [MLPAutoencoder, VAEAutoencoder, DPAAutoencoder]),
)
def test_lipschitz_limit_holds(kind):
    y = sheet(300, 0)
    limited, rows = stage_1(kind(lipschitz=1.0, max_epochs=2), y, 2)
    free, _ = stage_1(kind(max_epochs=2), y, 2)
    spread = limited.encode(rows).std(dim=0, correction=0)
    assert limited.decoder_slope(spread) == pytest.approx(1.0, rel=0.05)
    assert free.decoder_slope(free.encode(rows).std(dim=0, correction=0)) > 2
    slopes = [
        jacobian_norm(limited.coder_.decode, code, spread) for code in limited.encode(rows[:30])
    ]
    assert max(slopes) < 1.05
    assert limited.history_["valid_loss"][-1] < limited.history_["valid_loss"][0]


def test_lipschitz_limit_holds_for_sorted_rows(monkeypatch):
    """The spread of the codes is measured on some rows, which must not be the first ones."""
    monkeypatch.setattr(trained, "_REFERENCE_ROWS", 100)
    y = sheet(1000, 0)
    y = y[np.argsort(y[:, 0])]
    limited, rows = stage_1(MLPAutoencoder(lipschitz=1.0, max_epochs=2), y, 2)
    spread = limited.encode(rows).std(dim=0, correction=0)
    assert limited.decoder_slope(spread) == pytest.approx(1.0, rel=0.1)


@pytest.mark.usefixtures("short_epochs")
def test_lipschitz_limit_of_convolutions():
    fitted, rows = stage_1(ConvAutoencoder(lipschitz=0.8, max_epochs=1), blobs(300, 0), 2)
    spread = fitted.encode(rows).std(dim=0, correction=0)
    assert fitted.decoder_slope(spread) <= 0.84


def test_slope_of_linear_codes_is_exact():
    fitted, rows = stage_1(PCAAutoencoder(), sheet(300, 0), 3)
    spread = fitted.encode(rows).std(dim=0, correction=0)
    assert_allclose(fitted.decoder_slope(spread), spread.max() / 12**0.5, rtol=1e-4)


# ------------------------------------------------------------------ stochastic decoder
@functools.cache
def noisy_line(seed, n_rows=1500):
    """One direction of signal, and noise of another size in each of six outputs."""
    rng = np.random.default_rng(seed)
    signal = 3 * rng.normal(size=(n_rows, 1))
    return signal + rng.normal(size=(n_rows, 6)) * [0.3, 0.6, 0.9, 1.2, 1.5, 1.8]


@functools.cache
def stochastic():
    return learn("dpa", noisy_line(0), latent_dim=1, max_epochs=10)


@pytest.mark.slow
def test_stochastic_decoder_has_the_conditional_spread():
    est, fresh = stochastic(), noisy_line(1)
    ae, form = est.autoencoder_, est._response_format_
    codes = torch.from_numpy(est.encode(fresh))
    noise = torch.randn(
        (len(codes), ae.decoder_noise_dim_), generator=torch.Generator().manual_seed(3)
    )
    draws = form.restore(ae.decode(codes, noise)).numpy()
    left_out, drawn = (np.cov((rows - est.reconstruct(fresh)).T) for rows in (fresh, draws))
    assert_allclose(np.sqrt(np.diag(drawn)), np.sqrt(np.diag(left_out)), rtol=0.2)
    assert np.abs(drawn - left_out).max() < 0.25 * left_out.max()


@pytest.mark.slow
def test_draws_keep_the_spread_that_the_code_leaves_out():
    y = noisy_line(0)
    conditions = np.zeros((1500, 1))
    found = {
        name: est.sample(conditions, random_state=0)[:, 0].std(axis=0) / y.std(axis=0)
        for name, est in (
            ("dpa", stochastic()),
            ("residuals", learn("pca", y, latent_dim=1)),
            ("means", learn(PCAAutoencoder(residuals=False), y, latent_dim=1)),
        )
    }
    assert_allclose(found["dpa"], 1, atol=0.1)
    assert_allclose(found["residuals"], 1, atol=0.1)
    assert found["means"][-1] < 0.9


def test_decode_and_predict_are_deterministic_means():
    est = learn("dpa", noisy_line(0, 300), latent_dim=1, max_epochs=2)
    X = np.zeros((4, 1))
    codes = est.encode(noisy_line(1)[:4])
    assert_array_equal(est.decode(codes), est.decode(codes))
    assert_array_equal(est.predict(X), est.predict(X))
    assert_array_equal(est.predict(X[:2]), est.predict(X)[:2])
    draws = est.sample(X[:1], 4000, random_state=0)[0]
    assert_allclose(est.predict(X)[0], draws.mean(axis=0), atol=0.25)
    latent = est.sample_latent(X, 50, random_state=0)
    few = est.sample_latent(X, 50, random_state=0, batch_size=7)
    assert_allclose(few, latent, rtol=1e-5, atol=1e-6)
    means, draws = est.decode(latent), est.sample(X, 50, random_state=0)
    assert np.corrcoef(means[..., 0].ravel(), draws[..., 0].ravel())[0, 1] > 0.8
    few = est.sample(X, 50, random_state=0, batch_size=7)
    assert_allclose(few, draws, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ ranges
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_draws_stay_in_range(dtype):
    rng = np.random.default_rng(0)
    y = np.stack([rng.exponential(size=200), rng.uniform(0.1, 0.7, 200)], axis=1).astype(dtype)
    low, high = np.array([0.0, 0.1]), np.array([np.inf, 0.7])
    X = rng.normal(size=(200, 2))
    est = plain_regressor(matcher="energy", random_state=0, y_range=(low, high))
    est.set_params(matcher__max_steps=20).fit(X, y, X_val=X[:30], y_val=y[:30])
    free = clone(est).set_params(y_range=None).fit(X, y)
    low, high = low.astype(dtype), high.astype(dtype)
    assert free.sample(X, 10, random_state=0).min() < 0
    for found in (est.sample(X, 10, random_state=0), est.reconstruct(y)):
        assert (found >= low).all()
        assert (found <= high).all()
    for found in (est.predict(X), *est.predict_interval(X).swapaxes(0, 1)):
        assert (found >= low).all()
        assert (found <= high).all()
    assert_allclose(est.reconstruct(y), y, atol=1e-5)
    assert est.score(X, y) > free.score(X, y)


def test_one_hot_rows_and_open_ends():
    rng = np.random.default_rng(0)
    y = np.eye(10)[rng.integers(0, 10, 100)]
    est = plain_regressor(3, matcher="energy", autoencoder="pca", random_state=0, y_range=(0, 1))
    est.set_params(matcher__max_steps=5, exact_values=False)
    draws = est.fit(y, y).sample(y, 5, random_state=0)
    assert draws.min() == 0
    assert draws.max() <= 1
    draws = est.set_params(y_range=(None, 0.5)).fit(y, y / 2).sample(y, 5, random_state=0)
    assert draws.min() < 0
    assert draws.max() <= 0.5


@pytest.mark.parametrize(
    ("y_range", "kind", "message"),
    [
        (0, TypeError, r"y_range must be None or a pair \(low, high\).*got 0"),
        ("positive", TypeError, "y_range must be None or a pair .*'positive'"),
        ((0, 1, 2), TypeError, "y_range must be None or a pair"),
        ((1, 0), ValueError, "y_range must have low < high"),
        ((np.nan, 1), ValueError, "y_range must have low < high"),
        (("a", 1), ValueError, "The low end of y_range must be a number"),
        ((0, np.ones(3)), ValueError, r"The high end of y_range .*shape \(2,\)"),
        ((0, 5), ValueError, "y holds 2 values outside y_range, first -3 in row 7"),
    ],
)
def test_bad_ranges(y_range, kind, message):
    y = np.random.default_rng(0).uniform(1, 2, size=(30, 2))
    y[7, 1], y[20, 0] = -3, 6
    with pytest.raises(kind, match=message):
        plain_regressor(y_range=y_range).fit(y, y)


def test_ranges_of_the_other_responses():
    y = np.random.default_rng(0).uniform(size=(30, 2))
    wrong = np.where(np.arange(30)[:, None] == 4, -1.0, y)
    est = plain_regressor(matcher="energy", y_range=(0, None)).set_params(matcher__max_steps=2)
    with pytest.raises(ValueError, match=r"Y_unpaired holds 2 values outside y_range.*row 4"):
        est.fit(y, y, wrong)
    with pytest.raises(ValueError, match=r"y_val holds 2 values outside y_range.*row 4"):
        est.fit(y, y, X_val=y, y_val=wrong)
    with pytest.raises(ValueError, match=r"Y holds 2 values outside y_range.*row 4"):
        est.fit(y, y).encode(wrong)


@pytest.mark.slow
def test_training_knows_the_range():
    """Rows outside the range cost nothing where they come back as they should."""
    form = Responses(np.array([[0.0, 3.0], [4.0, 1.0]]), None, (0, [5, np.inf])).format
    inside = form.restore(form.inside(torch.tensor([[-2.0, -9.0], [9.0, 9.0]])))
    assert_allclose(inside, [[0, 0], [5, 11]], atol=1e-6)
    rows = torch.tensor([[-2.0, 9.0]], requires_grad=True)
    half = form.clipping(rows.device, leak=0.5)(rows)
    assert_allclose(half.detach(), [[-1.5, 9.0]], atol=1e-6)
    assert_allclose(torch.autograd.grad(half.sum(), rows)[0], [[0.5, 1.0]])

    rng = np.random.default_rng(0)
    y = np.maximum(0, sheet(500, 0, noise=0.0))  # half of all values lie at the end
    est = learn(MLPAutoencoder(max_epochs=15), y)
    free = error(est, y)
    known = est.set_params(y_range=(0, None)).fit(rng.normal(size=(500, 1)), y)
    assert error(known, y) < 0.9 * free


def test_bytes_have_their_range():
    y = np.random.default_rng(0).integers(0, 256, size=(30, 3, 3), dtype=np.uint8)
    X = np.zeros((30, 1))
    with pytest.raises(ValueError, match=r"y_range must be None for uint8 images.*got \(0, 255\)"):
        plain_regressor(y_range=(0, 255)).fit(X, y)
    est = plain_regressor(2, matcher="energy", autoencoder="pca", y_range=(0, 1))
    draws = est.set_params(matcher__max_steps=2).fit(X, y).sample(X, 5)
    assert draws.min() >= 0
    assert draws.max() <= 1


# ------------------------------------------------------------------ transformers
@pytest.mark.parametrize(
    "transformer",
    [
        FastICA(2, random_state=0),
        KernelPCA(2, kernel="rbf", gamma=0.05, alpha=0.01, fit_inverse_transform=True),
        make_pipeline(StandardScaler(), PCA(2)),
        VarianceThreshold(),
    ],
    ids=lambda transformer: type(transformer).__name__,
)
def test_transformers(transformer):
    y = sheet(300, 0)
    est = learn(transformer, y, latent_dim="auto")
    expected = 12 if isinstance(transformer, VarianceThreshold) else 2
    assert est.latent_dim_ == est.encode(y).shape[1] == expected
    assert error(est, y) < 1.001 * error(learn("pca", y), y)
    assert not [name for name in vars(transformer) if name.endswith("_")]
    found = pickle.loads(pickle.dumps(est))
    assert_array_equal(found.sample(y[:5, :1], 3, random_state=0),
                       est.sample(y[:5, :1], 3, random_state=0))  # fmt: skip


def test_transformer_sees_flat_standardised_rows():
    y = blobs(60, 0)
    est = learn(PCA(4), y, latent_dim=4)
    assert isinstance(est.autoencoder_, TransformerAutoencoder)
    assert est.latent_dim_ == 4
    assert_allclose(est.reconstruct(y), learn("pca", y, latent_dim=4).reconstruct(y), atol=1e-5)
    assert est.sample(np.zeros((2, 1)), 3).shape == (2, 3, 12, 11)


def test_a_transformer_where_nothing_is_held_out():
    y = np.random.default_rng(0).normal(size=(40, 6))
    est = plain_regressor(2, "energy", autoencoder=PCA(2), random_state=0, validation_fraction=0)
    est.set_params(matcher__max_steps=2).fit(y[:, :1], y)
    assert np.isfinite(est.sample(y[:3, :1], 2)).all()


def test_a_transformer_learns_from_all_where_holding_out_would_leave_too_few():
    y = np.random.default_rng(0).normal(size=(24, 6))
    est = plain_regressor(2, "energy", autoencoder=PCA(2), random_state=0)
    est.set_params(validation_fraction=0.99, matcher__max_steps=2).fit(y[:, :1], y)
    assert est.autoencoder_.coder_.transformer.n_samples_ == 24


def test_nested_parameters_of_transformers():
    est = plain_regressor(autoencoder=FastICA(2))
    assert est.get_params()["autoencoder__n_components"] == 2
    est.set_params(autoencoder__n_components=3)
    assert clone(est).autoencoder.n_components == 3
    assert clone(est).autoencoder is not est.autoencoder


class Halves(TransformerMixin, BaseEstimator):
    """Gives back half of what it took."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X

    def inverse_transform(self, X):
        return X[:, ::2]


@pytest.mark.parametrize(
    ("transformer", "latent_dim", "message"),
    [
        (Isomap(), "auto", "Isomap has no inverse_transform"),
        (KernelPCA(2), "auto", "inverse_transform does not work .*fit_inverse_transform"),
        (FastICA(2), 3, r"latent_dim=3 does not fit autoencoder=FastICA.*dimension 2"),
        (make_pipeline(PCA(2)), 3, r"latent_dim=3 does not fit autoencoder=Pipeline.*dimension 2"),
        (FunctionTransformer(np.log, np.exp), "auto", "codes that are not finite.*standardised"),
        (
            FunctionTransformer(np.exp, lambda rows: np.log(rows - 1)),
            "auto",
            "decodes codes of responses to values that are not finite",
        ),
        (Halves(), "auto", r"Halves: inverse_transform must give .*\(2, 12\).*gives \(2, 6\)"),
    ],
)
def test_bad_transformers(transformer, latent_dim, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        learn(transformer, sheet(60, 0), latent_dim)


@pytest.mark.parametrize("value", [FastICA, 3, (1, 2, 3), None])
def test_what_is_no_autoencoder(value):
    with pytest.raises(TypeError, match=r"autoencoder must be one of .*transformer, a pair"):
        learn(value, sheet(60, 0))


# ------------------------------------------------------------------ pairs of torch modules
def pair(q=12, k=3):
    """A pair in evaluation mode, with the parts that make training mode matter."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(q, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, k))
    decoder = nn.Sequential(nn.Linear(k, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, q))
    return encoder.eval(), decoder.eval()


def states(modules):
    return [copy.deepcopy(dict(module.state_dict())) for module in modules]


def same(first, second):
    return all(torch.equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in a)


def test_frozen_pairs_stay_bit_equal():
    y, modules = sheet(100, 0), pair()
    before = states(modules)
    est = learn(modules, y, latent_dim="auto")
    coder = est.autoencoder_.coder_
    assert same(states(modules), before)
    assert same(states([coder.encoder, coder.decoder]), before)
    assert est.latent_dim_ == 3
    standard = (y - y.mean(axis=0)) / y.std(axis=0)
    with torch.no_grad():
        codes = modules[0](torch.from_numpy(standard.astype(np.float32)))
    assert_allclose(est.encode(y), codes, atol=1e-5)
    assert all(parameter.requires_grad for parameter in modules[0].parameters())


def test_pairs_are_trained_further_as_copies():
    y, modules = sheet(400, 0), pair()
    before = states(modules)
    start = error(learn(modules, y, latent_dim="auto"), y)
    est = learn(TorchAutoencoder(*modules, frozen=False, lr=3e-3), y, latent_dim="auto")
    assert same(states(modules), before)
    assert error(est, y) < 0.7 * start
    assert not est.autoencoder_.coder_.training
    losses = est.autoencoder_.history_["train_loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("frozen", [True, False])
def test_a_first_layer_that_works_in_place_changes_nothing(frozen):
    y, found = sheet(200, 0), []
    for inplace in (False, True):
        encoder, decoder = (
            nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), module) for module in pair()
        )
        part = TorchAutoencoder(encoder.eval(), decoder.eval(), frozen=frozen, max_epochs=3)
        found.append(learn(part, y, latent_dim="auto").reconstruct(y))
    assert_array_equal(*found)


def test_pairs_travel():
    y = sheet(100, 0)
    est = learn(pair(), y, latent_dim="auto")
    for found in (pickle.loads(pickle.dumps(est)), copy.deepcopy(est)):
        assert_array_equal(found.reconstruct(y), est.reconstruct(y))
    again = clone(est).fit(np.zeros((100, 1)), y)
    assert_array_equal(again.reconstruct(y), est.reconstruct(y))
    held = pickle.loads(pickle.dumps(TorchAutoencoder(*pair())))
    assert same(states([held.encoder, held.decoder]), states(pair()))


@pytest.mark.parametrize("channels", [None, 3])
def test_pairs_get_images(channels):
    side = (6, 5)
    shape = side if channels is None else (channels, *side)
    n_channels = channels or 1
    encoder = nn.Sequential(nn.Conv2d(n_channels, 4, 3), nn.Flatten(), nn.Linear(48, 2)).eval()
    decoder = nn.Sequential(nn.Linear(2, 30 * n_channels), nn.Unflatten(1, shape)).eval()
    y = np.random.default_rng(0).normal(size=(40, *shape))
    est = learn((encoder, decoder), y, latent_dim="auto")
    assert est.latent_dim_ == 2
    assert est.reconstruct(y).shape == y.shape
    with_channel = nn.Sequential(decoder[0], nn.Unflatten(1, (n_channels, *side)))
    assert learn((encoder, with_channel.eval()), y, 2).reconstruct(y).shape == y.shape
    flat = nn.Linear(2, 30 * n_channels).eval()
    with pytest.raises(ValueError, match=r"decoder's output must have y's shape.*gave shape \(2, "):
        learn((encoder, flat), y, "auto")


class Pairs(nn.Module):
    def forward(self, rows):
        return rows, rows


def nan_weights(module):
    nn.init.constant_(module.weight, np.nan)
    return module


def bad_pairs():
    encoder, decoder = pair()
    linear = nn.Linear
    return {
        "frozen encoder in training": (
            (pair()[0].train(), decoder),
            "auto",
            ValueError,
            r"The frozen encoder is in training mode.*encoder\.eval\(\)",
        ),
        "one layer in training": (
            (encoder, nn.Sequential(linear(3, 12)).eval().append(nn.Dropout())),
            "auto",
            ValueError,
            "The frozen decoder is in training mode",
        ),
        "another shape": (
            (encoder, linear(3, 11).eval()),
            "auto",
            ValueError,
            r"decoder's output must have y's shape, \(n, 12\), but 2 codes gave shape \(2, 11\)",
        ),
        "cannot read y": (
            (linear(11, 3).eval(), decoder),
            "auto",
            ValueError,
            r"encoder cannot read rows of shape \(n, 12\)",
        ),
        "cannot read codes": (
            (encoder, linear(4, 12).eval()),
            "auto",
            ValueError,
            r"decoder cannot read rows of shape \(n, 3\)",
        ),
        "codes with axes": (
            (nn.Sequential(linear(12, 3), nn.Unflatten(1, (3, 1))).eval(), decoder),
            "auto",
            ValueError,
            r"codes of shape \(n, k\).*gave shape \(2, 3, 1\)",
        ),
        "no tensor": ((Pairs().eval(), decoder), "auto", ValueError, r"gave a tuple"),
        "another dimension": ((encoder, decoder), 2, ValueError, "latent_dim=2 .*dimension 3"),
        "TorchScript": (
            (torch.jit.trace(encoder, torch.zeros(2, 12)), decoder),
            "auto",
            TypeError,
            "autoencoder__encoder is a TorchScript module.*pass the torch.nn.Module",
        ),
        "weights that are NaN": (
            (encoder, nan_weights(linear(3, 12)).eval()),
            "auto",
            ValueError,
            "decodes codes of responses to values that are not finite",
        ),
        "no module": ((encoder, "mlp"), "auto", TypeError, "autoencoder__decoder must be .*'mlp'"),
    }


@pytest.mark.parametrize("name", bad_pairs())
def test_bad_pairs(name):
    modules, latent_dim, kind, message = bad_pairs()[name]
    with pytest.raises(kind, match=f"(?s){message}"):
        learn(modules, sheet(60, 0), latent_dim)


def test_callbacks_of_frozen_modules_are_refused():
    pair = nn.Linear(3, 2).eval(), nn.Linear(2, 3).eval()
    autoencoder = TorchAutoencoder(*pair, callbacks=[PrintLog()])
    with pytest.raises(ValueError, match=r"autoencoder__callbacks are called in training"):
        learn(autoencoder, np.zeros((20, 3)))


# ------------------------------------------------------------------ codes that are images
@pytest.mark.slow
def test_codes_that_are_images_keep_what_a_short_vector_loses():
    y, fresh = np.random.default_rng(0).normal(size=(2, 300, 12, 12))
    y, fresh = (np.cumsum(np.cumsum(part, axis=1), axis=2) for part in (y, fresh))
    short = error(learn("conv", y, max_epochs=2), fresh)
    est = learn("feature-map", y, latent_dim="auto", max_epochs=2)
    assert est.autoencoder_.code_shape_ == (4, 6, 6)
    assert est.latent_dim_ == 144
    assert error(est, fresh) < 0.5 * short


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("shape", [(9, 14), (1, 8, 8), (3, 17, 5), (2, 2, 3), (3, 40, 33)])
def test_images_of_any_size_have_codes_that_are_images(shape):
    y = np.random.default_rng(0).integers(0, 256, size=(40, *shape), dtype=np.uint8)
    est = learn("feature-map", y, latent_dim="auto", max_epochs=1)
    assert est.reconstruct(y[:5]).shape == (5, *shape)
    assert min(est.autoencoder_.code_shape_[1:]) <= 8
    assert est.encode(y[:2]).shape == (2, est.latent_dim_)


@pytest.mark.usefixtures("short_epochs")
def test_pixels_of_a_channel_share_their_scale():
    y = blobs(60, 0)
    est = learn("feature-map", y, latent_dim="auto", max_epochs=1)
    n_channels = est.autoencoder_.code_shape_[0]
    scale = est._latent_standardiser_.scale.reshape(n_channels, -1)
    assert (scale == scale[:, :1]).all()
    codes = est.encode(y).reshape(60, n_channels, -1)
    assert_allclose(codes.std(axis=(0, 2)), scale[:, 0], rtol=1e-3)


def test_feature_maps_want_images_and_no_latent_dim():
    with pytest.raises(ValueError, match=r"'feature-map' needs images y .*\(12,\)"):
        learn("feature-map", np.zeros((40, 12)), latent_dim="auto")
    with pytest.raises(ValueError, match=r"latent_dim=3 does not fit .*'auto'"):
        learn("feature-map", blobs(40, 0), latent_dim=3)


@pytest.mark.parametrize("width", [12, 60])
def test_responses_that_are_equally_far_from_each_other(width):
    """One-hot rows of as many classes: all nearest neighbours are at one distance."""
    y = np.eye(width)[np.arange(240) % width]
    assert 1 <= intrinsic_dimension(Responses(y, None), 0, len(y)) <= width
