"""Values that many responses share are drawn exactly, and as often as they should be."""

import warnings

import numpy as np
import pytest
import torch
from helpers import plain_regressor, shorten_epochs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone

import sklsdm
from sklsdm import LSDMGenerator
from sklsdm.fitting import borders
from sklsdm.inputs.repeated import find_in_both, find_repeated
from sklsdm.inputs.responses import Responses

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(600, 2))
WET = RANDOM.random(600) < 1 / (1 + np.exp(-2 * X[:, 0]))
RAIN = np.where(WET, np.exp(0.5 * X[:, 1] + 0.5 * RANDOM.normal(size=600)), 0.0)
COUNTS = RANDOM.poisson(np.exp(0.5 + 0.5 * X[:, 1])).astype(float)
FREE = RANDOM.normal(size=600)


def only(values):
    """The repeated values of a single column."""
    (found,) = find_repeated(np.asarray(values, dtype=float)[:, None])
    return found


def there_and_back(repeated, values):
    return repeated.restore(torch.from_numpy(repeated.stretch(values))).numpy()


# ------------------------------------------------------------------ which values
def test_a_spike_at_an_end():
    found = only(RAIN)
    assert_array_equal(found.values, [0.0])
    assert found.lower[0] == -np.inf
    assert_allclose(there_and_back(found, RAIN), RAIN, rtol=1e-12)
    drawn = torch.tensor([-5.0, 0.0, float(found.upper[0]) + 0.25])
    assert_allclose(found.restore(drawn), [0.0, 0.0, 0.25], rtol=1e-6)


def test_spikes_inside_and_at_the_top():
    values = np.concatenate([RANDOM.uniform(0, 10, 300), np.full(100, 4.0), np.full(60, 10.0)])
    found = only(values)
    assert_array_equal(found.values, [4.0, 10.0])
    assert found.upper[1] == np.inf
    assert_allclose(there_and_back(found, values), values, rtol=1e-14)
    draws = np.random.default_rng(1).uniform(-1, found.places[1] + 1, 10_000)
    restored = found.restore(torch.from_numpy(np.sort(draws))).numpy()
    assert (np.diff(restored) >= 0).all()
    width = found.upper[0] - found.lower[0]
    assert_allclose((restored == 4).mean(), width / (found.places[1] + 2), atol=0.02)
    assert restored.min() < 0  # below the smallest response, which is no spike
    assert restored.max() == 10


def test_few_values():
    found = only(COUNTS)
    assert_array_equal(found.values, np.arange(COUNTS.max() + 1))
    draws = found.restore(torch.linspace(-3, 2 * COUNTS.max(), 1000))
    assert set(draws.tolist()) == set(found.values)


def test_evenly_spaced_values_need_not_all_be_seen():
    counts = np.repeat([*range(12), 14.0, 900.0], 20)
    assert_array_equal(only(counts).values, [*range(15), 900])
    assert_array_equal(only(np.repeat([0.0, 0.5, 1.0, 2.0], 20)).values, [0, 0.5, 1, 2])
    assert_array_equal(only(np.repeat([10.0, 20, 50, 100], 20)).values, [10, 20, 50, 100])
    assert_array_equal(only(np.repeat([0.0, 0.33, 0.5], 20)).values, [0, 0.33, 0.5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounded_numbers(dtype):
    temperatures = np.round(RANDOM.normal(15, 5, 3000), 1).astype(dtype)
    found = only(temperatures)
    assert_allclose(10 * found.values, np.rint(10 * found.values), atol=1e-4)
    assert len(found.values) > len(np.unique(temperatures))
    assert np.isin(temperatures, found.values.astype(dtype)).all()


def test_borders_follow_the_shares_where_draws_are_blurred():
    ratings = np.repeat(np.arange(1.0, 6), [100, 150, 250, 300, 200])
    blurred = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    blurred = ratings.mean() + 0.9 * ratings.std() * blurred
    plain = only(ratings)
    found = plain.with_borders(blurred, ratings)

    def errors(repeated):
        drawn = repeated.restore(torch.from_numpy(blurred)).numpy().astype(int)
        return np.abs(np.bincount(drawn)[1:] / 10_000 - np.bincount(ratings.astype(int))[1:] / 1000)

    assert errors(plain).max() > 0.06
    assert errors(found).max() < 0.04
    assert_array_equal(there_and_back(found, ratings), ratings)
    assert (np.abs(found.lower[1:] - plain.lower[1:]) <= 0.25 + 1e-9).all()


def test_borders_stay_where_draws_are_sharp():
    ratings = np.repeat(np.arange(1.0, 6), [100, 150, 250, 300, 200])
    sharp = np.random.default_rng(0).permutation(ratings) + RANDOM.normal(0, 0.05, 1000)
    plain = only(ratings)
    assert_array_equal(plain.with_borders(sharp, ratings).lower, plain.lower)


def test_borders_beyond_all_responses_stay():
    plain = only(np.repeat(np.arange(6.0), 20))
    ratings = np.repeat(np.arange(3.0), 100)
    found = plain.with_borders(ratings + RANDOM.normal(0, 0.4, 300), ratings)
    assert_array_equal(found.lower[4:], plain.lower[4:])


def test_borders_do_not_depend_on_the_order_of_the_pairs(monkeypatch):
    x = np.sort(RANDOM.normal(size=400))
    latent = np.where(x > 0, 0.5, 1.5) * RANDOM.normal(size=400)
    y = 1.0 + sum(latent > cut for cut in (-1.5, -0.5, 0.5, 1.5))
    est = plain_regressor(matcher="energy", random_state=0).set_params(matcher__max_steps=1)
    est.fit(x[:, None], y)
    seen = []
    monkeypatch.setattr(borders, "_MOST_PAIRS", 100)
    monkeypatch.setattr(
        borders, "_by_draws", lambda each, drawn, responses: (seen.append(responses), each)[1]
    )
    borders.set_borders(est._sampler(), torch.from_numpy(est._encode_X(x[:, None])), y)
    assert seen[0].mean() == pytest.approx(y.mean(), abs=0.3)
    assert seen[0].std() < 1.1 * y.std()


def test_a_fit_draws_ratings_as_often_as_they_occur(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    factors = x + rng.normal(size=(400, 3))
    latent = factors @ rng.normal(size=(3, 10)) + 0.7 * rng.normal(size=(400, 10))
    y = 1.0 + sum(latent > cut for cut in (-2.0, -0.7, 0.7, 2.0))

    def errors():
        est = plain_regressor(matcher="energy", random_state=0).set_params(matcher__max_steps=1)
        draws = est.fit(x, y).sample(x, 20, random_state=0)
        generator = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=1)
        drawn = generator.fit(y).sample(4000, random_state=0)
        return [
            sum(abs((each == rating).mean() - (y == rating).mean()) for rating in range(1, 6))
            for each in (draws, drawn)
        ]

    found = errors()
    monkeypatch.setattr("sklsdm.base.set_borders", lambda sampler, condition, y: sampler.form)
    assert (np.array(found) < 0.8 * np.array(errors())).all()


def test_a_draw_near_a_rare_value_becomes_it():
    found = only(np.repeat([0.0, 1.0], [980, 20]))
    assert found.restore(torch.tensor([0.2, 0.8, 1.2])).tolist() == [0, 1, 1]


def test_a_value_of_most_responses_has_the_widest_interval():
    values = np.concatenate([np.zeros(700), np.repeat(np.arange(1, 11.0), 30)])
    found = only(values)
    widths = np.diff(found.upper)
    assert_allclose(widths[:-1], 1.0)
    assert found.upper[0] - found.places[0] > 5
    assert_array_equal(there_and_back(found, values), values)


def test_two_values_of_nearly_all_responses():
    values = np.concatenate(
        [np.zeros(480), np.ones(480), np.random.default_rng(0).uniform(2, 9, 40)]
    )
    found = only(values)
    assert_array_equal(found.values, [0.0, 1.0])
    standard = torch.from_numpy(found.stretch(values))
    noisy = found.restore(
        standard
        + 0.1 * standard.std() * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    )
    assert abs((noisy == 0).double().mean() - 0.48) < 0.02
    assert abs((noisy == 1).double().mean() - 0.48) < 0.05


@pytest.mark.parametrize("amounts", [RANDOM.lognormal(3, 1, 40), RANDOM.integers(100, 9000, 40)])
def test_amounts_that_occur_once_are_no_few_values(amounts):
    values = np.concatenate([np.zeros(960), amounts])
    assert_array_equal(only(values).values, [0.0])
    repeated = np.concatenate([np.zeros(960), np.repeat(amounts[:10], 4)])
    assert_array_equal(only(repeated).values, np.unique(repeated))


COPIED = np.tile(FREE[:100], 6)


@pytest.mark.parametrize(
    "rows",
    [
        FREE[:, None],
        np.full((600, 1), 3.0),
        RAIN[:19, None],
        COPIED[:, None],  # of each response six copies: no value is more frequent than others
        np.rint(FREE * 1e4)[:, None],
    ],
    ids=["free", "constant", "too few", "copies", "as many values as responses"],
)
def test_no_values_repeat(rows):
    assert find_repeated(rows) == ()


def test_each_column_by_itself():
    found = find_repeated(np.stack([FREE, RAIN, FREE, COUNTS], axis=1))
    assert [each.start for each in found] == [1, 3]


@pytest.mark.parametrize(
    ("rows", "shape"),
    [(600, (4, 4)), (600, (501,)), (5000, (4, 4))],
    ids=["natural images", "many outputs", "many images"],
)
def test_wide_tables_many_images_and_those_without_background_are_left_alone(rows, shape):
    values = FREE if rows == 600 and len(shape) == 2 else RAIN
    zeros = np.resize(values, (rows, *shape))
    assert Responses(zeros, None).format.repeated == ()


FIELDS = np.maximum(X[:, :1, None] + np.linspace(-1, 1, 8) * X[:, 1:, None], 0.0)
FIELDS = np.repeat(FIELDS, 8, axis=1) * (1 + np.linspace(0, 1, 8)[:, None])  # (600, 8, 8)


KINDS = {
    "rain": (FIELDS, 0.0),
    "offset": (FIELDS + 3, 3.0),
    "top": (-FIELDS, 0.0),
    "bytes": (np.minimum(40 * FIELDS, 255).astype(np.uint8), 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_background_of_images_is_found(kind):
    y, value = KINDS[kind]
    (found,) = Responses(y, None).format.repeated
    assert found.columns == slice(0, 64)
    assert value in found.values


def test_a_detection_limit_is_drawn_as_often_as_it_occurs():
    """Blurred draws near the interval of a frequent value fall into it too often."""
    random = np.random.default_rng(0)
    levels = np.maximum(np.exp(random.normal(size=2000)), 0.6).round(3)
    (limit,) = find_repeated(levels[:, None])
    drawn = limit.stretch(levels) + random.normal(0, 0.2, 2000)
    moved = limit.with_borders(drawn, levels)
    real = (levels == 0.6).mean()
    before, after = (each.restore(torch.from_numpy(drawn)).numpy() for each in (limit, moved))
    assert (before == 0.6).mean() - real > 0.03
    assert abs((after == 0.6).mean() - real) < 0.015
    assert after.min() == 0.6
    beside = after[(after > 0.6) & (before == 0.6)]  # mirrored at the limit, and so near it
    assert len(beside) > 0
    assert beside.max() < 1.0
    assert_array_equal(after[before > 0.6], before[before > 0.6])


def test_borders_of_a_cap_and_of_a_value_between_others_are_moved_too():
    random = np.random.default_rng(0)
    values = np.minimum(random.normal(size=2000), 1.0)
    values[random.random(2000) < 0.3] = 0.0
    (found,) = find_repeated(values[:, None])
    assert_array_equal(found.values, [0.0, 1.0])
    drawn = found.stretch(values) + random.normal(0, 0.25, 2000)
    moved = found.with_borders(drawn, values)

    def errors(repeated):
        restored = repeated.restore(torch.from_numpy(drawn)).numpy()
        return [abs((restored == each).mean() - (values == each).mean()) for each in (0.0, 1.0)]

    assert max(errors(found)) > 0.03
    assert max(errors(moved)) < 0.025
    assert moved.restore(torch.from_numpy(drawn)).max() == 1.0
    assert np.isposinf(moved.upper[-1])


def test_no_draw_passes_a_cap_near_another_frequent_value():
    random = np.random.default_rng(0)
    values = np.minimum(random.normal(-5, 5, 2000), 0.5)
    values[random.random(2000) < 0.6] = 0.0
    (found,) = find_repeated(values[:, None])
    assert_array_equal(found.values, [0.0, 0.5])
    drawn = found.stretch(values) + random.normal(-10, 8, 2000)
    moved = found.with_borders(drawn, values)
    assert moved.upper[0] < found.upper[0]
    assert (np.diff(moved.lower) > 0).all()
    places = torch.linspace(float(drawn.min()), float(drawn.max()), 2001, dtype=torch.float64)
    assert moved.restore(places).max() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_background_of_images_is_rebuilt(kind):
    y, value = KINDS[kind]
    est = fitted(y, max_steps=2, autoencoder="pca", latent_dim=12)
    background = (y / 255 if y.dtype == np.uint8 else y) == value
    assert ((est.reconstruct(y) == value) == background).mean() > 0.9
    assert (est.sample(X, random_state=0) == value).mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_background_of_images_is_drawn(kind):
    y, value = KINDS[kind]
    est = fitted(y)
    draws = est.sample(X, 5, random_state=0)
    real = y / 255 if y.dtype == np.uint8 else y
    assert abs((draws == value).mean() - (real == value).mean()) < 0.15
    assert abs(draws.mean() - real.mean()) < 0.1 * real.std()
    again = est.reconstruct(y)
    assert ((again == value) == (real == value)).mean() > 0.9


@pytest.mark.slow
def test_the_background_of_a_channel_is_drawn_beside_a_channel_of_another_scale():
    pressure = 1e5 + 1e3 * (X[:, :1, None] + np.random.default_rng(0).normal(size=(600, 1, 1)))
    y = np.stack([np.broadcast_to(pressure, FIELDS.shape), FIELDS], axis=1)
    est = fitted(y)
    draws = est.sample(X, 5, random_state=0)
    assert abs((draws[:, :, 1] == 0).mean() - (FIELDS == 0).mean()) < 0.2
    assert not (draws[:, :, 0] == 0).any()
    assert ((est.reconstruct(y) == 0) == (y == 0)).mean() > 0.9


def test_masks_are_drawn_as_masks(monkeypatch):
    shorten_epochs(monkeypatch, 5)
    est = fitted((FIELDS > 1).astype(float), max_steps=100)
    draws = est.sample(X, 5, random_state=0)
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert abs(draws.mean() - (FIELDS > 1).mean()) < 0.1


TWO_CHANNELS = np.stack([1e5 + 1e3 * FIELDS[:, ::-1] + 1e3 * X[:, :1, None], FIELDS], axis=1)


@pytest.mark.parametrize("y", [FIELDS, TWO_CHANNELS], ids=["one channel", "two channels"])
def test_saved_and_exported_images_are_the_same(tmp_path, y, monkeypatch):
    shorten_epochs(monkeypatch, 5)
    est = fitted(y, max_steps=20)
    sklsdm.save(est, tmp_path / "model")
    loaded = sklsdm.load(tmp_path / "model")
    assert_array_equal(loaded.sample(X, random_state=0), est.sample(X, random_state=0))
    graph, _ = pytest.importorskip("sklsdm.onnx.export").graph_of(est)
    sampler = est._sampler()
    noise = torch.randn(600, sum(sampler.noise_dims), generator=torch.Generator().manual_seed(0))
    draws = graph(torch.from_numpy(X.astype(np.float32)), noise).detach()
    for_matcher, for_decoder = noise.split(sampler.noise_dims, dim=1)
    codes = sampler.draw_latent(torch.from_numpy(est._encode_X(X)), for_matcher)
    wanted = sampler.decode(codes, for_decoder).reshape(draws.shape)
    assert_allclose(draws, wanted, rtol=1e-4, atol=1e-3)
    assert (draws == 0).sum() > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-2.5, 0.0, 0.1, 1.0, 7.0, 1e3]), min_size=0, max_size=300),
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=20, max_size=60),
)
def test_the_axis_keeps_its_order_and_every_value(frequent, others):
    values = np.array(frequent + others)
    for found in find_repeated(values[:, None]):
        ordered = np.sort(values)
        places = found.stretch(ordered)
        assert (np.diff(places) >= 0).all()
        scale = max(1.0, np.abs(found.shifts).max())
        assert_allclose(there_and_back(found, ordered), ordered, atol=1e-12 * scale)
        assert_array_equal(there_and_back(found, found.values), found.values)
        assert (found.lower[1:] >= found.upper[:-1]).all()
        assert (found.upper > found.lower).all()
        assert np.isin(found.values, found.restore(torch.from_numpy(found.places))).all()


def values_of(paired, unpaired):
    (found,) = find_in_both(paired[:, None], unpaired[:, None])
    return found.values


def test_unpaired_responses_add_values_if_they_are_of_the_same_kind():
    few = COUNTS[COUNTS < 4]
    assert_array_equal(values_of(few, COUNTS), np.arange(COUNTS.max() + 1))
    assert_array_equal(values_of(few, FREE), np.arange(4))
    assert_array_equal(values_of(RAIN, RAIN[RAIN > 0]), [0])
    assert_array_equal(values_of(COUNTS[:10], COUNTS), np.arange(COUNTS.max() + 1))
    assert find_in_both(FREE[:30, None], COUNTS[:, None]) == ()


def test_all_counts_of_a_long_table_are_values():
    counts = np.random.default_rng(0).poisson(2, 70_001).astype(float)
    counts[[3, 69_999]] = 19, 22
    for paired, unpaired in [
        (counts, None),
        (counts[:50_000], counts[50_000:]),
        (counts[:30], counts),
    ]:
        (found,) = Responses(
            paired[:, None], None if unpaired is None else unpaired[:, None]
        ).format.repeated
        assert_array_equal(found.values, np.arange(23))


# ------------------------------------------------------------------ in a fit
def fitted(y, X=X, max_steps=300, **params):
    est = plain_regressor(matcher="mdn", random_state=0, **params)
    return est.set_params(matcher__max_steps=max_steps).fit(X, y)


def test_zeros_are_drawn_as_often_as_they_should_be():
    est = fitted(RAIN)
    draws = est.sample(X, 20, random_state=0)
    dry, wet = X[:, 0] < -0.5, X[:, 0] > 0.5
    for rows in (dry, wet):
        assert abs((draws[rows] == 0).mean() - (RAIN[rows] == 0).mean()) < 0.2
    assert abs((draws == 0).mean() - (RAIN == 0).mean()) < 0.1
    assert draws.min() == 0
    free = clone(est).set_params(exact_values=False).fit(X, RAIN).sample(X, 20, random_state=0)
    assert (free == 0).mean() == 0
    assert free.min() < 0


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_counts_are_drawn_as_counts(dtype):
    y = np.stack([COUNTS, FREE.round(), COUNTS == 1], axis=1).astype(dtype)
    est = fitted(y, max_steps=20)
    draws = est.sample(X, 5, random_state=0)
    assert_array_equal(draws, np.rint(draws))
    assert draws[..., 0].min() == 0
    assert set(np.unique(draws[..., 2])) == {0, 1}
    assert_array_equal(est.reconstruct(y), y)
    assert est.predict_interval(X, coverage=0.9).min() >= FREE.round().min()


@pytest.mark.parametrize("unpaired", ["auto", "none", "latent", "match"])
def test_with_unpaired_responses(unpaired):
    est = plain_regressor(matcher="mdn", random_state=0, unpaired=unpaired)
    est.set_params(matcher__max_steps=50).fit(X[:100], RAIN[:100], RAIN[100:])
    assert 0.2 < (est.sample(X, 5, random_state=0) == 0).mean() < 0.8


def test_in_a_latent_space_that_is_learnt(monkeypatch):
    shorten_epochs(monkeypatch, 10)
    y = np.stack([(X[:, 0] > k / 10) * (1 + RAIN) for k in range(-10, 10)], axis=1)
    est = plain_regressor(3, matcher="mdn", autoencoder="mlp", random_state=0)
    est.set_params(matcher__max_steps=100, autoencoder__max_epochs=20).fit(X, y)
    draws = est.sample(X, 5, random_state=0)
    assert abs((draws == 0).mean() - (y == 0).mean()) < 0.1


def test_with_a_range():
    est = fitted(RAIN, y_range=(0, 8))
    draws = est.sample(X, 20, random_state=0)
    assert abs((draws == 0).mean() - (RAIN == 0).mean()) < 0.1
    assert draws.max() <= 8
    assert_allclose(est.reconstruct(RAIN), RAIN, atol=1e-12)


def test_without_conditions():
    est = LSDMGenerator(matcher="mdn", random_state=0).set_params(matcher__max_steps=300)
    draws = est.fit(np.stack([RAIN, FREE], axis=1)).sample(2000, random_state=0)
    assert abs((draws[:, 0] == 0).mean() - (RAIN == 0).mean()) < 0.1
    assert (draws[:, 1] == 0).mean() == 0


def test_a_further_fit_keeps_the_values():
    est = fitted(COUNTS, max_steps=20, warm_start=True).fit(X, COUNTS[::-1])
    with pytest.warns(UserWarning, match=r"Column 0 .*, 0 to .* and 600 of 600 are others now"):
        est.fit(X, COUNTS + 0.5)
    draws = est.sample(X, 5, random_state=0)
    assert_array_equal(draws, np.rint(draws))
    with pytest.raises(ValueError, match="exact_values=False"):
        est.set_params(exact_values=False).fit(X, COUNTS)


def test_saved_draws_are_the_same(tmp_path):
    est = fitted(np.stack([COUNTS, RAIN, FREE], axis=1), max_steps=20)
    sklsdm.save(est, tmp_path / "model")
    loaded = sklsdm.load(tmp_path / "model")
    assert_array_equal(loaded.sample(X, random_state=0), est.sample(X, random_state=0))


def test_exported_draws_are_the_same():
    graph_of = pytest.importorskip("sklsdm.onnx.export").graph_of
    y = np.stack([COUNTS, RAIN, FREE], axis=1)
    est = fitted(y, max_steps=100, y_range=(None, y.max(axis=0)))
    graph, _ = graph_of(est)
    noise = torch.randn(600, sum(est._sampler().noise_dims))
    draws = graph(torch.from_numpy(X.astype(np.float32)), noise).detach().numpy()
    assert_array_equal(np.rint(draws[:, 0]), draws[:, 0])
    assert_array_equal(np.unique(draws[:, 0])[:3], [0, 1, 2])
    assert 0.2 < (draws[:, 1] == 0).mean() < 0.7
    assert (draws <= y.max(axis=0) + 1e-6).all()


def test_diagnosis_of_counts_finds_no_fault(monkeypatch):
    monkeypatch.setattr("sklsdm.metrics.classifier.N_TREES", 10)  # nothing is asked of them here
    y = np.stack([COUNTS, (RANDOM.random(600) < 0.5).astype(float)], axis=1)
    est = fitted(y[:400], X[:400])
    report = est.diagnose(X[400:], y[400:])
    assert not report.memorisation.found
    assert not report.modes.missing
    assert report.calibration.p_value > 1e-3


@pytest.mark.parametrize("n_values", [1, 2, 3, 7, 8, 100])
def test_the_exported_search_finds_the_same_values(n_values):
    exported = pytest.importorskip("sklsdm.onnx.graph")._Repeated
    counts = np.repeat(np.arange(1.0, n_values + 1), 2000 // n_values)
    if n_values == 1:
        counts = np.concatenate([counts, FREE])
    found = only(counts)
    places = torch.linspace(-2, 2 * n_values, 5001, dtype=torch.float64)
    edges = torch.tensor([*found.lower, *found.upper, *found.places])
    places = torch.cat([places, edges[edges.isfinite()]])
    assert_array_equal(exported(found, torch.float64)(places), found.restore(places))
    drawn = np.random.default_rng(0).normal(1, 1, 2000)
    moved = found.with_borders(drawn, np.repeat(found.values, 10))
    assert_array_equal(exported(moved, torch.float64)(places), moved.restore(places))


def test_a_fit_of_few_values_gives_no_warning_of_torch():
    y = np.c_[np.arange(60) % 3, np.arange(60) % 5].astype(float)
    est = plain_regressor(matcher="energy", random_state=0).set_params(matcher__max_steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", sklsdm.NotImprovedWarning)
        est.fit(np.arange(60.0)[:, None], y)
