"""Images of odd sizes, channels, dtypes and ranges: drawn right, or refused by name."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from helpers import plain_regressor, shorten_epochs
from numpy.testing import assert_allclose, assert_array_equal

import sklsdm
from sklsdm import LSDMRegressor, NotImprovedWarning
from sklsdm.autoencoders import ConvAutoencoder
from sklsdm.fitting.holding_out import are_few_labelled_images
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.rules import WholeNumbers


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    """20 steps an epoch in place of 200: principal components hold two patterns already."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_epochs(patch, 20)
        yield


@pytest.fixture(scope="module")
def plain_draws(short_epochs):
    return fitted(quick(), images(3, 6, 5)).sample(X, random_state=0)


N = 30
LABELS = np.arange(N) % 2
X = np.eye(2)[LABELS]


def images(*shape, low=0.0, high=1.0, dtype=np.float64, seed=0):
    """Two classes, each a pattern of its own that no turn or flip keeps, with varied brightness.

    Values fill [low, high] but for a margin.
    """
    rng = np.random.default_rng(seed)
    patterns = rng.uniform(0.3, 0.9, size=(2, *shape))
    brightness = rng.uniform(0.8, 1.0, size=(N, *[1] * len(shape)))
    values = low + (high - low) * brightness * patterns[LABELS]
    return values.astype(dtype)


def quick(**params):
    est = plain_regressor(2, "energy", unpaired="latent", random_state=0)
    est.set_params(autoencoder="conv", autoencoder__max_epochs=1, matcher__max_steps=10, **params)
    return est


def fitted(est, y, X=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotImprovedWarning)
        return est.fit(X, y)


def assert_drawn_right(est, y, low, high, dtype):
    """Shape, dtype, range, the means of both classes (a flip would miss them), reconstructions."""
    draws = est.sample(np.eye(2), 100, random_state=0)
    assert draws.shape == (2, 100, *y.shape[1:])
    assert draws.dtype == dtype
    assert np.isfinite(draws).all()
    span = high - low
    values = (y / 255 if y.dtype == np.uint8 else y.astype(np.float64)).astype(np.float64)
    wanted = np.stack([values[k == LABELS].mean(axis=0) for k in (0, 1)])
    assert_allclose(draws.mean(axis=1, dtype=np.float64), wanted, atol=0.05 * span)
    error = np.square(est.reconstruct(y) - values).mean(dtype=np.float64)
    assert error < 0.01 * span**2 * np.var(values / span)
    assert est.encode(y).shape == (N, 2)
    assert est.score(X, y) > 0.3


SHAPES = {
    "odd sides": (17, 23),
    "one channel": (1, 9, 6),
    "five channels": (5, 7, 9),
    "tiny": (4, 4),
    "tiny colour": (3, 4, 4),
    "two pixels a side": (2, 2),
    "one row of pixels": (1, 11),
    "one column, two channels": (2, 11, 1),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes(case):
    y = images(*SHAPES[case])
    est = fitted(quick(), y)
    assert est.y_shape_ == SHAPES[case]
    assert_drawn_right(est, y, 0, 1, np.float64)


def test_one_pixel():
    est = fitted(quick(latent_dim="auto"), images(1, 1, 1))
    assert est.sample(np.eye(2), 3).shape == (2, 3, 1, 1, 1)


KINDS = {
    "float16": (0, 1, np.float16, np.float32),
    "float32": (0, 1, np.float32, np.float32),
    "float64": (0, 1, np.float64, np.float64),
    "the other byte order": (0, 1, np.dtype(np.float64).newbyteorder(), np.float64),
    "uint8": (0, 255, np.uint8, np.float32),
    "uint16": (0, 65535, np.uint16, np.float64),
    "int32 below 0": (-1000, 500, np.int32, np.float64),
    "large floats": (0, 1e30, np.float64, np.float64),
    "small floats": (0, 1e-30, np.float64, np.float64),
    "far from 0": (1e6, 1e6 + 1, np.float64, np.float64),
}


@pytest.mark.parametrize("case", KINDS)
def test_kinds_of_numbers(case):
    low, high, dtype, drawn_as = KINDS[case]
    y = images(3, 6, 5, low=low, high=high, dtype=dtype)
    ends = (0, 1) if dtype == np.uint8 else (low, high)
    assert_drawn_right(fitted(quick(), y), y, *ends, drawn_as)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "y_range"),
    [
        (-3.0, 7.0, np.float64, (-3, 7)),
        (-3.0, 7.0, np.float32, (-3, None)),
        (0, 65535, np.uint16, (0, 65535)),
    ],
)
def test_ranges(low, high, dtype, y_range):
    """Draws are clipped to the range; noise in the images makes many reach its ends."""
    y = images(6, 5, low=low, high=high, dtype=dtype)
    y[:, :2] = low
    est = fitted(quick(y_range=y_range), y)
    draws = est.sample(np.eye(2), 100, random_state=0)
    assert draws.min() == low
    assert y_range[1] is None or draws.max() <= y_range[1]


def test_unsigned_responses_are_not_negative():
    y = np.random.default_rng(0).poisson(0.2, (len(X), 5, 4)).astype(np.uint16)
    draws = fitted(quick(exact_values=False), y).sample(X, 50, random_state=0)
    assert draws.min() == 0
    assert (Responses(y[:, 0], None).format.range[0] == 0).all()
    assert Responses(y, y.astype(np.int32)).format.range is None


def test_images_outside_the_range():
    y = images(6, 5)
    y[3, 1, 1] = 8
    with pytest.raises(ValueError, match=r"y holds 1 value outside y_range, first 8 in row 3"):
        quick(y_range=(0, 1)).fit(X, y)


@pytest.mark.parametrize(
    "y",
    [
        np.full((N, 5, 4), 0.3),
        np.full((N, 5, 4), 0.3, dtype=np.float32),
        np.full((N, 3, 5, 4), 77, dtype=np.uint8),
        np.zeros((N, 1, 5, 4), dtype=np.uint8),
        np.full((N, 5, 4), 40_000, dtype=np.uint16),
    ],
    ids=["float64", "float32", "uint8", "black", "uint16"],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_constant_images_are_repeated(y):
    with pytest.warns(UserWarning, match="images of the responses are constant"):
        est = fitted(quick(latent_dim="auto"), y)
    draws = est.sample(np.eye(2), 4, random_state=0)
    wanted = y[0, 0, 0].max() / 255 if y.dtype == np.uint8 else y[0, 0, 0].max()
    assert_allclose(draws, wanted, rtol=1e-12 if draws.dtype == np.float64 else 1e-7)
    assert draws.min() == draws.max()
    assert est.score(X, y) == 1.0


@pytest.mark.parametrize(
    "given",
    [
        lambda y: np.asfortranarray(y),
        lambda y: np.ascontiguousarray(y[:, :, ::-1])[:, :, ::-1],
        lambda y: torch.from_numpy(y),
        lambda y: y.tolist(),
    ],
    ids=["Fortran order", "negative strides", "tensor", "lists"],
)
def test_the_layout_in_memory_makes_no_difference(given, plain_draws):
    est = fitted(quick(), given(images(3, 6, 5)))
    assert_array_equal(est.sample(X, random_state=0), plain_draws)


@pytest.mark.parametrize("params", [{"lipschitz": 2.0}, {"channels": (4,) * 7}, {"channels": (3,)}])
def test_settings_of_the_convolutions_on_odd_sides(params):
    """More halvings than there are pixels leave one pixel; the slope's bound knows odd sides."""
    y = images(2, 9, 7)
    est = fitted(quick().set_params(autoencoder=ConvAutoencoder(max_epochs=1, **params)), y)
    assert_drawn_right(est, y, 0, 1, np.float64)


@pytest.mark.parametrize("shape", [(1, 17, 23), (5, 6, 7), (3, 1, 1), (1, 2, 2), (2, 1, 9)])
def test_odd_images_as_conditions(shape):
    """The class is in the condition's image."""
    condition = images(*shape, seed=1)
    est = plain_regressor(2, "energy", autoencoder="pca", condition_encoder="conv", random_state=0)
    y = images(6, 5)
    fitted(est.set_params(matcher__max_steps=200), y, condition)
    draws = est.sample(condition[:2], 100, random_state=0).mean(axis=1)
    wanted = np.stack([y[k == LABELS].mean(axis=0) for k in (0, 1)])
    assert np.square(draws - wanted).mean() < 0.2 * np.square(draws - wanted[::-1]).mean()


# ---------------------------------------------------------------------------- what is refused
COLOUR = images(3, 12, 10)
BYTES = images(3, 6, 5, high=255, dtype=np.uint8)
REFUSED = {
    "channels last": ((np.moveaxis(COLOUR, 1, -1),), r"y has shape \(30, 12, 10, 3\).*\(n, c, h"),
    "bytes, channels last": ((np.moveaxis(BYTES, 1, -1),), r"y has shape .*channels last"),
    "one channel, last": ((COLOUR[:, 0, :, :, None],), r"y has shape .*channels last"),
    "unpaired, channels last": (
        (COLOUR, np.moveaxis(COLOUR, 1, -1)),
        r"Y_unpaired has shape .*numpy.transpose\(Y_unpaired, \(0, 3, 1, 2\)\)",
    ),
    "unpaired of another size": (
        (COLOUR, COLOUR[:, :, :8]),
        r"Y_unpaired must have shape \(N, 3, 12, 10\).*\(30, 3, 8, 10\)",
    ),
    "unpaired without the channel": ((COLOUR[:, :1], COLOUR[:, 0]), r"Y_unpaired .*\(N, 1, 12, 10"),
    "bytes beside uint16": (
        (BYTES, BYTES.astype(np.uint16)),
        r"y holds bytes \(uint8\) and Y_unpaired integers \(uint16\). Pass both as bytes",
    ),
    "floats beside bytes": (
        (BYTES / 255, BYTES),
        r"y holds floats \(float64\) and Y_unpaired bytes \(uint8\). Pass both .* divided by 255",
    ),
    "uint16 beside floats": (
        (BYTES.astype(np.uint16), BYTES / 255),
        r"integers \(uint16\) and Y_unpaired floats \(float64\).*y.astype\(Y_unpaired.dtype\)",
    ),
    "no pixels": ((COLOUR[:, :, :0],), r"y must have shape .*got \(30, 3, 0, 10\)"),
    "five axes": ((COLOUR[:, None],), r"y must have shape .*got \(30, 1, 3, 12, 10\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_fit_refuses(case):
    (y, *unpaired), message = REFUSED[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        LSDMRegressor().fit(X, y, *unpaired)


def test_bytes_have_a_range_of_their_own():
    with pytest.raises(ValueError, match=r"y_range must be None for uint8 images.*got \(0, 255\)"):
        quick(y_range=(0, 255)).fit(X, BYTES)


def test_conv_refuses_rows():
    with pytest.raises(ValueError, match=r"autoencoder='conv' needs images y .*shape \(15,\)"):
        quick().fit(X, BYTES[:, 0, :3].reshape(N, -1) / 255)


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_fitted_to_bytes(method):
    est = fitted(quick(), BYTES)
    call = getattr(est, method)
    assert_allclose(call(BYTES[:3] / 255), call(BYTES[:3]), atol=1e-4)
    with pytest.raises(
        ValueError, match=r"Y must be uint8 images as in fit, or floats in \[0, 1\]"
    ):
        call(BYTES.astype(float))
    with pytest.raises(ValueError, match=r"Y must have shape \(n, 3, 6, 5\) as in fit, got"):
        call(np.moveaxis(BYTES, 1, -1))


# ------------------------------------------------------------------ bytes and floats
FLOATS_THEN_BYTES = r"must hold floats as in fit, got uint8 images"


@pytest.mark.parametrize("of", ["y", "X"])
def test_bytes_are_refused_where_fit_had_floats(of):
    """They would be divided by 255, and nothing else would be."""
    y = images(8, 8, low=0.0, high=255.0)
    bytes_ = y.astype(np.uint8)
    if of == "y":
        est = fitted(quick(warm_start=True), y)
        before = est.predict(X)
        for call in (est.score, est.fit, partial(sklsdm.scorers.neg_crps, est)):
            with pytest.raises(ValueError, match=rf"^y {FLOATS_THEN_BYTES}"):
                call(X, bytes_)
        with pytest.raises(ValueError, match=FLOATS_THEN_BYTES):
            est.encode(bytes_)
        assert_array_equal(est.predict(X), before)
    else:
        est = fitted(quick(), y, y[:, None])
        with pytest.raises(ValueError, match=rf"^X {FLOATS_THEN_BYTES}"):
            est.predict(bytes_[:, None])


def test_floats_beyond_1_are_refused_where_fit_had_bytes():
    bytes_ = images(8, 8, low=0.0, high=255.0, dtype=np.uint8)
    est = fitted(quick(), bytes_, bytes_[:, None])
    message = r"^X must be uint8 images as in fit, or floats in \[0, 1\], got float64 with values"
    with pytest.raises(ValueError, match=message):
        est.predict(bytes_[:, None].astype(float))
    assert_allclose(est.predict(bytes_[:, None] / 255), est.predict(bytes_[:, None]), atol=1e-6)


def test_bytes_of_small_numbers_are_pointed_out():
    mask = (images(8, 8) > 0.5).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"y holds uint8 images with no value above 1.*astype"):
        fitted(quick(), mask)


# ------------------------------------------------------------------ channels and pixels
def of_two_scales(times):
    """Images whose first channel is noise, and whose second one goes with the label."""
    rng = np.random.default_rng(0)
    second = images(1, 8, 8) - 0.4
    return np.concatenate([times * rng.normal(size=(N, 1, 8, 8)), second], axis=1)


@pytest.mark.parametrize("times", [10.0, 1000.0])
def test_a_channel_of_small_numbers_is_learnt_beside_one_of_large(times):
    y = of_two_scales(times)
    est = plain_regressor(2, "energy", autoencoder="pca", random_state=0)
    fitted(est.set_params(matcher__max_steps=10), y)
    means = est.sample(np.eye(2), 200, random_state=0)[:, :, 1].mean(axis=1)
    wanted = np.stack([y[k == LABELS, 1].mean(axis=0) for k in (0, 1)])
    assert_allclose(means, wanted, atol=0.1)
    condition = LSDMRegressor(matcher="mdn", condition_encoder="flatten", random_state=0)
    condition.set_params(matcher__max_steps=200)
    told = fitted(condition, LABELS.astype(float), y).predict(y)
    assert np.corrcoef(told, LABELS)[0, 1] > 0.9


def test_channels_of_like_scales_share_one():
    """Colours keep the proportions between their channels."""
    rng = np.random.default_rng(0)
    colours = rng.normal(0.5, 0.2, size=(50, 3, 4, 4)) * [[[[1.0]], [[0.6]], [[0.5]]]]
    assert len(Responses(colours, None).format.standardiser.mean) == 1
    colours[:, 2] *= 0.1
    scale = Responses(colours, None).format.standardiser.scale.reshape(3, 16)
    assert_allclose(scale[:, 0], colours.std(axis=(0, 2, 3)), rtol=0.01)
    assert (scale == scale[:, :1]).all()


def test_constant_pixels_are_drawn_as_they_are():
    y = images(8, 8)
    y[:, range(8), range(8)] = 1.0
    y[:, 0, 1:] = 0.0
    est = fitted(quick(), y)
    draws = est.sample(X, 2, random_state=0)
    assert (draws[..., range(8), range(8)] == 1).all()
    assert (draws[..., 0, 1:] == 0).all()
    assert (est.reconstruct(y)[:, 0, 1:] == 0).all()
    free = fitted(quick(exact_values=False), y).sample(X, 2, random_state=0)
    assert not (free[..., 0, 1:] == 0).all()


def test_pixels_that_vary_in_a_further_fit_are_free_then():
    y = images(8, 8)
    y[:, :2] = 0.0
    est = fitted(quick(warm_start=True), y)
    moved = y.copy()
    moved[:, 0] = images(8, 8, seed=1)[:, 0]
    draws = fitted(est, moved).sample(X, 2, random_state=0)
    assert draws[..., 0, :].std() > 0
    assert (draws[..., 1, :] == 0).all()


def test_a_constant_channel_is_named():
    y = np.stack([images(8, 8), np.full((N, 8, 8), 7.0), images(8, 8, seed=1)], axis=1)
    with pytest.warns(UserWarning, match=r"^Channels \[1\] of the responses are constant"):
        est = fitted(quick(), y)
    assert (est.sample(X, random_state=0)[:, 0, 1] == 7).all()


def test_classes_in_one_column_are_pointed_out():
    y = np.concatenate([images(8, 8), images(8, 8, seed=1)])
    label = np.repeat([0.0, 1, 2, 3], 15)[:, None]
    with pytest.warns(UserWarning, match=r"X is one column of 4 whole numbers, 0 to 3\..*OneHot"):
        quick().fit(label, y)


def test_label_maps_are_drawn_as_labels():
    rng = np.random.default_rng(0)
    maps = rng.integers(3, size=(60, 1, 1)) + rng.integers(2, size=(60, 8, 8))
    draws = fitted(quick(), maps.astype(float)[:N]).sample(X, 2, random_state=0)
    assert set(np.unique(draws)) <= {0.0, 1, 2, 3}


def counts(mean):
    """Images of counts that fall from left to right, the more the brighter the class is."""
    rates = mean * (1 + LABELS[:, None, None]) * np.linspace(2, 0.1, 8)
    return np.random.default_rng(0).poisson(np.broadcast_to(rates, (N, 8, 8)))


@pytest.mark.parametrize("dtype", [int, np.float32])
@pytest.mark.parametrize("mean", [2, 50])
def test_every_pixel_of_counts_is_a_whole_number(mean, dtype):
    y = counts(mean).astype(dtype)
    est = fitted(quick(), y)
    draws = est.sample(X, 5, random_state=0)
    assert_array_equal(draws, np.rint(draws))
    assert len(np.unique(draws)) > 10
    assert_array_equal(est.reconstruct(y), np.rint(est.reconstruct(y)))
    free = fitted(quick(exact_values=False), y).sample(X, random_state=0)
    assert (free != np.rint(free)).mean() > 0.9


def test_counts_are_not_drawn_below_0():
    y = np.random.default_rng(0).negative_binomial(4, 0.2, size=(N, 2, 8, 8))  # few are 0
    y[:, 1] -= 20
    y[:, :, 0] = 0  # a margin tells nothing of what lies beyond
    est = fitted(quick(), y)
    draws = est.sample(X, 40, random_state=0)
    assert draws[:, :, 0].min() >= 0
    assert draws[:, :, 1].min() < 0
    ends, _, whole = est._response_format_.rules
    assert_array_equal(ends.columns, range(8, 64))
    assert whole.are_whole.all()
    free = est._response_format_.with_rules((whole,)).restore(-3 * torch.ones(1, 128))
    assert free[0, 8:64].max() < 0


def whole_numbers(y):
    rules = Responses(y, None).format.rules
    return [rule for rule in rules if isinstance(rule, WholeNumbers)]


def test_whole_numbers_are_a_matter_of_the_channel():
    y = np.stack([counts(20), counts(20) + 0.5, counts(20) / 3, np.full((N, 8, 8), 4)], axis=1)
    (rule,) = whole_numbers(y)
    assert_array_equal(rule.are_whole, np.repeat([True, False, False, False], 64))
    y[-1, 0, 3, 3] = 0.5
    assert rule.narrowed_to([y.reshape(N, -1)]) is None
    assert whole_numbers(y) == []
    assert whole_numbers(counts(20).astype(np.uint8)) == []  # read as brightness


def test_images_of_one_channel_as_conditions_are_told_how():
    y = images(8, 8)
    with pytest.raises(ValueError, match=r"^X must have shape .* \(30, 8, 8\): pass .* as X\[:, N"):
        quick().fit(y, y)


@pytest.mark.parametrize(("n_each", "are_few"), [(2, True), (6, False)])
def test_few_images_of_a_label_are_all_learnt_from(n_each, are_few):
    """A tenth of them would be half of some label's."""
    label = np.repeat(np.eye(20), n_each, axis=0)
    y = np.random.default_rng(0).normal(size=(len(label), 8, 8))
    responses = Responses(y, y[:30] + 1)
    condition = label.astype(np.float32)
    assert are_few_labelled_images(condition, responses) == are_few
    numbers = np.random.default_rng(0).normal(size=condition.shape).astype(np.float32)
    assert not are_few_labelled_images(numbers, responses)
    assert not are_few_labelled_images(condition, Responses(y.reshape(len(y), -1), None))
