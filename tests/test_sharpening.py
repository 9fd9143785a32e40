"""A decoder of codes that are images is trained once more, against a critic of its images."""

import numpy as np
import pytest
import torch
from helpers import plain_regressor, record_on_the_cpu
from numpy.testing import assert_allclose, assert_array_equal

from sklsdm import LSDMGenerator, TrainingDisplay
from sklsdm.autoencoders import feature_map
from sklsdm.autoencoders.sharpening import SharpeningObjective, noisy_codes
from sklsdm.modules import ConvCritic, FeatureMapCoder

N, STEPS = 120, 10


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_map.FeatureMapAutoencoder, "_min_steps", lambda self, form: STEPS)
        yield


def grainy(n_images=N, seed=0):
    """Bright discs with grain that no code of 4 x 4 x 4 numbers can hold."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(5, 11, size=(n_images, 2, 1, 1))
    grid = np.indices((16, 16))[None]
    disc = np.square(grid - place).sum(axis=1) < 16
    grain = rng.choice([0.0, 0.4], size=disc.shape)
    return (255 * (0.2 + 0.4 * disc + grain)).round().astype(np.uint8)


def model(critic_weight, **params):
    est = plain_regressor(matcher="flow", autoencoder="feature-map", random_state=0)
    est.set_params(exact_values=False)  # the discs have three values only
    est.set_params(autoencoder__critic_weight=critic_weight, autoencoder__max_epochs=2)
    est.set_params(autoencoder__channels=(16, 16))
    return est.set_params(**{"matcher__max_steps": 2, "matcher__channels": 8} | params)


def fit(est, n_images=N):
    y = grainy(n_images)
    return est.fit(np.eye(2)[np.arange(20) % 2], y[:20], y[20:])


def grain_of(images):
    """Mean squared step between neighbouring pixels."""
    return np.square(np.diff(images, axis=-1)).mean()


@pytest.fixture(scope="module")
def rebuilt(short_epochs):
    """Images as a sharpened decoder rebuilds them."""
    return fit(model(0.1)).reconstruct(grainy())


@pytest.mark.slow
def test_rebuilt_images_are_sharper_and_their_codes_are_the_same(monkeypatch):
    monkeypatch.setattr(feature_map.FeatureMapAutoencoder, "_min_steps", lambda self, form: 30)
    fresh = grainy(200, seed=1)
    plain, sharp = (fit(model(weight, autoencoder__max_epochs=6), 600) for weight in (0.0, 1.0))
    assert_array_equal(sharp.encode(fresh), plain.encode(fresh))
    real = grain_of(fresh / 255)
    blurred, found = (grain_of(est.reconstruct(fresh)) for est in (plain, sharp))
    assert blurred < 0.6 * real
    assert blurred + 0.25 * (real - blurred) < found < 1.5 * real


@pytest.mark.slow
def test_it_is_only_by_default_where_images_are_enough(monkeypatch):
    monkeypatch.setattr(feature_map, "ENOUGH_IMAGES", N + 1)
    assert "sharpening_loss" not in fit(model("auto")).history_["autoencoder"]
    monkeypatch.setattr(feature_map, "ENOUGH_IMAGES", N)
    losses = fit(model("auto")).history_["autoencoder"]
    assert losses["sharpening_loss"].shape == losses["sharpening_critic_loss"].shape == (2,)
    assert np.isfinite(losses["sharpening_loss"]).all()
    assert "sharpening_loss" not in fit(model(0)).history_["autoencoder"]
    y, numbers = grainy(), np.random.default_rng(0).normal(size=(20, 2))
    other = model("auto").fit(numbers, y[:20], y[20:])
    assert "sharpening_loss" in other.history_["autoencoder"]
    alone = LSDMGenerator(matcher="flow", autoencoder="feature-map", random_state=0)
    alone.set_params(autoencoder__max_epochs=1, matcher__max_steps=2, matcher__channels=8)
    assert "sharpening_loss" in alone.fit(y).history_["autoencoder"]


@pytest.mark.slow
def test_its_losses_are_shown():
    est = fit(model(0.1))
    first, again, *_ = TrainingDisplay.from_estimator(est).content
    assert (first.title, again.title) == ("Stage 1: autoencoder", "Stage 1: sharpening")
    assert list(again.curves) == ["training loss", "critic's loss"]
    losses = est.history_["autoencoder"]
    assert_array_equal(again.curves["training loss"], losses["sharpening_loss"])
    assert_array_equal(again.steps, est.autoencoder_.n_steps_ / 2 * np.array([1, 2]))


@pytest.mark.slow
def test_equal_fits_are_equal(rebuilt):
    assert_array_equal(fit(model(0.1)).reconstruct(grainy()), rebuilt)


@pytest.mark.parametrize("shape", [(9, 14), (3, 17, 5), (2, 2, 3), (3, 40, 33)])
def test_images_of_any_size(shape):
    y = np.random.default_rng(0).integers(0, 256, size=(40, *shape), dtype=np.uint8)
    est = model(0.1, autoencoder__max_epochs=1, autoencoder__channels="auto").fit(
        np.zeros((40, 1)), y
    )
    assert np.isfinite(est.reconstruct(y)).all()
    assert est.sample(np.zeros((3, 1)), 2, random_state=0).shape == (3, 2, *shape)


def test_responses_that_are_streamed(monkeypatch, tmp_path):
    monkeypatch.setattr("sklsdm.autoencoders.trained.resident_limit", lambda device: 0)
    np.save(tmp_path / "y.npy", grainy())
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    est = model(0.1).fit(np.zeros((20, 1)), grainy()[:20], mapped[20:])
    assert np.isfinite(est.reconstruct(grainy())).all()


def test_a_fit_goes_on_with_it():
    est = fit(model(0.1, warm_start=True))
    before = est.reconstruct(grainy())
    assert not np.array_equal(fit(est).reconstruct(grainy()), before)
    # The mean of all images is off by .055.
    assert np.square(est.reconstruct(grainy()) - grainy() / 255).mean() < 0.05


@pytest.mark.slow
def test_a_fit_of_fewer_images_stays_as_sharp(monkeypatch):
    monkeypatch.setattr(feature_map, "ENOUGH_IMAGES", N)
    est = fit(model("auto", warm_start=True))
    again = fit(est, 60)
    assert "sharpening_loss" in again.history_["autoencoder"]


@pytest.mark.parametrize("epoch", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_fit_that_was_broken_off_ends_as_an_unbroken_one(epoch, tmp_path, monkeypatch, rebuilt):
    own, calls = SharpeningObjective.generator_loss, []

    def breaks_off(self, *args):
        calls.append(1)
        if len(calls) == STEPS * epoch + 3:
            raise KeyboardInterrupt
        return own(self, *args)

    with monkeypatch.context() as within:
        within.setattr(SharpeningObjective, "generator_loss", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            fit(model(0.1, checkpoint=tmp_path))
    (state,) = tmp_path.iterdir()
    assert (state / "sharpening.state").exists() == (epoch == 1)
    resumed = fit(model(0.1, checkpoint=tmp_path))
    assert_array_equal(resumed.reconstruct(grainy()), rebuilt)
    assert list(tmp_path.iterdir()) == []


def test_steps_can_be_recorded(monkeypatch, rebuilt):
    replays = record_on_the_cpu(monkeypatch)
    recorded = fit(model(0.1, matcher__max_steps=1)).reconstruct(grainy())
    assert replays == 2 * [2 * STEPS - 3]  # of two epochs
    assert_allclose(recorded, rebuilt, atol=2e-3)


# ------------------------------------------------------------------ the losses
def parts(weight=0.1):
    random = torch.Generator().manual_seed(0)
    coder = FeatureMapCoder((1, 8, 8), 2, (8,), generator=random)
    critic = ConvCritic(0, (1, 8, 8), 8, generator=random, of_images=True)
    objective = SharpeningObjective(coder.encoder, lambda rows: rows, weight, 0.0, random)
    return coder, critic, objective, torch.randn(8, 64, generator=random)


def test_each_player_has_gradients_of_its_own():
    coder, critic, objective, target = parts()
    objective.critic_loss(coder.decoder, critic, target).backward()
    assert all(p.grad is None for p in coder.parameters())
    assert all(p.grad is not None for p in critic.parameters())
    critic.requires_grad_(False)
    objective.generator_loss(coder.decoder, critic, target).backward()
    assert all(p.grad is None for p in coder.encoder.parameters())
    assert all(p.grad is not None for p in coder.decoder.parameters())


def test_without_weight_the_loss_is_the_squared_error():
    coder, critic, objective, target = parts(weight=0.0)
    found = objective.generator_loss(coder.decoder, critic, target)
    assert_allclose(found.item(), (coder(target) - target).square().mean().item(), rtol=1e-6)


def test_noise_is_in_units_of_the_spread_of_codes():
    codes = 5 * torch.randn(2000, 10, generator=torch.Generator().manual_seed(0)) + 3
    moved = noisy_codes(codes, 0.1, torch.Generator().manual_seed(1))
    assert_allclose((moved - codes).std().item(), 0.5, rtol=0.03)
    assert torch.equal(noisy_codes(codes, 0.0, torch.Generator()), codes)


@pytest.mark.parametrize("bad", [-0.1, "often", None])
def test_bad_weights(bad):
    with pytest.raises((TypeError, ValueError), match="autoencoder__critic_weight"):
        fit(model(bad))
