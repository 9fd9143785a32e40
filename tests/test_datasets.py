"""Problems against their formulas and by Monte Carlo; loaders against files made here."""

import dataclasses
import pickle

import numpy as np
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from sklsdm import blocks, datasets, metrics
from sklsdm.datasets import Problem, make_gcds

GCDS = {
    f"gcds_{task}": (lambda *args, task=task, **kw: make_gcds(task, *args, **kw))
    for task in ("T1", "T2", "T3", "T4")
}
MAKERS = GCDS | {
    "arms": datasets.make_arms,
    "two_moons": datasets.make_two_moons,
    "helix": datasets.make_helix,
    "pinwheel": datasets.make_pinwheel,
    "checkerboard": datasets.make_checkerboard,
    "rings": datasets.make_rings,
    "skewed": datasets.make_skewed,
    "asymmetric_mixture": datasets.make_asymmetric_mixture,
    "eight_gaussians": datasets.make_eight_gaussians,
}


# ------------------------------------------------------------------ what all problems promise
@pytest.mark.parametrize("name", MAKERS)
def test_problems_repeat_and_vary(name):
    problem, again, other = (MAKERS[name](50, random_state=seed) for seed in (3, 3, 4))
    assert isinstance(problem, Problem)
    assert problem.name == name
    np.testing.assert_array_equal(problem.y, again.y)
    assert (problem.y != other.y).any()
    generator = MAKERS[name](50, random_state=np.random.default_rng(3))
    np.testing.assert_array_equal(problem.y, generator.y)
    assert problem.y.dtype == np.float64


@pytest.mark.parametrize("name", MAKERS)
def test_draws_have_the_promised_shape(name):
    problem = MAKERS[name](20, random_state=0)
    draws = problem.sample(problem.X[:4], n_samples=3, random_state=1)
    assert draws.shape == (4, 3, *problem.y.shape[1:])
    assert problem.sample(problem.X.tolist()).shape == (20, 1, *problem.y.shape[1:])
    np.testing.assert_array_equal(draws, problem.sample(problem.X[:4], 3, random_state=1))
    assert (draws[:, 0] != draws[:, 1]).all()  # noise is drawn anew for every draw


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("factor", [1.0, 0.4])
def test_moments_are_those_of_the_draws(name, factor):
    usual = {"helix": 0.4, "gcds_T4": 0.25, "pinwheel": 0.03, "checkerboard": 0.02}
    usual |= dict.fromkeys(["arms", "two_moons", "rings", "eight_gaussians"], 0.1)
    problem = MAKERS[name](4, noise=factor * usual.get(name, 1.0), random_state=0)
    n_draws = 100_000
    draws = problem.sample(problem.X, n_draws, random_state=1)
    mean, std = problem.mean(problem.X), problem.std(problem.X)
    assert mean.shape == std.shape == problem.y.shape
    error = (draws.mean(axis=1) - mean) / (std / np.sqrt(n_draws))
    assert np.abs(error).max() < 4.5
    kurtosis = (((draws - mean[:, None]) / std[:, None]) ** 4).mean(axis=1).max()
    tolerance = 5 * np.sqrt((kurtosis - 1) / (4 * n_draws))  # 5 standard errors of the spread
    np.testing.assert_allclose(draws.std(axis=1), std, rtol=tolerance)


@pytest.mark.parametrize("name", MAKERS)
def test_training_pairs_follow_the_law_that_is_sampled(name):
    problem = MAKERS[name](1500, random_state=0)
    draws = problem.sample(problem.X, random_state=1)[:, 0]
    pairs, drawn = (
        np.column_stack([problem.X[:, :2], values]) / problem.std(problem.X).mean()
        for values in (problem.y, draws)
    )
    floor = metrics.energy_distance(pairs[:750], pairs[750:])
    assert abs(metrics.energy_distance(pairs, drawn)) < 0.02 + abs(floor)


def test_drawing_in_blocks_covers_every_row(monkeypatch):
    problem = datasets.make_rings(7, noise=0.0, random_state=0)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 6)  # 2 rows a block
    radius = np.linalg.norm(problem.sample(problem.X, n_samples=3, random_state=0), axis=-1)
    np.testing.assert_allclose(radius, np.repeat(problem.X, 3, axis=1))


@pytest.mark.parametrize("name", MAKERS)
def test_problems_pickle_and_are_frozen(name):
    problem = MAKERS[name](10, random_state=0)
    copy = pickle.loads(pickle.dumps(problem))
    np.testing.assert_array_equal(
        copy.sample(problem.X, 2, random_state=0), problem.sample(problem.X, 2, random_state=0)
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.y = None


# ------------------------------------------------------------------ each formula
def test_gcds_formulas_at_one_point():
    x = np.array([[1.0, 0.3, 0.6, 0.5, 2.0]])

    def moments(task, X):
        problem = make_gcds(task, 2, random_state=0)
        return problem.mean(X)[0], problem.std(X)[0]

    assert moments("T1", x) == pytest.approx((1 + np.exp(0.3) + np.sin(1.0), 1))
    assert moments("T2", x) == pytest.approx((1 + np.exp(0.5) + 0.5 - 2, 0.5 + 0.045 + 2))
    assert moments("T4", x) == pytest.approx((0, np.sqrt(1.0625)))
    # E exp(e/2) and E exp(e) by Gauss-Hermite quadrature
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    first, second = (
        (weight * (np.exp(t * (node + 2)) + np.exp(t * (node - 2))) / 2).sum() for t in (0.5, 1.0)
    )
    factor = 5 + 1 / 3 + 0.15 + 0.3 + 0.5 + 2
    wide = np.hstack([x, np.full((1, 25), 9.0)])
    expected = factor * first, factor * np.sqrt(second - first**2)
    assert moments("T3", wide) == pytest.approx(expected)


def test_gcds_dimensions_and_signs():
    assert [make_gcds(task, 2).X.shape[1] for task in ("T1", "T2", "T3", "T4")] == [5, 5, 30, 5]
    problem = make_gcds("T4", 500, noise=0.0, random_state=0)
    sign = problem.y / problem.X[:, 0]
    assert set(np.round(sign, 12)) == {-1.0, 1.0}
    assert abs(sign.mean()) < 0.2


def test_arms_are_drawn_as_the_comparison_table_has_them():
    rng = np.random.default_rng(1007)
    x = rng.uniform(-1, 1, size=(30, 2))
    angle = np.pi * x[:, 0] / 2 + 2 * np.pi * rng.integers(3, size=30) / 3
    centre = (1 + x[:, 1] / 2)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    problem = datasets.make_arms(30, random_state=1007)
    np.testing.assert_array_equal(problem.X, x)
    np.testing.assert_allclose(problem.y, centre + 0.1 * rng.normal(size=(30, 2)))


def test_arms_energy_scores_are_the_published_ones():
    problem = datasets.make_arms(5000, random_state=1000)
    oracle = metrics.energy_score(problem.y, problem.sample(problem.X, 100, random_state=0))
    assert oracle == pytest.approx(0.6104, abs=0.01)
    other = datasets.make_arms(2000, random_state=1).y
    skill = metrics.energy_skill(problem.y, problem.sample(problem.X, 100, random_state=0), other)
    assert skill == pytest.approx(1 - 0.6104 / 0.6706, abs=0.01)


def test_arms_have_three_arms_a_third_of_a_turn_apart():
    problem = datasets.make_arms(300, noise=0.0, random_state=0)
    plane = problem.y[:, 0] + 1j * problem.y[:, 1]
    np.testing.assert_allclose(np.abs(plane), 1 + problem.X[:, 1] / 2)
    np.testing.assert_allclose(
        (plane / np.abs(plane)) ** 3, np.exp(1.5j * np.pi * problem.X[:, 0]), atol=1e-12
    )
    turn = np.angle(plane * np.exp(-0.5j * np.pi * problem.X[:, 0])) / (2 * np.pi / 3)
    counts = np.bincount(np.round(turn).astype(int) % 3, minlength=3)
    assert (counts > 60).all()


def test_two_moons_given_the_class():
    problem = datasets.make_two_moons(400, noise=0.0, random_state=0)
    second = problem.X[:, 0] == 1
    assert 100 < second.sum() < 300
    for points in (problem.y[~second], [1, 0.5] - problem.y[second]):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
        assert (points[:, 1] >= -1e-12).all()
        assert (points[:, 0] < -0.9).any()
        assert (points[:, 0] > 0.9).any()


def test_helix_winds_around_a_moving_centre():
    problem = datasets.make_helix(300, noise=0.0, random_state=0)
    spiral = problem.y - 2 * problem.X
    u = np.linalg.norm(spiral, axis=1)
    assert 6 < u.max() <= 2 * np.pi
    assert 0 <= u.min() < 0.3
    np.testing.assert_allclose(spiral, np.column_stack([u * np.sin(2 * u), u * np.cos(2 * u)]))


def test_helix_moments_by_quadrature():
    problem = datasets.make_helix(3, random_state=0)
    u = (np.arange(100_000) + 0.5) * 2 * np.pi / 100_000
    spiral = np.column_stack([u * np.sin(2 * u), u * np.cos(2 * u)])
    np.testing.assert_allclose(problem.mean(problem.X), 2 * problem.X + spiral.mean(axis=0))
    expected = np.sqrt(spiral.var(axis=0) + 0.4**2)
    np.testing.assert_allclose(problem.std(problem.X), np.tile(expected, (3, 1)))


def test_rings_have_radius_x():
    problem = datasets.make_rings(300, noise=0.0, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(problem.y, axis=1), problem.X[:, 0])
    np.testing.assert_array_less(np.abs(problem.y.mean(axis=0)), 0.3)


def test_skewed_has_the_stated_skewness():
    """The third central moment of w E1 - (1 - w) E2 is 2 w³ - 2 (1 - w)³."""
    problem = datasets.make_skewed(10, random_state=0)
    X = np.array([[-1.0, 0.5], [-0.4, -1.0], [0.0, 0.0], [1.0, 1.0]])
    draws = problem.sample(X, 200_000, random_state=0)
    w = (1 + X[:, 0]) / 2
    expected = 2 * (w**3 - (1 - w) ** 3) / (w**2 + (1 - w) ** 2) ** 1.5
    assert expected[[0, -1]] == pytest.approx([-2, 2])
    standard = (draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, keepdims=True)
    np.testing.assert_allclose((standard**3).mean(axis=1), expected, atol=0.1)
    assert (draws[-1] > 1 - np.e).all()  # only the right tail is long at x1 = 1


def test_checkerboard_is_the_board_shifted_by_x():
    board = datasets.make_checkerboard(2000, noise=0.0, random_state=0)
    assert np.abs(board.y).max() <= 2
    assert datasets.share_on_a_square(board.X, board.y[:, None]) == 1
    moved = board.X + [1.0, 0.0]  # a shift by one square swaps black and white
    assert datasets.share_on_a_square(moved, board.y[:, None]) == 0
    squares = np.floor(board.sample([[0.0, 0.0]], 8000, random_state=0)[0]).astype(int) + 2
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(squares.T), 1)
    row, column = np.indices((4, 4))
    assert (counts[(row + column) % 2 == 1] == 0).all()
    np.testing.assert_allclose(counts[(row + column) % 2 == 0], 1000, atol=150)


def test_checkerboard_shows_x_only_in_both_outputs_together():
    board = datasets.make_checkerboard(noise=0.0, random_state=0)
    for draws in board.sample(board.X[:3], 20_000, random_state=1):
        for output in draws.T:
            share = np.histogram(output, bins=16, range=(-2, 2))[0] / len(output)
            np.testing.assert_allclose(share, 1 / 16, atol=0.008)


def test_asymmetric_mixture_has_the_stated_modes():
    problem = datasets.make_asymmetric_mixture(10, random_state=0)
    draws = problem.sample([[6.0, 2.0]], 20_000, random_state=0)[0]  # a = 8, far apart
    large, small = draws[draws > 0], draws[draws < 0]
    assert len(large) / len(draws) == pytest.approx(2 / 3, abs=0.015)
    assert (large.mean(), large.std()) == pytest.approx((8, 1), abs=0.03)
    assert (small.mean(), small.std()) == pytest.approx((-8, 0.5), abs=0.03)


def test_eight_gaussians_are_unconditional():
    problem = datasets.make_eight_gaussians(200, noise=0.0, random_state=0)
    assert problem.X.shape == (200, 0)
    assert repr(problem) == "Problem('eight_gaussians', X (200, 0), y (200, 2))"
    centres = np.unique(np.round(problem.y, 9) + 0.0, axis=0)
    assert len(centres) == 8
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2, rtol=1e-6)
    assert problem.sample(None, 500).shape == (500, 2)
    draws = problem.sample(problem.X[:4], 500, random_state=0)
    np.testing.assert_array_equal(draws.reshape(-1, 2), problem.sample(None, 2000, random_state=0))
    blurred = datasets.make_eight_gaussians(4000, random_state=0).y
    nearest = np.linalg.norm(blurred[:, None] - centres, axis=-1).min(axis=1)
    assert np.sqrt(np.mean(nearest**2) / 2) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.make_arms(0), r"n_samples must be at least 1, got 0"),
        (lambda: datasets.make_arms(5, noise=-1), r"noise must be at least 0, got -1"),
        (lambda: make_gcds("T5"), r"task='T5'.*'T1', 'T2', 'T3', 'T4'"),
        (
            lambda: datasets.make_arms(5).sample([[1.0]]),
            r"X must have shape \(n, 2\), got \(1, 1\)",
        ),
        (lambda: datasets.make_arms(5).sample(None), r"X is None"),
        (lambda: datasets.make_arms(5).sample([[1.0, np.nan]]), r"X contains 1 NaN"),
        (lambda: datasets.make_arms(5).sample([[1.0, 1.0]], 0), r"n_samples must be at least 1"),
        (lambda: datasets.make_eight_gaussians(5).sample([[1.0]]), r"X must be None.*eight"),
        (lambda: datasets.make_eight_gaussians(5).sample(np.zeros((0, 0))), r"X must be None"),
        (lambda: datasets.make_eight_gaussians(5).sample(3.0), r"X must be None.*got \(\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ real data
FETCH = {"mnist": datasets.fetch_mnist, "fashion_mnist": datasets.fetch_fashion_mnist}
OPENML = {"mnist": "mnist_784", "fashion_mnist": "Fashion-MNIST"}


def images_of(value, n):
    return np.full((n, 28, 28), value, dtype=np.uint8), np.full(n, value % 10, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for value, name in enumerate(FETCH, start=1):
        train, test = images_of(value, 5), images_of(value + 100, 3)
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=train[0],
            y_train=train[1],
            x_test=test[0],
            y_test=test[1],
        )
    monkeypatch.setenv("SKLSDM_DATA", str(tmp_path))
    monkeypatch.setattr(
        sklearn.datasets, "fetch_openml", lambda *args, **kw: pytest.fail("no download")
    )
    return tmp_path


@pytest.mark.parametrize(("value", "name"), [(1, "mnist"), (2, "fashion_mnist")])
def test_images_come_from_the_folder(value, name, folder):
    for subset, n, expected in (("train", 5, value), ("test", 3, value + 100)):
        images, labels = FETCH[name](subset)
        assert (images.shape, images.dtype) == ((n, 28, 28), np.uint8)
        assert (labels.shape, labels.dtype) == ((n,), np.int64)
        assert (images == expected).all()
        assert (labels == expected % 10).all()


@pytest.mark.parametrize("name", FETCH)
@pytest.mark.parametrize("other_folder", [False, True])
def test_images_come_from_openml_otherwise(name, other_folder, tmp_path, monkeypatch):
    data = np.zeros((60_004, 784), dtype=np.uint8)
    data[60_000:, 1] = 9
    target = np.array(["7"] * 60_000 + ["3"] * 4, dtype=object)
    asked = []

    def fetch(name, **settings):
        asked.append((name, settings["data_home"]))
        return Bunch(data=data, target=target)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.delenv("SKLSDM_DATA", raising=False)
    if other_folder:
        monkeypatch.setenv("SKLSDM_DATA", str(tmp_path))
    images, labels = FETCH[name]("test", data_home="cache")
    assert asked == [(OPENML[name], "cache")]
    assert images.shape == (4, 28, 28)
    assert (images[:, 0, 1] == 9).all()
    np.testing.assert_array_equal(labels, [3, 3, 3, 3])
    assert labels.dtype == np.int64
    images, labels = FETCH[name]()
    assert (len(images), set(labels)) == (60_000, {7})


@pytest.mark.parametrize("name", FETCH)
def test_no_way_to_the_images_names_both(name, monkeypatch):
    def fetch(*args, **settings):
        raise OSError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.delenv("SKLSDM_DATA", raising=False)
    message = rf"SKLSDM_DATA is not set.*fetch_openml failed.*no network.*{name}\.npz"
    with pytest.raises(OSError, match=message):
        FETCH[name]()
    with pytest.raises(ValueError, match=r"subset='valid'.*'test', 'train'"):
        FETCH[name]("valid")


def test_images_file_without_the_arrays_is_named(folder):
    np.savez(folder / "mnist.npz", x=np.zeros(3))
    with pytest.raises(OSError, match=r"mnist\.npz lacks the array 'x_train', it has \['x'\]"):
        datasets.fetch_mnist()


def test_benchmark_arrays_come_as_stored(folder):
    stored = {"x": np.arange(3, dtype=np.int16), "names": np.array(["a", "b"])}
    np.savez(folder / "small.npz", **stored)
    found = datasets.load_benchmark("small")
    assert found.keys() == stored.keys()
    for key, value in stored.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


def test_benchmark_errors_say_what_to_do(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"other\.npz.*SKLSDM_DATA.*'fashion_mnist', 'mn"):
        datasets.load_benchmark("other")
    for name in ("../mnist", "", "..", 3):
        with pytest.raises(ValueError, match="name must be a plain file name"):
            datasets.load_benchmark(name)
    monkeypatch.delenv("SKLSDM_DATA")
    with pytest.raises(OSError, match=r"SKLSDM_DATA is not set.*mnist\.npz"):
        datasets.load_benchmark("mnist")


@pytest.mark.parametrize("content", ["pickled", "truncated", "empty", "one array"])
def test_unreadable_files_are_named_and_never_unpickled(content, folder):
    path = folder / "bad.npz"
    if content == "pickled":
        np.savez(path, x=np.array([{"a": 1}], dtype=object))
    elif content == "one array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        whole = (folder / "mnist.npz").read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "truncated" else b"")
    with pytest.raises(OSError, match=r"bad\.npz is not a readable \.npz file"):
        datasets.load_benchmark("bad")


def test_draws_near_a_blade():
    pinwheel = datasets.make_pinwheel(2000, random_state=0)
    truth = pinwheel.sample(pinwheel.X, 5, random_state=1)
    assert datasets.share_near_a_blade(pinwheel.X, truth) > 0.99
    ignores_x = truth[np.random.default_rng(2).permutation(2000)]
    assert 0.15 < datasets.share_near_a_blade(pinwheel.X, ignores_x) < 0.3


def test_draws_on_a_square():
    board = datasets.make_checkerboard(2000, random_state=0)
    truth = board.sample(board.X, 5, random_state=1)
    assert 0.94 < datasets.share_on_a_square(board.X, truth) < 0.98
    ignores_x = truth[np.random.default_rng(2).permutation(2000)]
    assert 0.45 < datasets.share_on_a_square(board.X, ignores_x) < 0.55
    assert datasets.share_on_a_square(board.X, truth + 4) == 0
