"""Metrics against closed forms, other libraries, and properties that hold for every input."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import gamma
from sklearn.metrics import mean_pinball_loss
from sklearn.metrics.pairwise import rbf_kernel

from sklsdm import blocks, metrics
from sklsdm.functional import scores

few = settings(max_examples=40, deadline=None)
numbers = st.floats(-100, 100, allow_subnormal=False)


@st.composite
def two_samples(draw, min_rows=1):
    q = draw(st.integers(1, 3))
    sizes = st.integers(min_rows, 6)
    return tuple(draw(arrays(float, (draw(sizes), q), elements=numbers)) for _ in range(2))


@st.composite
def forecasts(draw, min_outputs=1):
    n, m, q = draw(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(min_outputs, 3)))
    return (
        draw(arrays(float, (n, q), elements=numbers)),
        draw(arrays(float, (n, m, q), elements=numbers)),
    )


def as_forecast(law, observed):
    """The law's atoms as the draws of every observed row."""
    return observed, np.repeat(law[None], len(observed), axis=0)


def folded_normal_mean(mean, sd):
    """E|Z| for Z ~ N(mean, sd²)."""
    z = mean / sd
    return sd * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) + mean * (2 * stats.norm.cdf(z) - 1)


# ------------------------------------------------------------------ closed forms
@pytest.mark.parametrize("q", [2, 5])
def test_energy_score_of_standard_gaussian_at_its_centre(q):
    draws = np.random.default_rng(0).normal(size=(200, 300, q))
    mean_norm = np.sqrt(2) * gamma((q + 1) / 2) / gamma(q / 2)
    expected = mean_norm * (1 - 1 / np.sqrt(2))  # ‖D − D'‖ is √2 ‖D‖ in law
    assert metrics.energy_score(np.zeros((200, q)), draws) == pytest.approx(expected, abs=0.005)


def test_crps_of_gaussian_forecasts():
    rng = np.random.default_rng(0)
    y = np.linspace(-2, 3, 6)
    draws = 1 + 2 * rng.normal(size=(6, 50_000))
    z = (y - 1) / 2
    expected = 2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(metrics.crps(y, draws, average=False), expected, atol=0.03)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_energy_distance_of_shifted_gaussians(shift):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=3000), shift + rng.normal(size=2000)
    expected = 2 * folded_normal_mean(shift, np.sqrt(2)) - 4 / np.sqrt(np.pi)
    # 5 standard errors of the linear part: 4 times a mean of bounded slope 1
    assert metrics.energy_distance(a, b) == pytest.approx(expected, abs=0.01 + 0.1 * shift)


@pytest.mark.parametrize("q", [1, 3])
def test_mmd_of_gaussians(q):
    rng = np.random.default_rng(2)
    h, shift = 1.5, 1.0
    found = [
        metrics.mmd(rng.normal(size=(500, q)), shift + 0.5 * rng.normal(size=(400, q)), bandwidth=h)
        for _ in range(30)
    ]

    def kernel_mean(variance, distance_squared):
        total = h**2 + variance
        return (h**2 / total) ** (q / 2) * np.exp(-distance_squared / (2 * total))

    expected = kernel_mean(2, 0) + kernel_mean(0.5, 0) - 2 * kernel_mean(1.25, q * shift**2)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(30))
    assert np.std(found) < 0.03


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("q", [1, 2, 6])
def test_sliced_wasserstein_of_a_shift(p, q):
    a = np.random.default_rng(3).normal(size=(40, q))
    shift = np.linspace(1, 2, q)
    length = np.linalg.norm(shift)  # every projection moves by θ·shift
    expected = length * gamma(q / 2) / (np.sqrt(np.pi) * gamma((q + 1) / 2))
    expected = length / np.sqrt(q) if p == 2 else expected
    found = metrics.sliced_wasserstein(a, a + shift, n_projections=20_000, p=p, random_state=0)
    assert found == pytest.approx(expected, rel=0.02 if q > 1 else 1e-12)


def test_variogram_score_sees_wrong_dependence():
    rng = np.random.default_rng(4)
    cholesky = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]])
    y = rng.normal(size=(2000, 2)) @ cholesky.T
    independent = rng.normal(size=(2000, 100, 2))
    right = metrics.variogram_score(y, independent @ cholesky.T)
    assert right < 0.7 * metrics.variogram_score(y, independent)


def test_energy_skill_of_the_truth_and_of_ignorance():
    rng = np.random.default_rng(5)
    x, s = rng.normal(size=(4000, 1)), 0.5
    y = x + s * rng.normal(size=(4000, 1))
    reference = np.sqrt(1 + s**2) * rng.normal(size=(2000, 1))
    truth = x[:, None] + s * rng.normal(size=(4000, 50, 1))
    marginal = np.sqrt(1 + s**2) * rng.normal(size=(4000, 50, 1))
    # CRPS of N(μ, σ²) at its own draws is σ/√π in the mean
    expected = 1 - s / np.sqrt(1 + s**2)
    assert metrics.energy_skill(y, truth, reference) == pytest.approx(expected, abs=0.02)
    assert metrics.energy_skill(y, marginal, reference) == pytest.approx(0, abs=0.02)


# ------------------------------------------------------------------ other implementations
@pytest.mark.parametrize(("fair", "estimator"), [(True, "fair"), (False, "nrg")])
def test_scores_equal_scoringrules(fair, estimator):
    sr = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(7, 3)), rng.normal(size=(7, 12, 3))
    ours = metrics.energy_score(y, draws, fair=fair, average=False)
    np.testing.assert_allclose(ours, sr.es_ensemble(y, draws, estimator=estimator))
    theirs = sr.crps_ensemble(y, draws, m_axis=1, estimator=estimator).mean(axis=1)
    np.testing.assert_allclose(metrics.crps(y, draws, fair=fair, average=False), theirs)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_variogram_score_equals_scoringrules(p):
    sr = pytest.importorskip("scoringrules")
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(7, 4)), rng.normal(size=(7, 12, 4))
    ours = metrics.variogram_score(y, draws, p=p, average=False)
    np.testing.assert_allclose(ours, sr.vs_ensemble(y, draws, p=p))


@few
@given(two_samples())
def test_one_dimensional_distances_equal_scipy(samples):
    a, b = (sample[:, 0] for sample in samples)
    ours = metrics.sliced_wasserstein(a, b)
    assert ours == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-9)
    ours = metrics.energy_distance(a, b, fair=False)
    assert ours == pytest.approx(stats.energy_distance(a, b) ** 2, abs=1e-9)


def test_second_order_wasserstein_of_unequal_sizes_equals_pot():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=12), rng.exponential(size=18)
    expected = np.sqrt(ot.wasserstein_1d(a, b, p=2))
    assert metrics.sliced_wasserstein(a, b, p=2) == pytest.approx(expected)


def test_mmd_equals_kernel_matrices():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, 2)), rng.normal(size=(6, 2))

    def kernel(u, v):
        return np.mean([rbf_kernel(u, v, gamma=1 / (2 * h**2)) for h in (0.5, 2.0)], axis=0)

    across = kernel(a, b).mean()
    biased = kernel(a, a).mean() + kernel(b, b).mean() - 2 * across
    found = metrics.mmd(a, b, bandwidth=[0.5, 2.0], unbiased=False)
    assert found == pytest.approx(biased)
    off_a, off_b = kernel(a, a)[~np.eye(9, dtype=bool)], kernel(b, b)[~np.eye(6, dtype=bool)]
    unbiased = off_a.mean() + off_b.mean() - 2 * across
    assert metrics.mmd(a, b, bandwidth=[0.5, 2.0]) == pytest.approx(unbiased)


def test_median_bandwidth_is_the_median_distance():
    a, b = np.array([0.0, 1.0]), np.array([3.0])  # distances 1, 2, 3
    expected = metrics.mmd(a, b, bandwidth=2.0, unbiased=False)
    assert metrics.mmd(a, b, unbiased=False) == expected
    assert metrics.mmd([1.0, 1.0], [1.0, 1.0]) == 0.0  # no distance at all


def test_quantile_loss_equals_scikit_learn():
    rng = np.random.default_rng(0)
    y, forecast, weight = rng.normal(size=(20, 3)), rng.normal(size=(20, 2, 3)), rng.random(20)
    levels = [0.1, 0.7]
    expected = [
        mean_pinball_loss(y, forecast[:, k], alpha=level, sample_weight=weight)
        for k, level in enumerate(levels)
    ]
    found = metrics.quantile_loss(y, forecast, levels, sample_weight=weight)
    assert found == pytest.approx(np.mean(expected))


def test_energy_skill_equals_reference_as_draws_of_every_row():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(9, 2, 3)), rng.normal(size=(9, 5, 2, 3))
    reference, weight = rng.normal(size=(30, 2, 3)), rng.random(9)
    scale = rng.uniform(1, 2, size=(2, 3))
    model = metrics.energy_score(y / scale, draws / scale, sample_weight=weight)
    everywhere = np.repeat(reference[None], 9, axis=0)
    marginal = metrics.energy_score(y / scale, everywhere / scale, sample_weight=weight)
    found = metrics.energy_skill(y, draws, reference, scale=scale, sample_weight=weight)
    assert found == pytest.approx(1 - model / marginal)


@pytest.mark.parametrize(("error", "skill"), [(0.0, 1.0), (0.5, 0.0)])
@pytest.mark.parametrize("q", [1, 2, 100])
def test_energy_skill_of_a_constant_response(q, error, skill):
    constant = np.linspace(0.1, 7e4, q)  # a mean of such numbers rounds
    y, draws, reference = (np.broadcast_to(constant, (*n, q)) for n in [(4,), (4, 3), (7,)])
    assert metrics.energy_skill(y, draws + error, reference) == skill


def test_skill_of_scores_that_differ_by_rounding_only():
    assert metrics.skill([1e-14, 0.0], [1e-15, 0.0]) == 1.0
    assert metrics.skill([0.1, 0.0], [1e-15, 0.0]) == 0.0
    assert metrics.skill([1.0, 3.0], [2.0, 4.0], sample_weight=[3, 1]) == pytest.approx(
        1 - 1.5 / 2.5
    )


def test_interval_coverage_and_width_count_outputs():
    y = np.array([[0.0, 1.0], [2.0, 3.0]])
    interval = np.array([[[0.0, 0.0], [1.0, 0.5]], [[1.0, 4.0], [2.0, 5.0]]])
    assert metrics.interval_coverage(y, interval) == 0.5  # both ends of the first output count
    assert metrics.interval_width(interval) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


# ------------------------------------------------------------------ properties
@few
@given(two_samples())
def test_scores_are_proper(samples):
    """No forecast scores better in the mean under a law than the law itself."""
    law, wrong = samples
    for score in (metrics.energy_score, metrics.crps):
        own = score(*as_forecast(law, law), fair=False)
        assert own <= score(*as_forecast(wrong, law), fair=False) + 1e-9
    own = metrics.energy_score(*as_forecast(law, law), fair=False)
    excess = metrics.energy_score(*as_forecast(wrong, law), fair=False) - own
    distance = metrics.energy_distance(wrong, law, fair=False)
    assert 2 * excess == pytest.approx(distance, abs=1e-8)


@few
@given(two_samples())
def test_variogram_score_is_proper(samples):
    law, wrong = (np.hstack([sample, sample[:, :1] ** 2]) for sample in samples)
    own = metrics.variogram_score(*as_forecast(law, law))
    assert own <= metrics.variogram_score(*as_forecast(wrong, law)) * (1 + 1e-9) + 1e-9


@few
@given(arrays(float, (3, 2), elements=numbers), arrays(float, (1, 2), elements=numbers))
def test_fair_scores_are_unbiased(atoms, y):
    """The mean over all equally likely sets of draws is the score of the law itself."""
    draws = np.array(list(itertools.product(atoms, repeat=3)))  # (27, 3, 2)
    observed = np.repeat(y, len(draws), axis=0)
    for score in (metrics.energy_score, metrics.crps):
        exact = score(y, atoms[None], fair=False)
        assert score(observed, draws) == pytest.approx(exact, abs=1e-8)


def test_fair_distances_are_unbiased():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 2))
    pairs_a, pairs_b = (list(itertools.product(atoms, repeat=2)) for atoms in (a, b))
    both = list(itertools.product(pairs_a, pairs_b))
    mean = np.mean([metrics.energy_distance(u, v) for u, v in both])
    assert mean == pytest.approx(metrics.energy_distance(a, b, fair=False))
    mean = np.mean([metrics.mmd(u, v, bandwidth=1.0) for u, v in both])
    assert mean == pytest.approx(metrics.mmd(a, b, bandwidth=1.0, unbiased=False))


@few
@given(forecasts(min_outputs=2), st.floats(-1e3, 1e3), st.randoms(use_true_random=False))
def test_scores_see_neither_shift_nor_order_of_draws(forecast, shift, random):
    y, draws = forecast
    order = list(range(draws.shape[1]))
    random.shuffle(order)
    for score in (metrics.energy_score, metrics.crps, metrics.variogram_score):
        before = score(y, draws, average=False)
        after = score(y + shift, draws[:, order] + shift, average=False)
        # .5 powers turn rounding of 1e-13 at nearly equal outputs into 3e-7
        tolerance = 1e-3 if score is metrics.variogram_score else 1e-8
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=tolerance)


@few
@given(two_samples(), st.floats(0.1, 10), st.floats(-1e3, 1e3))
def test_distances_are_symmetric_and_scale_with_the_data(samples, factor, shift):
    a, b = samples
    for distance in (
        lambda u, v: metrics.energy_distance(u, v, fair=False),
        lambda u, v: metrics.sliced_wasserstein(u, v, n_projections=5, random_state=0),
    ):
        value = distance(a, b)
        assert value >= -1e-9
        assert distance(a, a) == pytest.approx(0, abs=1e-9)
        assert distance(b, a) == pytest.approx(value, abs=1e-8)
        moved = distance(factor * a + shift, factor * b + shift)
        assert moved == pytest.approx(factor * value, rel=1e-6, abs=1e-8)


@few
@given(two_samples(min_rows=2))
def test_mmd_is_bounded_and_symmetric(samples):
    a, b = samples
    value = metrics.mmd(a, b, bandwidth=1.0, unbiased=False)
    assert -1e-12 <= value <= 2
    assert metrics.mmd(b, a, bandwidth=1.0, unbiased=False) == pytest.approx(value, abs=1e-12)
    assert metrics.mmd(a, a, bandwidth=1.0, unbiased=False) == pytest.approx(0, abs=1e-12)


# ------------------------------------------------------------------ the tensor functions
@pytest.mark.parametrize("q", [1, 2, 100])
def test_blocks_do_not_change_values(q, monkeypatch):
    rng = np.random.default_rng(0)
    y, draws, reference = (
        rng.normal(size=(5, q)),
        rng.normal(size=(5, 7, q)),
        rng.normal(size=(9, q)),
    )
    evaluate = [
        lambda: metrics.energy_score(y, draws),
        lambda: metrics.energy_skill(y, draws, reference),
        lambda: metrics.energy_distance(y, reference),
        lambda: metrics.mmd(y, reference),
        lambda: metrics.sliced_wasserstein(y, reference, random_state=0),
    ]
    if q > 1:
        evaluate.append(lambda: metrics.variogram_score(y, draws))
    whole = [compute() for compute in evaluate]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 80)
    # wide data go through matrix products, which lose half the digits of distances near zero
    tolerance = {"rtol": 1e-12} if q < 100 else {"rtol": 1e-7, "atol": 1e-7}
    np.testing.assert_allclose([compute() for compute in evaluate], whole, **tolerance)


def test_distance_matrices_are_bounded(monkeypatch):
    sizes = []
    original = scores._cdist

    def recorded(a, b):
        result = original(a, b)
        sizes.append(result.numel())
        return result

    monkeypatch.setattr(scores, "_cdist", recorded)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8000)
    rng = np.random.default_rng(0)
    y, draws, reference = (rng.normal(size=(*shape, 2)) for shape in [(60,), (60, 50), (200,)])
    metrics.energy_skill(y, draws, reference)
    metrics.energy_distance(y, reference)
    metrics.mmd(y, reference)
    assert max(sizes) <= 1000
    assert sum(sizes) > 60 * 50 * 50  # all pairs went through there


@pytest.mark.parametrize("fair", [True, False])
def test_kernel_score_is_its_formula(fair):
    random = np.random.default_rng(0)
    draws, target = random.normal(size=(4, 5, 3)), random.normal(size=(4, 3))
    bandwidths = (0.5, 2.0)

    def kernel(a, b):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * h**2)) for h in bandwidths])

    found = scores.kernel_score(
        torch.from_numpy(draws), torch.from_numpy(target), torch.tensor(bandwidths), fair=fair
    )
    for row in range(4):
        pairs = [(j, k) for j in range(5) for k in range(5) if j != k or not fair]
        within = np.mean([kernel(draws[row, j], draws[row, k]) for j, k in pairs]) / 2
        across = np.mean([kernel(draw, target[row]) for draw in draws[row]])
        assert found[row].item() == pytest.approx(within - across)


def test_kernel_score_tells_modes_from_a_ring_more_surely_than_the_energy_score():
    """By how many standard deviations of a pair's score the truth has the better one."""
    random = np.random.default_rng(0)
    places = 2 * np.pi * random.integers(8, size=(2, 400, 40)) / 8
    ring = random.uniform(0, 2 * np.pi, size=(400, 40))
    modes, target = (
        np.stack([np.cos(a), np.sin(a)], axis=-1) for a in (places[0], places[1, :, 0])
    )
    blurred = np.stack([np.cos(ring), np.sin(ring)], axis=-1)
    gains = {}
    for name in ("energy", "kernel"):
        given = [torch.from_numpy(each) for each in (modes, blurred, target)]
        widths = () if name == "energy" else (torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6]),)
        score = getattr(scores, f"{name}_score")
        true, wrong = (score(draws, given[2], *widths) for draws in given[:2])
        gains[name] = ((wrong - true).mean() / (wrong - true).std()).item()
    assert gains["kernel"] > 1.5 * gains["energy"]


@pytest.mark.parametrize("q", [1, 3])
def test_multiscale_score_is_the_sum_of_both(q):
    random = np.random.default_rng(0)
    draws, target = random.normal(size=(4, 6, q)), random.normal(size=(4, q))
    found = scores.multiscale_score(torch.from_numpy(draws), torch.from_numpy(target))

    def unlike(a, b):
        """Distance over √q, less the mean of the five kernels."""
        squared = np.square(a - b).mean()  # over the outputs: ‖a − b‖² / q
        widths = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
        return np.sqrt(squared) - np.exp(-squared / np.square(widths)).mean()

    for row in range(4):
        across = np.mean([unlike(draw, target[row]) for draw in draws[row]])
        pairs = [(j, k) for j in range(6) for k in range(6) if j != k]
        within = np.mean([unlike(draws[row, j], draws[row, k]) for j, k in pairs])
        assert found[row].item() == pytest.approx(across - within / 2)


@pytest.mark.slow
def test_multiscale_score_is_lowest_for_the_true_law():
    """Two narrow modes at ±1; the others have the same mean, and all but one the same spread."""
    random = np.random.default_rng(0)
    side = random.choice([-1.0, 1.0], size=(2000, 65))
    true = side + 0.1 * random.normal(size=side.shape)
    target, true = true[:, :1], true[:, 1:]
    gauss = np.sqrt(1.01) * random.normal(size=true.shape)
    others = {
        "one Gaussian": gauss,
        "wider modes": np.sqrt(0.91) * side[:, 1:] + np.sqrt(0.1) * random.normal(size=true.shape),
        "one mode": np.abs(true),
        "narrower": 0.7 * true,
    }

    def score(draws):
        return scores.multiscale_score(
            torch.from_numpy(draws[:, :, None]), torch.from_numpy(target)
        ).numpy()

    best = score(true)
    for name, draws in others.items():
        excess = score(draws) - best
        assert excess.mean() > 3 * excess.std() / np.sqrt(len(excess)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_at_coinciding_points_are_finite(dtype):
    draws = torch.zeros(3, 4, 2, dtype=dtype, requires_grad=True)
    scores.energy_score(draws, torch.zeros(3, 2, dtype=dtype)).sum().backward()
    assert torch.equal(draws.grad, torch.zeros_like(draws))
    a = torch.zeros(4, 2, dtype=dtype, requires_grad=True)
    scores.energy_distance(a, torch.zeros(5, 2, dtype=dtype)).backward()
    assert torch.equal(a.grad, torch.zeros_like(a))


@pytest.mark.parametrize("q", [1, 3, 70])  # sorting, exact distances, matrix products
@pytest.mark.parametrize("block", [1 << 22, 4])
def test_gradients_are_those_of_the_formulas(q, block, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * block)
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    def mean_distance(u, v, n_pairs):
        """Written out, with a root that is smooth at 0."""
        squared = (u.unsqueeze(-2) - v.unsqueeze(-3)).square().sum(dim=-1)
        return (squared + 1e-30).sqrt().sum(dim=(-2, -1)) / n_pairs

    draws, target, a, b = random(2, 3, q), random(2, q), random(4, q), random(3, q)
    direct = mean_distance(draws, target[:, None], 3) - mean_distance(draws, draws, 6) / 2
    distance = 2 * mean_distance(a, b, 12) - mean_distance(a, a, 12) - mean_distance(b, b, 6)
    inputs = (draws, target, a, b)
    expected = torch.autograd.grad(direct.sum() + distance, inputs)
    ours = scores.energy_score(draws, target).sum() + scores.energy_distance(a, b)
    for found, wanted in zip(torch.autograd.grad(ours, inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_wide_data_far_from_the_origin_keep_their_digits():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(4, 200)), rng.normal(size=(4, 6, 200))
    near = metrics.energy_score(y, draws)
    assert metrics.energy_score(y + 1e6, draws + 1e6) == pytest.approx(near, rel=1e-8)


def test_functional_scores_refuse_what_would_divide_by_zero():
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        scores.energy_score(torch.zeros(1, 1, 2), torch.zeros(1, 2))


# ------------------------------------------------------------------ the front doors
@pytest.mark.parametrize("y_shape", [(), (1,), (3,), (2, 3), (1, 2, 2)])
def test_every_response_shape_gives_the_flattened_result(y_shape):
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(6, *y_shape)), rng.normal(size=(6, 4, *y_shape))
    reference = rng.normal(size=(8, *y_shape))
    flat, flat_draws, flat_ref = y.reshape(6, -1), draws.reshape(6, 4, -1), reference.reshape(8, -1)
    assert metrics.crps(y, draws) == metrics.crps(flat, flat_draws)
    assert metrics.energy_score(y, draws) == metrics.energy_score(flat, flat_draws)
    expected = metrics.energy_skill(flat, flat_draws, flat_ref)
    assert metrics.energy_skill(y, draws, reference) == expected
    assert metrics.energy_distance(y, reference) == metrics.energy_distance(flat, flat_ref)
    ends = np.sort(draws[:, :2], axis=1)
    expected = metrics.interval_coverage(flat, ends.reshape(6, 2, -1))
    assert metrics.interval_coverage(y, ends) == expected
    expected = metrics.quantile_loss(flat, flat_draws, [0.1, 0.2, 0.5, 0.9])
    assert metrics.quantile_loss(y, draws, [0.1, 0.2, 0.5, 0.9]) == expected


def test_average_weights_rows():
    y, draws = np.array([0.0, 0.0]), np.array([[1.0, 1.0], [3.0, 3.0]])
    np.testing.assert_array_equal(metrics.crps(y, draws, average=False), [1.0, 3.0])
    assert metrics.crps(y, draws, sample_weight=[3, 1]) == 1.5
    assert isinstance(metrics.crps(y, draws), float)


def test_projections_follow_random_state():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(10, 3)), 1 + rng.normal(size=(12, 3))

    def distance(random_state):
        return metrics.sliced_wasserstein(a, b, n_projections=4, random_state=random_state)

    assert distance(0) == distance(0) == distance(np.random.default_rng(0)) != distance(1)
    assert distance(np.random.RandomState(7)) == distance(np.random.RandomState(7))
    assert distance(None) != distance(None)


def test_global_state_and_arguments_stay_untouched():
    rng = np.random.default_rng(0)
    y, draws = rng.normal(size=(5, 3)), rng.normal(size=(5, 4, 3)).astype(np.float32)
    y.flags.writeable = draws.flags.writeable = False
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    metrics.energy_skill(y, draws, y)
    metrics.sliced_wasserstein(y, y + 1)
    metrics.mmd(y, y + 1)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


def test_float32_draws_are_scored_in_float64():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(5, 3)).astype(np.float32)
    draws = rng.normal(size=(5, 4, 3)).astype(np.float32)
    wide = metrics.energy_score(y.astype(float), draws.astype(float))
    assert metrics.energy_score(y, draws) == wide


Y, DRAWS = np.zeros((4, 2)), np.zeros((4, 3, 2))


def with_nan(array):
    array = array.copy()
    array[2] = np.nan
    return array


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.energy_score(Y, DRAWS[:3]), r"draws.*\(4, m, 2\).*got \(3, 3, 2\)"),
        (lambda: metrics.energy_score(Y, Y), r"draws must have shape \(4, m, 2\).*got \(4, 2\)"),
        (lambda: metrics.crps(Y[:, 0], DRAWS), r"draws.*\(4, m\).*got \(4, 3, 2\)"),
        (lambda: metrics.energy_score(Y, DRAWS[:, :1]), r"draws.*m >= 2.*fair.*m = 1"),
        (lambda: metrics.crps(Y, with_nan(DRAWS)), r"draws contains 6 NaN, first in row 2"),
        (lambda: metrics.crps(with_nan(Y), DRAWS), r"y_true contains 2 NaN, first in row 2"),
        (lambda: metrics.crps(Y + np.inf, DRAWS), r"y_true contains 8 inf"),
        (lambda: metrics.crps(Y + 1j, DRAWS), r"[Cc]omplex"),
        (lambda: metrics.crps(np.zeros((0, 2)), DRAWS), r"y_true|0 sample"),
        (lambda: metrics.crps(Y, DRAWS, sample_weight=[1, 2]), r"sample_weight.*\(4,\).*\(2,\)"),
        (lambda: metrics.crps(Y, DRAWS, sample_weight=[1, 1, 1, -1]), r"sample_weight.*negative"),
        (lambda: metrics.crps(Y, DRAWS, sample_weight=[0] * 4), r"sample_weight.*zero"),
        (
            lambda: metrics.crps(Y, DRAWS, sample_weight=[1] * 4, average=False),
            r"sample_weight.*average=False",
        ),
        (lambda: metrics.energy_skill(Y, DRAWS, Y[:1]), r"reference.*\(r, 2\).*got \(1, 2\)"),
        (lambda: metrics.energy_skill(Y, DRAWS, Y[:, :1]), r"reference.*\(r, 2\).*got \(4, 1\)"),
        (lambda: metrics.energy_skill(Y, DRAWS, Y, scale=[1, 0]), r"scale must be above 0.*0\.0"),
        (lambda: metrics.energy_skill(Y, DRAWS, Y, scale=[1, 1, 1]), r"scale.*\(2,\).*\(3,\)"),
        (lambda: metrics.variogram_score(Y[:, :1], DRAWS[..., :1]), r"y_true.*2 outputs"),
        (lambda: metrics.variogram_score(Y, DRAWS, p=0), r"p must be above 0"),
        (lambda: metrics.quantile_loss(Y, DRAWS, [0.1, 0.9]), r"y_quantiles.*\(4, k = 2, 2\)"),
        (lambda: metrics.quantile_loss(Y, DRAWS, [0.1, 0.5, 1.0]), r"quantiles.*\(0, 1\)"),
        (lambda: metrics.interval_coverage(Y, DRAWS), r"interval.*\(n, 2.*got \(4, 3, 2\)"),
        (lambda: metrics.interval_width(Y[:, 0]), r"interval.*\(n, 2"),
        (lambda: metrics.interval_width([[0, 1], [1, 0]]), r"interval.*1 are crossed.*row 1"),
        (lambda: metrics.energy_distance(Y, DRAWS), r"a and b.*\(4, 2\) and \(4, 3, 2\)"),
        (lambda: metrics.energy_distance(Y[:1], Y), r"a needs at least 2 rows"),
        (lambda: metrics.mmd(Y, Y[:1]), r"b needs at least 2 rows"),
        (lambda: metrics.mmd(Y, Y, bandwidth="mean"), r"bandwidth.*'mean'"),
        (lambda: metrics.mmd(Y, Y, bandwidth=[1, 0]), r"bandwidth.*above 0"),
        (lambda: metrics.sliced_wasserstein(Y, Y, p=0.5), r"p must be at least 1"),
        (lambda: metrics.sliced_wasserstein(Y, Y, n_projections=0), r"n_projections.*at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: metrics.energy_score(Y, DRAWS, fair="no"), "fair"),
        (lambda: metrics.energy_distance(Y, Y, fair=0), "fair"),
        (lambda: metrics.mmd(Y, Y, unbiased="no"), "unbiased"),
        (lambda: metrics.crps(Y, DRAWS, average="rows"), "average"),
        (lambda: metrics.neighbour_coverage(Y, Y, n_neighbors=1, average="rows"), "average"),
    ],
)
def test_flags_are_true_or_false(call, name):
    with pytest.raises(TypeError, match=f"{name} must be True or False"):
        call()
