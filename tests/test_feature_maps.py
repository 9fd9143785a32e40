"""The convolutional field of codes that are images, its guidance, and draws made with it."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import RUN
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from sklsdm import LSDMRegressor
from sklsdm.matchers import DiffusionMatcher, FlowMatcher, MatchingData
from sklsdm.modules import ConvField, FeatureMapCoder

SHAPE = (2, 3, 4)
FIELDS = pytest.mark.parametrize("kind", [DiffusionMatcher, FlowMatcher])


def field(condition_dim=2, image_shape=None):
    return ConvField(
        condition_dim, SHAPE, 8, image_shape=image_shape, generator=torch.Generator().manual_seed(0)
    )


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shades(n=400, seed=0):
    """Images that are bright where the class is 1 and dark where it is 0, half of each."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    y = (2.0 * label - 1)[:, None, None] + rng.normal(size=(n, 8, 8))
    return np.eye(2)[label], y.astype(np.float32)


def data(n=200):
    X, y = shades(n)
    y = torch.from_numpy(y[:, ::2, ::2].reshape(n, 1, 4, 4)).flatten(1)
    condition = torch.from_numpy(2 * X - 1).float()
    return MatchingData(condition, y, condition[:0], y[:0], code_shape=(1, 4, 4))


# ------------------------------------------------------------------ the modules
def test_the_field_starts_at_zero_and_has_the_shape_of_codes():
    found = field()
    points, features = rows(5, 24), found.features(rows(5, 2))
    assert_array_equal(found(features, points, torch.tensor([[0.3]])).detach(), np.zeros((5, 24)))
    assert found.dim == 24


def test_no_condition_is_none_of_the_conditions():
    """Also where all columns of x are 0, which is the mean of standardised columns."""
    assert field().features(torch.zeros(1, 2)).tolist() == [[0, 0, 1]]


def test_the_field_does_not_depend_on_what_else_is_in_the_batch():
    found = field()
    torch.nn.init.normal_(found.outwards.weight, generator=torch.Generator().manual_seed(1))
    points, features, time = rows(6, 24), found.features(rows(6, 2)), rows(6, 1)
    whole = found(features, points, time)
    parts = [found(features[i : i + 1], points[i : i + 1], time[i : i + 1]) for i in range(6)]
    assert_close(torch.cat(parts), whole)


def test_an_image_condition_also_enters_where_it_lies():
    """The centre of the resized condition is the mean of what it covers."""
    found = field(6 * 8, image_shape=(1, 6, 8))
    image = torch.arange(48.0).view(1, 48)
    seen = found.features(image)[:, found.n_features :]
    assert seen.shape == (1, 3 * 4)
    assert_close(seen.mean(), image.mean())
    assert (seen.view(3, 4).diff(dim=0) > 0).all()
    assert (seen.view(3, 4).diff(dim=1) > 0).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 9), (2, 4, 4)])
def test_the_coder_restores_any_size(shape):
    coder = FeatureMapCoder(shape, 3, (4, 8), generator=torch.Generator().manual_seed(0))
    target = rows(2, int(np.prod(shape)))
    codes = coder.encode(target)
    assert codes.shape == (2, np.prod(coder.code_shape))
    assert coder.decode(codes).shape == target.shape


# ------------------------------------------------------------------ guidance
@FIELDS
def test_guidance_moves_the_field_away_from_that_without_x(kind):
    matcher = kind(max_steps=20, channels=8, batch_size=32, guidance=0.5, n_steps=2).fit(
        data(), RUN
    )
    module, condition = matcher.network_, data().condition[:4]
    points, time = rows(4, 16), torch.tensor([[0.4]])
    features = module.features(condition)
    given, free = (module(f, points, time) for f in (features, torch.zeros_like(features)))
    field = matcher._field(module, module.features(condition))
    assert_close(field(points, time), given + 0.5 * (given - free))
    assert (given != free).any()


@FIELDS
def test_guidance_is_for_labels_unless_asked_for(kind):
    steps = {"max_steps": 1, "channels": 8, "n_steps": 2}
    labels = data()
    numbers = MatchingData(
        rows(200, 2), labels.latent, labels.held_condition, labels.held_latent, code_shape=(1, 4, 4)
    )
    flat = MatchingData(
        *(getattr(labels, k) for k in ("condition", "latent")), rows(0, 2), rows(0, 16)
    )
    assert kind(**steps).fit(labels, RUN).guidance_ == 0.75
    assert kind(**steps).fit(numbers, RUN).guidance_ == 0
    assert kind(guidance=2.0, **steps).fit(numbers, RUN).guidance_ == 2
    assert kind(guidance=2.0, **steps).fit(flat, RUN).guidance_ == 0  # codes are no images
    alone = replace(labels, condition=rows(200, 0), held_condition=rows(0, 0))
    assert kind(guidance=2.0, **steps).fit(alone, RUN).guidance_ == 0  # there are no conditions
    guided, plain = (kind(guidance=g, **steps).fit(labels, RUN) for g in (1.0, 0.0))
    assert guided.n_passes == 2 * plain.n_passes


@pytest.mark.slow
@FIELDS
def test_draws_follow_the_class(kind):
    X, y = shades()
    model = LSDMRegressor(autoencoder="feature-map", random_state=0, condition_encoder="flatten")
    model.set_params(
        autoencoder__max_epochs=2, matcher=kind(max_steps=100, channels=16, batch_size=32, lr=4e-3)
    )
    model.fit(X, y)
    draws = model.sample(np.eye(2), 50, random_state=0).mean(axis=(2, 3))
    assert draws[0].max() < 0 < draws[1].min()
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.sample(X[:3], random_state=1), model.sample(X[:3], random_state=1))


def test_a_distilled_flow_is_not_guided_twice():
    matcher = FlowMatcher(max_steps=2, channels=8, batch_size=32, n_steps=2, distil=True).fit(
        data(), RUN
    )
    assert (matcher.guidance_, matcher.n_passes) == (0, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": 12}, "matcher__channels must be a multiple of 8, got 12"),
        ({"channels": 0}, "matcher__channels must be at least 8, got 0"),
        ({"guidance": -1}, "matcher__guidance must be at least 0, got -1"),
        ({"guidance": "much"}, "matcher__guidance must be"),
    ],
)
def test_bad_parameters(params, message):
    X, y = shades(40)
    with pytest.raises(ValueError, match=message):
        LSDMRegressor(matcher=DiffusionMatcher(**params)).fit(X, y)


@pytest.mark.slow
def test_codes_without_a_condition_teach_the_field_that_knows_none():
    """Bright images without a label make draws without x brighter, and leave those of class 0."""
    with_codes = data()
    bright = torch.cat([with_codes.latent, with_codes.latent.abs() + 2])
    found = {}
    for name, codes in (("pairs", None), ("all", bright)):
        matcher = DiffusionMatcher(max_steps=200, channels=16, batch_size=64, lr=2e-3)
        matcher.fit(replace(with_codes, codes=codes), RUN)
        free = matcher.network_.features(with_codes.condition[:50]) * 0
        noise = rows(50, 16)
        follow = partial(matcher.network_, free)
        found[name] = matcher._follow(follow, noise, 16).detach().mean()
        of_class_0 = matcher.draw(
            with_codes.condition[with_codes.condition[:, 0] > 0][:20], rows(20, 16)
        )
        assert of_class_0.mean() < -0.5
    assert found["all"] > found["pairs"] + 0.2
