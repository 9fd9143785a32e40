"""Draws get back what a code does not hold, as residuals of responses with codes near their own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal

import sklsdm
from sklsdm import LSDMGenerator
from sklsdm.autoencoders import ConvAutoencoder, MLPAutoencoder, PCAAutoencoder, residuals
from sklsdm.functional.patches import random_patches
from sklsdm.modules import Residuals

pytestmark = pytest.mark.usefixtures("all_looks")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 2))
NOISE = 0.1 * np.exp(X[:, :1]) * RANDOM.normal(size=(300, 60))  # larger for larger codes
TIME = np.linspace(0, 3, 60)
CURVES = X @ np.stack([np.sin(TIME), np.cos(TIME)]) + NOISE


def fitted(y=CURVES, latent_dim=2, max_steps=300, **params):
    params = {"autoencoder": "pca", "matcher": "mdn", "random_state": 0} | params
    est = plain_regressor(latent_dim, **params)
    return est.set_params(matcher__max_steps=max_steps).fit(X, y)


def roughness(curves):
    return np.abs(np.diff(curves, n=2, axis=-1)).mean(axis=-1)


@pytest.mark.parametrize("autoencoder", ["pca", MLPAutoencoder(max_epochs=20)], ids=["pca", "mlp"])
def test_draws_are_as_rough_as_responses(autoencoder):
    est = fitted(autoencoder=autoencoder)
    assert est.autoencoder_.decoder_noise_dim_ == 1
    found = roughness(est.sample(X, 20, random_state=0)).mean(axis=1)
    assert_allclose(found.mean(), roughness(CURVES).mean(), rtol=0.15)
    rough = np.corrcoef(found, X[:, 0])[0, 1]
    assert rough > 0.5  # as the responses are
    smooth = est.reconstruct(CURVES)
    assert roughness(smooth).mean() < 0.6 * roughness(CURVES).mean()


def test_without_residuals_draws_lie_on_the_decoders_surface():
    est = fitted(max_steps=20, autoencoder=PCAAutoencoder(residuals=False))
    assert est.autoencoder_.decoder_noise_dim_ == 0
    draws = est.sample(X, 5, random_state=0)
    assert_allclose(est.reconstruct(draws.reshape(-1, 60)), draws.reshape(-1, 60), atol=1e-4)


@pytest.mark.parametrize(
    ("y", "latent_dim"),
    [(CURVES[:, :8], 8), (CURVES[:, :2], 2)],
    ids=["no smaller code", "two outputs"],
)
def test_nothing_is_added_where_nothing_is_missing(y, latent_dim):
    est = fitted(y, latent_dim, max_steps=2)
    assert est.autoencoder_.decoder_noise_dim_ == 0
    assert not hasattr(est.autoencoder_, "residuals_")


def discs(noise, softness=0.1):
    """Images of discs at random places, whose blurred codes leave their edges out."""
    place = np.linspace(-1, 1, 12)
    across = np.clip(X[:, 0] / 4, -0.5, 0.5)[:, None, None] - place[:, None]
    along = np.clip(X[:, 1] / 4, -0.5, 0.5)[:, None, None] - place
    inwards = 0.2 - across**2 - along**2
    edges = 1 / (1 + np.exp(-inwards / softness)) if softness > 0 else inwards > 0
    return edges + noise * RANDOM.normal(size=(300, 12, 12))


@pytest.mark.parametrize(
    "autoencoder",
    [PCAAutoencoder(), pytest.param(ConvAutoencoder(max_epochs=2), marks=pytest.mark.slow)],
    ids=["pca", "conv"],
)
def test_noisy_images_are_drawn_with_noise_and_clean_ones_without(autoencoder):
    noisy, clean = discs(0.3), discs(0.0)
    est = fitted(noisy, 3, autoencoder=autoencoder)
    assert est.autoencoder_.decoder_noise_dim_ == 1
    draws = est.sample(X, 10, random_state=0)
    assert_allclose(roughness(draws).mean(), roughness(noisy).mean(), rtol=0.1)
    assert roughness(est.reconstruct(noisy)).mean() < 0.5 * roughness(noisy).mean()
    for other in (clean, discs(0.0, softness=0.0)):
        learnt = fitted(other, 3, max_steps=2, autoencoder=autoencoder).autoencoder_
        assert learnt.decoder_noise_dim_ == 0


def test_maps_of_few_values_are_drawn_with_noise_and_masks_without():
    rates = np.exp(X[:, 0] / 2)[:, None, None] * np.linspace(0.2, 1.2, 12)
    small = np.minimum(RANDOM.poisson(np.broadcast_to(rates, (300, 12, 12))), 7).astype(float)
    mask = discs(0.0, softness=0.0) * 1.0
    flipped = np.where(RANDOM.random(mask.shape) < 0.1, 1 - mask, mask)
    for y in (small, flipped):
        est = fitted(y, 3, autoencoder=PCAAutoencoder())
        draws = est.sample(X, 10, random_state=0)
        assert set(np.unique(draws)) <= set(np.unique(y))
        assert_allclose(roughness(draws).mean(), roughness(y).mean(), rtol=0.1)
        assert roughness(est.reconstruct(y)).mean() < 0.8 * roughness(y).mean()
    bands = np.digitize(discs(0.0), [0.2, 0.4, 0.6, 0.8]) * 1.0
    for y in (mask, bands):
        learnt = fitted(y, 3, max_steps=2, autoencoder=PCAAutoencoder()).autoencoder_
        assert learnt.decoder_noise_dim_ == 0


def test_patches_tell_noise_and_not_brightness():
    images = torch.from_numpy(discs(0.0)).reshape(100, 3, 12, 12)
    found = random_patches(images, 3, 500, np.random.default_rng(0))
    assert found.shape == (500, 27)
    brighter = random_patches(images + 7.0, 3, 500, np.random.default_rng(0))
    assert_allclose(brighter, found, atol=1e-12)
    assert_allclose(found.reshape(500, 3, 9).sum(dim=2), 0, atol=1e-12)
    (one,) = random_patches(images[:1, :, :3, :3], 3, 1, np.random.default_rng(0))
    square = images[0, :, :3, :3]
    assert_allclose(one, (square - square.mean(dim=(1, 2), keepdim=True)).flatten())


def test_few_responses_have_none():
    est = plain_regressor(2, autoencoder="pca", matcher="mdn").set_params(matcher__max_steps=2)
    est.fit(X[:19], CURVES[:19])
    assert est.autoencoder_.decoder_noise_dim_ == 0


def test_equal_responses_and_wide_ones(monkeypatch):
    y = np.tile(CURVES[:3], (20, 1))
    est = plain_regressor(1, autoencoder="pca", matcher="mdn", random_state=0)
    est.set_params(matcher__max_steps=2).fit(X[:60], y)
    assert len(est.autoencoder_.residuals_.centers) <= 3
    monkeypatch.setattr(residuals, "_MOST_BYTES", 60 * 4 * 50)
    assert len(fitted(max_steps=2).autoencoder_.residuals_.rows) == 50
    monkeypatch.setattr(residuals, "_MOST_BYTES", 60 * 4 * 19)
    assert fitted(max_steps=2).autoencoder_.decoder_noise_dim_ == 0


def test_exact_reconstructions_have_residuals_of_zero():
    """Training responses of rank 1: nothing is missing, and 0 / 0 is no scale."""
    y = np.zeros((300, 60))
    y[:, 0] = X[:, 0] > 0
    est = fitted(y, 1, max_steps=100, unpaired="none")
    assert np.isfinite(est.autoencoder_.residuals_.rows.numpy()).all()
    assert set(np.unique(est.sample(X, 3, random_state=0))) == {0.0, 1.0}


def test_a_further_fit_on_few_responses_keeps_the_residuals():
    est = fitted(max_steps=2, autoencoder=MLPAutoencoder(max_epochs=2), warm_start=True)
    before = est.autoencoder_.residuals_.rows
    est.fit(X[:30], CURVES[:30])
    assert_array_equal(est.autoencoder_.residuals_.rows, before)
    assert est.autoencoder_.decoder_noise_dim_ == 1
    est.fit(X, 1.1 * CURVES)
    assert not np.array_equal(est.autoencoder_.residuals_.rows, before)


def test_the_bound_of_the_risk_is_of_decoders_without_residuals(monkeypatch):
    monkeypatch.setattr("sklsdm.metrics.classifier.N_TREES", 20)
    with_them, without = (
        fitted(CURVES[:, ::4], max_steps=2, autoencoder=PCAAutoencoder(residuals=residuals))
        .diagnose(X[:80], CURVES[:80, ::4])
        .risk
        for residuals in (True, False)
    )
    assert with_them.bound is None
    assert without.bound > 0
    assert_allclose(with_them.lipschitz, without.lipschitz, rtol=1e-4)
    assert with_them.local_slopes.max() <= with_them.lipschitz * (1 + 1e-4)


def test_each_residual_of_the_nearest_group_is_as_probable():
    found = Residuals(6, 1, 2, 1)
    found.rows.copy_(torch.arange(6.0)[:, None])
    found.centers.copy_(torch.tensor([[0.0], [1.0]]))
    found.spread.fill_(2.0)
    found.first.copy_(torch.tensor([0, 4]))
    found.count.copy_(torch.tensor([4, 2]))
    noise = torch.randn(8000, 1, generator=torch.Generator().manual_seed(0))
    for code, values in [(0.9, [0, 1, 2, 3]), (1.1, [4, 5])]:
        drawn = found(torch.full((8000, 1), code), noise)[:, 0].long()
        shares = torch.bincount(drawn, minlength=6) / 8000
        assert_allclose(shares[values], 1 / len(values), atol=0.03)
        assert shares.sum() == shares[values].sum()
    ends = torch.tensor([[-30.0], [30.0]])
    assert_array_equal(found(torch.zeros(2, 1), ends)[:, 0], [0, 3])


def test_held_out_responses_tell_the_size():
    """Residuals of responses that an MLP has learnt by heart would be too small."""
    random = np.random.default_rng(1)
    est = fitted(random.normal(size=(300, 60)), 20, max_steps=2, autoencoder="mlp")
    fresh = random.normal(size=(300, 60))
    missed = (fresh - est.reconstruct(fresh)).std()
    scale = est.autoencoder_.residuals_.rows.std().item() * est._response_std_.mean()
    assert_allclose(scale, missed, rtol=0.15)


def test_files_copies_and_the_exported_graph_draw_the_same(tmp_path):
    est = fitted(max_steps=20, autoencoder=MLPAutoencoder(max_epochs=2))
    draws = est.sample(X, 3, random_state=0)
    sklsdm.save(est, tmp_path / "model")
    for other in (
        sklsdm.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(est)),
        copy.deepcopy(est),
    ):
        assert_array_equal(other.sample(X, 3, random_state=0), draws)
    graph, _ = pytest.importorskip("sklsdm.onnx.export").graph_of(est)
    seeded = torch.Generator().manual_seed(0)
    noise = torch.randn(300, sum(est._sampler().noise_dims), generator=seeded)
    exported = graph(torch.from_numpy(X.astype(np.float32)), noise).detach().numpy()
    assert_allclose(roughness(exported).mean(), roughness(draws).mean(), rtol=0.2)


def test_without_conditions():
    est = LSDMGenerator(2, autoencoder="pca", matcher="mdn", random_state=0)
    draws = est.set_params(matcher__max_steps=100).fit(CURVES).sample(300, random_state=0)
    assert_allclose(roughness(draws).mean(), roughness(CURVES).mean(), rtol=0.2)
