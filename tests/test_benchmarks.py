"""What the benchmarks measure with, against closed forms and without data; and the peers."""

import ast
import importlib
import os
import sys
from contextlib import ExitStack
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


@pytest.fixture(scope="module")
def peers():
    return load("peers")


@pytest.fixture(scope="module")
def tables():
    return load("tables")


@pytest.fixture(scope="module")
def tabular():
    return load("tabular")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------------- other tables
def test_other_tables_of_scikit_learn_hold_their_outputs_apart():
    other = load("other_tables")
    split = other.load("wine", 0, False)
    assert split.X.shape == (143, 11)
    assert split.y.shape == (143, 3)
    assert len(split.y_test) == 35
    assert split.y.std(axis=0) == pytest.approx(np.ones(3))
    again = other.load("wine", 1, False)
    assert not np.array_equal(split.y_test, again.y_test)
    frame = other.read("wine")
    given = [np.abs(np.corrcoef(column, split.y.T)[0, 1:]).max() for column in split.X.T]
    assert frame.shape == (178, 14)
    assert max(given) < 0.95


def test_other_tables_are_summed_up_by_geometric_means(capsys):
    other = load("other_tables")
    sizes = {"n_train": 5, "n_columns": 2, "n_outputs": 1, "coverage": 0.9, "fit_s": 1.0}
    scores = {"default": (1.0, 2.0), "quantile-forest": (4.0, 2.0)}
    rows = [
        {"set": "mine", "split": split, "method": method, "energy_score": value} | sizes
        for method, values in scores.items()
        for split, value in enumerate(values)
    ]
    other.summarise([row for row in rows if row["method"] == "default"] + rows[2:])
    line = next(line for line in capsys.readouterr().out.splitlines() if "mine" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["mine", "5", "2", "1", "2.00", "", "0.900", "1.0"]


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
@pytest.mark.slow
def test_judge_learns_is_kept_and_comes_back(judge, rng, tmp_path, monkeypatch):
    """A bright row in one of ten places for a digit; the global random state stays as it was."""
    labels = rng.integers(10, size=640)
    digits = 20 * rng.uniform(size=(640, 28, 28))
    digits[np.arange(640), 2 * labels + 4] = 250
    monkeypatch.setitem(judge.FETCH, "mnist", lambda subset: (digits.astype(np.uint8), labels))
    monkeypatch.setattr(judge, "N_EPOCHS", 8)
    before = torch.random.get_rng_state()
    first = judge.load_judge(3, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setitem(judge.FETCH, "mnist", None)  # the second time it comes from the file
    again = judge.load_judge(3, tmp_path)
    features = again.features(digits / 255)
    np.testing.assert_array_equal(features, first.features(digits / 255))
    assert features.shape == (640, 64)
    assert (again.classes(features) == labels).mean() > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["mnist-seed3-epochs8.npz"]


# ---------------------------------------------------------------------------- colour
def colour_images(rng, n, side):
    """Noisy images of three classes, each brighter in a channel of its own, and their labels."""
    labels = np.arange(n) % 3
    images = rng.uniform(0, 120, size=(n, 3, side, side))
    images[np.arange(n), labels] += 120
    return images.astype(np.uint8), labels


@pytest.fixture
def cifar3(rng, tmp_path, monkeypatch):
    """A file of that name with 300 and 150 images of 16 x 16 pixels."""
    parts = {}
    for name, n in {"train": 300, "test": 150}.items():
        parts[f"x_{name}"], parts[f"y_{name}"] = colour_images(rng, n, 16)
    np.savez(tmp_path / "cifar3.npz", **parts)
    monkeypatch.setenv("SKLSDM_DATA", str(tmp_path))
    return parts


def test_judge_of_colour_images(judge, cifar3, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "COLOUR_EPOCHS", 15)
    first = judge.load_bench(0, tmp_path, data="cifar3")
    assert first.accuracy > 0.95
    again = judge.load_judge(0, tmp_path, data="cifar3")  # its shape comes from the file
    images = cifar3["x_test"] / 255
    np.testing.assert_array_equal(again.features(images), first.features)
    assert first.score(images, cifar3["y_test"])["fd"] == pytest.approx(0, abs=1e-6)
    turned = np.roll(images, 1, axis=1)  # red for green: sharp, and of another class
    scores = first.full_score(turned, cifar3["y_test"], images)
    assert scores["accuracy"] < 0.05
    assert scores["class_fd"] > 10 * scores["fd"]


def test_images_are_reduced_and_enlarged_with_their_channels(rng):
    parts = load("super_resolution")
    images = rng.uniform(size=(5, 3, 16, 12))
    low = parts.reduce_images(images)
    assert low.shape == (5, 3, 4, 3)
    np.testing.assert_allclose(low[2, 1, 3, 0], images[2, 1, 12:16, :4].mean())
    np.testing.assert_allclose(parts.reduce_images(images[:, 0]), low[:, 0])
    drawn = parts.bicubic(low, 2)
    assert drawn.shape == (5, 2, 3, 16, 12)
    np.testing.assert_allclose(drawn[:, 1, 2], parts.bicubic(low[:, 2], 1)[:, 0])
    nearest = parts.fit_nearest(images)(low, 2)
    np.testing.assert_array_equal(nearest[:, 0], images)


@pytest.mark.slow
def test_vae_draws_the_class(rng):
    colour, Split = load("colour"), load("mnist_matchers").Split
    images, labels = colour_images(rng, 60, 8)
    split = Split(images, labels, images[:0], images[:0], labels[:0], images[:0] / 255)
    before = torch.random.get_rng_state()
    vae = colour.fit_conditional_vae(split, 0, 150)
    assert torch.equal(torch.random.get_rng_state(), before)
    asked = np.repeat([0, 1, 2], 20)
    drawn = vae.draw(asked)
    assert drawn.shape == (60, 3, 8, 8)
    assert (drawn.mean(axis=(2, 3)).argmax(axis=1) == asked).mean() > 0.7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")
def test_colour_in_short(judge, cifar3, tmp_path, monkeypatch, capsys):
    """All rows of both parts, each with its columns, and a picture; nothing is kept."""
    colour = load("colour")
    sizes = {"N_PER_CLASS": 10, "QUICK_FRESH": 60, "QUICK_UNLABELLED": 100, "QUICK_DRAWS": 20}
    sizes |= {"QUICK_STEPS": 10, "QUICK_PAIRS": 40, "QUICK_TEST": 30, "QUICK_SCORED": 5}
    for name, size in (sizes | {"LATENT_DIM": 8}).items():
        monkeypatch.setattr(colour, name, size)
    for name in ("ConvAutoencoder", "FeatureMapAutoencoder"):
        monkeypatch.setattr(f"sklsdm.autoencoders.{name}._min_steps", lambda self, form: 5)
    monkeypatch.setattr(colour, "save_results", None)
    picture = tmp_path / "colour.png"
    colour.main(["--quick", "--seeds", "1", "--cache", str(tmp_path), "--out", str(picture)])
    lines = capsys.readouterr().out.splitlines()
    found = [ast.literal_eval(line) for line in lines if line.startswith("{")]
    rows = {
        part: {row["method"]: row for row in found if row["part"] == part}
        for part in colour.METHODS
    }
    extra = {"real, fresh", "reconstruction", "reconstruction, pairs only"}
    assert set(rows["classes"]) == {*colour.METHODS["classes"], *extra}
    assert set(rows["super"]) == {*colour.METHODS["super"], "real", "reconstruction"}
    wanted = {"accuracy", "fd", "class_fd", "recall", "nearest"}
    assert all(wanted <= set(row) for row in rows["classes"].values())
    assert rows["classes"]["resampled pairs"]["nearest"] < 0.02
    assert rows["classes"]["ours, pairs only"]["unpaired"] == "none"
    assert rows["classes"]["ours"]["unpaired"] != "none"
    assert rows["super"]["bicubic"]["diversity"] == pytest.approx(0, abs=1e-6)
    assert rows["super"]["ours"]["diversity"] > 0.01
    assert sum(line.startswith("| ours ") for line in lines) == 2
    assert picture.stat().st_size > 5000


# ---------------------------------------------------------------------------- known laws
@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_moments_of_the_gcds_laws_are_those_of_their_draws(rng, name):
    law = load("gcds_table1").LAWS[name]
    for x in rng.normal(size=(3, 1, law.n_features)):
        y = law.respond(np.repeat(x, 400_000, axis=0), rng)
        sd = law.sd(x)[0]
        assert abs(y.mean() - law.mean(x)[0]) < 5 * sd / np.sqrt(len(y))
        assert y.std() == pytest.approx(sd, rel=0.02)


# ---------------------------------------------------------------------------- peers
@pytest.fixture(scope="module")
def two_outputs():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 3))
    return X, X[:, :2] + 0.1 * rng.normal(size=(120, 2))


@pytest.mark.parametrize("name", load("peers")._NEEDS)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_peer_draws_by_seed_and_leaves_global_states(
    peers, two_outputs, name, n_outputs, monkeypatch
):
    package, fit = peers._NEEDS[name]
    if package:
        pytest.importorskip(package)
    monkeypatch.setattr(peers, "MOST_STEPS", 50)
    X, y = two_outputs[0], two_outputs[1][:, :n_outputs]
    torch_state = torch.random.get_rng_state()
    draw = fit(X, y, 0)
    first = draw(X[:7], 5, 3)
    assert first.shape == (7, 5, n_outputs)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, draw(X[:7], 5, 3))
    np.testing.assert_array_equal(first, fit(X, y, 0)(X[:7], 5, 3))
    assert (first != draw(X[:7], 5, 4)).any()
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@pytest.mark.parametrize("name", ["marginal", "kNN(25) resampling", "quantile-forest"])
def test_resampling_peers_draw_whole_training_rows(peers, two_outputs, name):
    package, fit = peers._NEEDS[name]
    if package:
        pytest.importorskip(package)
    X, y = two_outputs
    draws = fit(X, y, 0)(X[:9], 20, 0).reshape(-1, 2)
    rows = {tuple(row) for row in y}
    assert all(tuple(row) in rows for row in draws)


def test_forest_draws_by_its_own_weights(peers, rng):
    """Two far groups of conditions: never a response of the other group."""
    pytest.importorskip("quantile_forest")
    X = np.repeat([0.0, 10.0], 60)[:, None] + rng.uniform(size=(120, 1))
    y = np.repeat([-1.0, 1.0], 60)[:, None] + 0.01 * rng.normal(size=(120, 1))
    draws = peers.quantile_forest(X, y, 0)(np.array([[0.5], [10.5]]), 200, 0)
    assert (draws[0] < 0).all()
    assert (draws[1] > 0).all()


def test_missing_package_is_left_out_with_a_line(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "zuko" else object())
    names = peers.available_peers()
    assert not any("zuko" in name for name in names)
    assert "engression" in names
    assert capsys.readouterr().out.count("zuko is not installed") == 1


def test_only_the_peers_asked_for_are_missed(peers, monkeypatch, capsys):
    """In treeffuser's own environment nothing is said of the packages that are not there."""
    installed = {"treeffuser"}
    monkeypatch.setattr(peers, "find_spec", lambda name: object() if name in installed else None)
    assert "treeffuser" in peers.available_peers(["treeffuser", "default"])
    assert not capsys.readouterr().out
    installed.clear()
    assert "treeffuser" not in peers.available_peers(["treeffuser"])
    assert "treeffuser is not installed" in capsys.readouterr().out


def test_rows_of_a_peer_name_its_package(peers, monkeypatch):
    monkeypatch.setattr(peers, "version", lambda name: "1.0")
    assert peers.package_of("zuko spline flow") == {"package": "zuko 1.0"}
    assert peers.package_of("marginal") == peers.package_of("default") == {}


# ---------------------------------------------------------------------------- tables
def test_split_is_scaled_by_its_training_rows(tables, rng):
    X = np.column_stack([5 + 3 * rng.normal(size=(400, 2)), np.ones(400)])
    y = 7 * rng.normal(size=(400, 2))
    split = tables.make_split(X, y, np.arange(300), np.arange(300, 400), 0, False)
    np.testing.assert_allclose(split.X.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(split.X[:, :2].std(axis=0), 1)
    np.testing.assert_allclose(split.y.std(axis=0), 1)
    assert len(split.y_test) == 100
    assert len(tables.make_split(X, y, np.arange(300), np.arange(300, 400), 0, True).y) == 300


def test_weeks_are_on_one_side(tables, rng, tmp_path, monkeypatch):
    days = np.arange(np.datetime64("2001-01-22"), np.datetime64("2001-01-22") + 70)
    numbers = np.arange(70.0)[:, None]
    np.savez(tmp_path / "chicago_ridership.npz", x=numbers, y=numbers, date=days.astype("<U10"))
    monkeypatch.setenv("SKLSDM_DATA", str(tmp_path))
    split, other = (tables.SETS["chicago_ridership"](seed, False) for seed in (0, 1))
    np.testing.assert_array_equal(np.unique(split.groups, return_counts=True)[1], [7] * 8)
    assert len(split.y_test) == 14
    day = np.round((split.X_test - split.X.min()) / np.diff(split.X[:, 0]).min())
    first = np.round((split.X - split.X.min()) / np.diff(split.X[:, 0]).min())
    offset = split.groups[0] * 7
    assert not set((day.ravel() + offset) // 7) & set((first.ravel() + offset) // 7)
    assert set(split.groups) != set(other.groups)


def test_one_hot_by_the_levels_of_the_training_rows(tables):
    """Rare and unseen levels have no indicator; two levels have one; constants have none."""
    three = ["a"] * 6 + ["b"] * 7 + ["c"] * 5 + ["rare"] * 2 + ["unseen"]
    two = ["yes", "no"] * 10 + ["yes"]
    one = ["same"] * 20 + ["other"]
    found = tables.one_hot(np.array([three, two, one]).T, np.arange(20))
    assert found.shape == (21, 3 + 1)
    np.testing.assert_array_equal(found[:, :3].sum(axis=1), [1.0] * 18 + [0.0] * 3)
    np.testing.assert_array_equal(found[:, 3], np.array(two) == "yes")


def test_tables_with_categories_are_scaled(tables, rng, tmp_path, monkeypatch):
    """A level that is rare in some splits, and a number that never varies."""
    numbers = np.column_stack([rng.normal(size=100), np.ones(100)])
    words = np.array([["a", "b", "c", "rare"][min(i % 5, 2) if i < 96 else 3] for i in range(100)])
    np.savez(
        tmp_path / "wage.npz", x_numeric=numbers, x_categorical=words[:, None], y=numbers[:, :1]
    )
    monkeypatch.setenv("SKLSDM_DATA", str(tmp_path))
    split = tables.SETS["wage"](0, False)
    assert (split.X.shape, split.X_test.shape, split.y.shape) == ((80, 5), (20, 5), (80, 1))
    assert np.isfinite(split.X).all()
    assert (split.X[:, 1] == 0).all()
    np.testing.assert_allclose(split.X[:, 2:].std(axis=0), 1)


# ---------------------------------------------------------------------------- tabular
def test_judge_of_the_exact_law(tabular, rng):
    """CRPS of a standard normal forecast of itself: 1/sqrt(pi)."""
    scores = tabular.judge(rng.normal(size=(4000, 100, 2)), rng.normal(size=(4000, 2)))
    assert scores["crps"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.03)
    assert scores["coverage"] == pytest.approx(0.88, abs=0.02)  # of quantiles of 100 draws
    assert "variogram_score" not in tabular.judge(np.zeros((3, 4, 1)), np.zeros((3, 1)))


def test_share_that_comes_back(tabular):
    few, full = {0: 1.0, 1: 1.2, 2: 9.0}, {0: 0.5, 1: 0.8}
    semi = {0: 0.75, 1: 1.0}
    ratio, error = tabular.share_back(few, semi, full)
    assert ratio == pytest.approx(0.5)
    assert error == pytest.approx(0.0, abs=1e-12)  # the same share on both splits
    assert tabular.share_back(few, {0: 0.75, 1: 1.2}, full)[1] > 0.1
    assert tabular.share_back(few, full, full) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    ("ours", "word"), [([0.9, 1.0], "best"), ([1.3, 0.9], "level"), ([1.2, 1.21], "peer ahead")]
)
def test_verdict_is_paired_over_splits(tabular, ours, word):
    rows = [
        {"set": "a", "split": split, "method": method, "energy_score": score, "coverage": 0.9}
        for method, scores in {
            "marginal": [2.0, 2.0],
            "engression": [1.0, 1.1],
            tabular.DEFAULT: [1.0, 1.1, 5.0],  # the peer lacks the third split
            tabular.CHOSEN: ours,
        }.items()
        for split, score in enumerate(scores)
    ]
    cells = tabular.verdict(rows)
    assert cells[0] == "engression"
    assert cells[3:5] == ["1.00", "0.900"]
    assert cells[-1] == word


READS_PROC = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the soak reads /proc"
)


@pytest.mark.slow
@READS_PROC
def test_soak_finds_nothing_left():
    """One fit by each matcher."""
    rows = load("soak").soak(8, 2)
    assert [(row["fits"], row["draws"], row["unequal"]) for row in rows] == [(8, 80, 0)] * 2
    assert [row["failed"] for row in rows] == [1, 1]
    assert [row["leaks"] for row in rows] == [[], []]


@READS_PROC
def test_soak_finds_a_file_that_is_left_open():
    soak = load("soak")
    with ExitStack() as opened:

        def leave_a_file_open(work, numbers):
            opened.enter_context(open(os.devnull))

        _, looks = soak.run_part(leave_a_file_open, 2, 2)
    assert soak.growth(looks)["files"] == 1


# ---------------------------------------------------------------------------- conformal intervals
def test_conformal_table_has_means_over_splits(capsys):
    conformal = load("conformal")
    row = {"set": "s", "n_outputs": 2, "n_fit": 10, "n_calibrate": 9, "conformalize_s": 0.1}
    numbers = {"per_output": 0.8, "worst_output": 0.7, "joint": 0.6, "width": 2.0}
    rows = [row | numbers | {"split": s, "kind": "plain"} for s in (0, 1)]
    rows[1] |= {"per_output": 0.9, "joint": 0.8}
    conformal.summarise([*rows, rows[0] | {"kind": "conformal, joint"}])
    lines = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in lines[3].split("|")[2:-1]]
    assert cells == [
        "plain",
        "2",
        "10",
        "9",
        "2",
        "0.850",
        "0.700",
        "0.700",
        "2.000",
        "0.100",
        "0.050",
    ]
    assert "conformal, joint" in lines[4]


def test_digits_are_split_once():
    split = load("conformal").digits_split(0)
    assert split.X.shape == (700, 10)
    assert split.y_test.shape == (1097, 8, 8)
    assert split.y.max() == 1


# ---------------------------------------------------------------------------- scaling
def test_scaling_in_short(tmp_path, monkeypatch, capsys):
    scaling = load("scaling")
    for name, value in {"N_PAIRS": 40, "RATE_REPEATS": 1, "_BLOCK": 100}.items():
        monkeypatch.setattr(scaling, name, value)
    scaling.write_rows(tmp_path / "rows.npy", 250)
    rows = np.load(tmp_path / "rows.npy")
    assert rows.shape == (250, scaling.WIDTH)
    assert 60 < rows.std(axis=0).mean() < 127.5
    assert len(np.unique(rows, axis=0)) == 250
    found = scaling.rate_case(tmp_path / "rows.npy")
    assert found["rows"] == 290
    fits = [dict.fromkeys(("rows", "file_mib", "before_mib", "processor_s", "clock_s"), 1)] * 2
    scaling.summarise([*({**fit, "fit_mib": n} for n, fit in enumerate(fits)), found])
    printed = capsys.readouterr().out
    assert "more memory for the largest: 1 MiB" in printed
    assert "rows a second of an epoch over 290" in printed
