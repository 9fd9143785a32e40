"""What users hand in as they have it: layouts, tensors, devices, modules, loaders."""

import warnings

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.autoencoders import TorchAutoencoder
from sklsdm.matchers import EnergyMatcher
from sklsdm.run import resolve_device


def short(latent_dim="auto", **params):
    return plain_regressor(latent_dim, EnergyMatcher(max_steps=3), random_state=0, **params)


def pairs(n=30, q=3):
    random = np.random.default_rng(0)
    return random.normal(size=(n, 2)), random.normal(size=(n, q))


# ------------------------------------------------------------------ layouts of images
LAST = [(8, 8, 3), (5, 9, 1), (28, 28, 4)]


@pytest.mark.parametrize("shape", LAST)
def test_channels_last_are_refused_with_the_transpose_to_write(shape):
    images = np.zeros((20, *shape), dtype=np.uint8)
    right = np.zeros((20, shape[2], *shape[:2]), dtype=np.uint8)
    X = pairs(20)[0]
    message = r"{} has shape .*channels last.*numpy.transpose\({}, \(0, 3, 1, 2\)\)"
    with pytest.raises(ValueError, match=message.format("y", "y")):
        short(2, autoencoder="pca").fit(X, images)
    with pytest.raises(ValueError, match=message.format("Y_unpaired", "Y_unpaired")):
        short(2, autoencoder="pca").fit(X, right, images)
    with pytest.raises(ValueError, match=message.format("Y_unpaired", "Y_unpaired")):
        short(2, autoencoder="pca").fit(X, right, TensorDataset(torch.from_numpy(images)))
    with pytest.raises(ValueError, match=message.format("X", "X")):
        short().fit(images, X)
    with pytest.raises(ValueError, match=message.format("X", "X")):
        LSDMGenerator(2, autoencoder="pca").fit(images)


@pytest.mark.parametrize("shape", [(2, 4, 4), (16, 4, 4), (3, 8, 8), (4, 4, 3), (3, 9, 4)])
def test_channels_first_stay_images(shape):
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    est = short(2, autoencoder="pca").fit(pairs(20)[0], images)
    assert est.sample(pairs(20)[0][:3], 2).shape == (3, 2, *shape)


# ------------------------------------------------------------------ tensors and devices
def test_tensors_that_require_gradients_are_taken():
    X, y = (torch.from_numpy(values).requires_grad_() for values in pairs())
    est = short().fit(X, y, y)
    plain = short().fit(*pairs(), pairs()[1])
    draws = est.sample(X[:4], 3, random_state=0)
    assert_array_equal(draws, plain.sample(pairs()[0][:4], 3, random_state=0))
    assert est.score(X, y) == plain.score(*pairs())
    generator = LSDMGenerator(matcher=EnergyMatcher(max_steps=3)).fit(y)
    assert np.isfinite(generator.score(y))


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_may_be_an_object(device):
    assert resolve_device(device) == torch.device("cpu")
    assert short(device=device).fit(*pairs()).device_ == "cpu"
    assert LSDMGenerator(matcher=EnergyMatcher(max_steps=3), device=device).fit(pairs()[1])


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's Metal")
def test_metal():
    est = short(device="mps").fit(*pairs())
    assert np.isfinite(est.sample(pairs()[0], 3)).all()


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="is there")
def test_metal_where_there_is_none():
    with pytest.raises(ValueError, match=r"device='mps' was asked for, but PyTorch finds 0 MPS"):
        short(device="mps").fit(*pairs())


@pytest.mark.parametrize("device", ["tpu", 3, torch.device("meta")])
def test_unknown_devices_are_refused(device):
    with pytest.raises(ValueError, match=r"device=.* is unknown; choose one of 'auto', 'cpu'"):
        short(device=device).fit(*pairs())


# ------------------------------------------------------------------ modules
class Both(nn.Module):
    """One module that encodes and decodes, with one weight for both ways."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(2, 3))

    def encode(self, rows):
        return rows @ self.weight.T

    def decode(self, codes):
        return codes @ self.weight


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_module_with_both_ways(wrapped):
    module = Both().eval()
    X, y = pairs()
    est = short(autoencoder=TorchAutoencoder(module) if wrapped else module).fit(X, y)
    assert est.latent_dim_ == 2
    scaled = (y - y.mean(axis=0)) / y.std(axis=0)
    np.testing.assert_allclose(est.encode(y), scaled[:, :2], rtol=1e-5, atol=1e-6)


def test_its_shared_weight_stays_one_when_it_is_trained_further():
    est = short(autoencoder=TorchAutoencoder(Both(), frozen=False, max_epochs=2))
    coder = est.fit(*pairs()).autoencoder_.coder_
    assert len(list(coder.parameters())) == 1


def test_a_module_without_both_ways_is_refused():
    with pytest.raises(TypeError, match=r"or one module with encode and decode, got Linear"):
        short(autoencoder=nn.Linear(3, 2)).fit(*pairs())
    with pytest.raises(TypeError, match=r"autoencoder__decoder must be a torch.nn.Module"):
        short(autoencoder=TorchAutoencoder(nn.Linear(3, 2).eval())).fit(*pairs())


# ------------------------------------------------------------------ unpaired responses
def test_a_data_loader_is_refused_with_what_to_pass():
    loader = DataLoader(TensorDataset(torch.zeros(20, 3)))
    with pytest.raises(TypeError, match=r"Y_unpaired is a DataLoader; pass its dataset"):
        short().fit(*pairs(), loader)


# ------------------------------------------------------------------ constants and warnings
def test_constant_images_score_and_warn_in_both_estimators():
    images = np.full((30, 6, 6), 128, dtype=np.uint8)
    generator = LSDMGenerator(2, EnergyMatcher(max_steps=3), autoencoder="pca", random_state=0)
    with pytest.warns(UserWarning, match="The images of the responses are constant"):
        generator.fit(images)
    assert np.isfinite(generator.score(images))
    with pytest.warns(UserWarning, match="The images of the responses are constant"):
        est = short(2, autoencoder="pca").fit(pairs(30)[0], images)
    assert np.isfinite(est.score(pairs(30)[0], images))
    np.testing.assert_allclose(est.sample(pairs(30)[0], 2), 128 / 255, atol=1e-6)


def test_constant_columns_warn_in_both_estimators():
    y = pairs()[1].copy()
    y[:, 1] = 7.0
    generator = LSDMGenerator(matcher=EnergyMatcher(max_steps=3), random_state=0)
    with pytest.warns(UserWarning, match=r"Columns \[1\] of the responses are constant"):
        generator.fit(y)
    assert (generator.sample(5, random_state=0)[:, 1] == 7.0).all()


def test_warnings_point_at_the_users_line():
    X, y = pairs()
    y = np.c_[y, np.ones(len(y))]
    near = np.r_[y, y]
    calls = {
        "constant": lambda: short().fit(X, y),
        "is too large": lambda: short(4, autoencoder="pca").fit(X[:3], y[:3]),
        "far outside": lambda: short().fit(X, y, near, X_val=X + 1e3, y_val=y),
    }
    for text, call in calls.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        (found,) = [w for w in caught if text in str(w.message)]
        assert found.filename == __file__


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize("verbose", [True, 1, False, 0])
def test_verbose_may_be_a_flag(verbose, capsys):
    short(verbose=verbose).fit(*pairs())
    assert ("stage 2" in capsys.readouterr().err) == bool(verbose)


def test_a_checkpoint_that_is_no_path_is_refused():
    with pytest.raises(TypeError, match=r"checkpoint must be a path .* got 3"):
        short(checkpoint=3).fit(*pairs())
    with pytest.raises(ValueError, match=r"checkpoint must be a path without null .* got 'a"):
        short(checkpoint="a\0b").fit(*pairs())


def test_nested_settings_of_an_unknown_name_are_refused_by_name():
    est = plain_regressor(matcher="nonsense")
    with pytest.raises(ValueError, match=r"matcher='nonsense' is unknown; choose one of"):
        est.set_params(matcher__lr=1)


def test_failed_settings_leave_the_parts_as_they_were():
    est = LSDMRegressor()
    with pytest.raises(ValueError, match="foo"):
        est.set_params(matcher__foo=1)
    with pytest.raises(ValueError, match="foo"):
        est.set_params(autoencoder__max_epochs=3, matcher="energy", matcher__foo=1)
    assert (est.matcher, est.autoencoder) == ("wgan", "auto")


def test_what_an_image_fit_keeps_for_its_score_stays_bytes():
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 32, 32), dtype=np.uint8)
    est = short(2, autoencoder="pca").fit(pairs(100)[0], images)
    assert est._reference_.dtype == np.uint8
    assert np.isfinite(est.score(pairs(100)[0], images))


@pytest.mark.parametrize("value", [-5.0, 1.5])
def test_floats_outside_the_range_of_images_are_refused(value):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    est = short(2, autoencoder="pca").fit(pairs()[0], images)
    with pytest.raises(
        ValueError, match=r"Y must be uint8 images as in fit, or floats in \[0, 1\]"
    ):
        est.encode(np.full((3, 4, 4), value))


# ------------------------------------------------------------------ types
@pytest.mark.usefixtures("small_forests")
def test_the_typed_script_runs():
    """`make lint` checks its types."""
    import typed_script

    typed_script.main()
