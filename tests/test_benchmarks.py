"""What the benchmarks measure with: the judge's distances against closed forms, without data."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks do not come with the package", allow_module_level=True)


def load(name):
    """A benchmark as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def judge():
    return load("judge")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------------- Frechet distance
def test_frechet_of_commuting_normals_is_the_sum_over_axes(judge, rng):
    mean_a, mean_b = rng.normal(size=(2, 5))
    sd_a, sd_b = rng.uniform(0.5, 2, size=(2, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    found = judge.gaussian_frechet(
        turn @ mean_a, turn * sd_a**2 @ turn.T, turn @ mean_b, turn * sd_b**2 @ turn.T
    )
    assert found == pytest.approx(np.square(mean_a - mean_b).sum() + np.square(sd_a - sd_b).sum())


def test_frechet_of_two_normals_in_the_plane(judge):
    """tr (AB)^(1/2) is (tr AB + 2 (det AB)^(1/2))^(1/2) for 2 x 2 matrices."""
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    wanted = 1.0 + np.trace(a) + np.trace(b) - 2 * cross
    found = judge.gaussian_frechet(np.zeros(2), a, np.array([0.6, 0.8]), b)
    assert found == pytest.approx(wanted)


def test_frechet_with_dead_features(judge, rng):
    """Singular covariances, as of ReLU features that never fire, give no NaN."""
    rows = np.hstack([rng.normal(size=(50, 3)), np.zeros((50, 4))])
    assert judge.frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)
    assert judge.frechet_distance(rows, rows + 2) == pytest.approx(7 * 4)


def test_frechet_of_samples_nears_the_closed_form(judge, rng):
    a = rng.normal(size=(40_000, 4))
    b = 1 + 2 * rng.normal(size=(40_000, 4))
    assert judge.frechet_distance(a, b) == pytest.approx(4 + 4, rel=0.03)


def test_class_frechet_sees_swapped_labels(judge, rng):
    labels = np.repeat([0, 1], 500)
    rows = rng.normal(size=(1000, 3)) + 10 * labels[:, None]
    assert judge.class_frechet(rows, labels, rows, labels) == pytest.approx(0, abs=1e-9)
    swapped = judge.class_frechet(rows, 1 - labels, rows, labels)
    assert swapped == pytest.approx(300, rel=0.05)
    assert judge.frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------------------- neighbours
def test_radii_on_a_line(judge):
    rows = np.arange(5.0)[:, None]
    np.testing.assert_allclose(judge.neighbour_radii(rows, 2), [2, 1, 1, 1, 2], atol=1e-6)


def test_one_law_is_covered_and_another_is_not(judge, rng):
    real, same, far = rng.normal(size=(2500, 3)), rng.normal(size=(2500, 3)), np.full((50, 3), 40.0)
    near = judge.neighbour_scores(real, same)
    assert all(abs(near[name] - 1) < 0.06 for name in ("precision", "recall", "density"))
    assert near["coverage"] > 0.93
    away = judge.neighbour_scores(real, far + rng.normal(size=far.shape))
    assert away == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_precision_and_recall_tell_a_missing_mode_from_an_invented_one(judge, rng):
    one = rng.normal(size=(600, 2))
    two = np.vstack([one[:300], 30 + one[300:]])
    fresh = rng.normal(size=(600, 2))
    missing = judge.neighbour_scores(two, fresh)
    assert missing["precision"] > 0.9
    assert 0.4 < missing["recall"] < 0.55
    invented = judge.neighbour_scores(fresh, two)
    assert 0.4 < invented["precision"] < 0.55
    assert invented["recall"] > 0.9


def test_nearest_distance_of_copies_and_of_moved_digits(judge, rng):
    seen = rng.uniform(size=(300, 28, 28))
    assert judge.nearest_distance(seen[:40], seen) < 0.02
    moved = seen[:40].copy()
    moved[:, 0, 0] += 3
    assert judge.nearest_distance(moved, seen) == pytest.approx(3, abs=0.01)


# ---------------------------------------------------------------------------- the classifier
def test_judge_learns_is_kept_and_comes_back(judge, rng, tmp_path, monkeypatch):
    """A bright row in one of ten places for a digit; the global random state stays as it was."""
    labels = rng.integers(10, size=640)
    digits = 20 * rng.uniform(size=(640, 28, 28))
    digits[np.arange(640), 2 * labels + 4] = 250
    monkeypatch.setattr(judge, "fetch_mnist", lambda: (digits.astype(np.uint8), labels))
    monkeypatch.setattr(judge, "N_EPOCHS", 8)
    before = torch.random.get_rng_state()
    first = judge.load_judge(3, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setattr(judge, "fetch_mnist", None)  # the second time it comes from the file
    again = judge.load_judge(3, tmp_path)
    features = again.features(digits / 255)
    np.testing.assert_array_equal(features, first.features(digits / 255))
    assert features.shape == (640, 64)
    assert (again.classes(features) == labels).mean() > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["mnist-seed3-epochs8.npz"]


# ---------------------------------------------------------------------------- known laws
@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_moments_of_the_gcds_laws_are_those_of_their_draws(rng, name):
    law = load("gcds_table1").LAWS[name]
    for x in rng.normal(size=(3, 1, law.n_features)):
        y = law.respond(np.repeat(x, 400_000, axis=0), rng)
        sd = law.sd(x)[0]
        assert abs(y.mean() - law.mean(x)[0]) < 5 * sd / np.sqrt(len(y))
        assert y.std() == pytest.approx(sd, rel=0.02)
