"""Displays of draws, codes, training, calibration and learning curves: what is drawn where."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import (
    CalibrationDisplay,
    ConditionalSampleDisplay,
    ImageGridDisplay,
    LatentSpaceDisplay,
    LSDMGenerator,
    SamplingEnsemble,
    TrainingDisplay,
    UnpairedCurveDisplay,
    make_sampling_pipeline,
)

pyplot = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")  # tiny fits

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 1))
SCALAR = X[:, 0] + RNG.normal(size=60)
PLANE = np.column_stack([X[:, 0], -X[:, 0]]) + 0.3 * RNG.normal(size=(60, 2))
CURVES = PLANE @ RNG.normal(size=(2, 7)) + 0.1 * RNG.normal(size=(60, 7))


N_GRID = 20


@pytest.fixture(autouse=True)
def coarse_fans(monkeypatch):
    monkeypatch.setattr("sklsdm.displays.conditions.GRID", N_GRID)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def quick(**params):
    est = plain_regressor(matcher="energy", random_state=0, **params)
    return est.set_params(matcher__max_steps=20)


@pytest.fixture(scope="module")
def of_scalars():
    return quick().fit(X, SCALAR)


@pytest.fixture(scope="module")
def of_planes():
    return quick().fit(X, PLANE)


@pytest.fixture(scope="module")
def of_curves():
    est = quick(autoencoder="mlp").set_params(latent_dim=3, autoencoder__max_epochs=2)
    return est.fit(X, CURVES)


def bands_of(ax):
    """The vertices (v, 2) of each band."""
    return [band.get_paths()[0].vertices for band in ax.collections if band.get_label() != "data"]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---------------------------------------------------------------------------- conditional draws
def test_a_fan_shows_quantiles_over_x(of_scalars):
    display = ConditionalSampleDisplay.from_estimator(of_scalars, X, SCALAR, coverages=(0.5, 0.8))
    grid = np.linspace(X.min(), X.max(), N_GRID)
    wanted = of_scalars.predict_quantiles(grid[:, None], (0.1, 0.25, 0.5, 0.75, 0.9))
    assert_allclose(display.bands, wanted.T)
    (median,) = display.ax_.lines
    assert_allclose(median.get_xydata(), np.stack([grid, wanted[:, 2]], axis=1))
    widest = bands_of(display.ax_)[0]
    assert_allclose(widest[:, 1].max(), wanted[:, 4].max())
    assert_allclose(widest[:, 1].min(), wanted[:, 0].min())
    points = display.ax_.collections[-1].get_offsets()
    assert_allclose(points, np.column_stack([X[:, 0], SCALAR]))
    assert legend_texts(display.ax_) == ["80% of draws", "50% of draws", "median", "data"]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_fan_has_the_names_of_a_frame(library):
    frame, y = library.DataFrame({"age": X[:, 0]}), library.DataFrame({"dose": SCALAR})
    est = quick().fit(frame, y)
    ax = ConditionalSampleDisplay.from_estimator(est, frame, y).ax_
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("age", "dose")


def test_a_fan_of_draws_at_hand_is_sorted():
    draws = SCALAR[:, None] + RNG.normal(size=(60, 50))
    display = ConditionalSampleDisplay.from_predictions(SCALAR, draws, x=X[:, 0])
    (median,) = display.ax_.lines
    order = np.argsort(X[:, 0])
    assert_array_equal(median.get_xdata(), X[order, 0])
    assert_allclose(median.get_ydata(), np.median(draws, axis=1)[order])
    display = ConditionalSampleDisplay.from_predictions(SCALAR, draws)
    (median,) = display.ax_.lines
    assert_allclose(median.get_xydata().T, [np.arange(60), np.sort(np.median(draws, axis=1))])
    points = display.ax_.collections[-1].get_offsets()
    assert_allclose(points[np.argsort(points[:, 0]), 1], SCALAR[np.median(draws, axis=1).argsort()])


def test_a_scatter_plot_shows_draws_by_condition(of_planes):
    display = ConditionalSampleDisplay.from_estimator(
        of_planes, X[:3], PLANE[:3], n_samples=9, background=PLANE, random_state=0
    )
    behind, *clouds = display.ax_.collections
    assert_allclose(behind.get_offsets(), PLANE)
    draws = of_planes.sample(X[:3], 9, random_state=0)
    for place in range(3):
        assert_allclose(clouds[place].get_offsets(), draws[place])
        assert_allclose(clouds[3 + place].get_offsets()[0], PLANE[place])
        colours = [cloud.get_facecolor()[0, :3] for cloud in (clouds[place], clouds[3 + place])]
        assert_array_equal(*colours)
    assert legend_texts(display.ax_) == [*(f"x = {x:.3g}" for x in X[:3, 0]), "observed"]


def test_curves_show_bands_and_what_was_observed(of_curves):
    display = ConditionalSampleDisplay.from_estimator(
        of_curves, X[:2], CURVES[:2], n_samples=40, coverages=[0.8], labels="ab", random_state=0
    )
    draws = of_curves.sample(X[:2], 40, random_state=0)
    quantiles = np.quantile(draws, (0.1, 0.5, 0.9), axis=1)
    assert_allclose(display.bands, quantiles.transpose(1, 0, 2))
    lines = [line.get_ydata() for line in display.ax_.lines]
    assert_allclose(lines[0], quantiles[1, 0])  # the median, then five draws, then what was seen
    assert_allclose(lines[1:6], draws[0, :5])
    assert_allclose(lines[6], CURVES[0])
    assert legend_texts(display.ax_) == ["a", "b", "observed"]


def _of_log(y):
    return TransformedTargetRegressor(quick(), func=np.log, inverse_func=np.exp).fit(X, y)


@pytest.mark.parametrize("kind", ["sampling pipeline", "search", "ensemble", "units"])
def test_conditional_draws_of_wrappers(kind):
    model = {
        "sampling pipeline": lambda: make_sampling_pipeline(StandardScaler(), quick()).fit(
            X, SCALAR
        ),
        "search": lambda: GridSearchCV(
            make_pipeline(StandardScaler(), quick()), {"lsdmregressor__scale_X": [True]}, cv=2
        ).fit(X, SCALAR),
        "ensemble": lambda: SamplingEnsemble(quick(), 2, random_state=0).fit(X, SCALAR),
        "units": lambda: _of_log(np.exp(SCALAR)),
    }[kind]()
    display = ConditionalSampleDisplay.from_estimator(model, X, SCALAR)
    grid = np.linspace(X.min(), X.max(), N_GRID)[:, None]
    assert_allclose(display.bands[2], sklsdm.predict_quantiles(model, grid, [0.5])[:, 0])
    codes = LatentSpaceDisplay.from_estimator(model, X, np.exp(SCALAR), random_state=0)
    assert len(codes.generated) == 600
    assert TrainingDisplay.from_estimator(model).ax_[-1].get_title() == "Stage 2: held-out pairs"


# ---------------------------------------------------------------------------- latent space
def test_codes_are_projected_with_contours_that_hold_their_share(of_curves):
    display = LatentSpaceDisplay.from_estimator(of_curves, X, CURVES, n_samples=20, random_state=0)
    codes = of_curves.encode(CURVES).astype(float)
    centred = codes - codes.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    assert_allclose(np.abs(display.real), np.abs(centred @ axes.T), atol=1e-5)
    drawn = of_curves.sample_latent(X, 20, random_state=0).reshape(-1, 3) - codes.mean(axis=0)
    assert_allclose(np.abs(display.generated), np.abs(drawn @ axes.T), atol=1e-4)
    contours = display.ax_.collections[1]
    outer = contours.get_paths()[0].to_polygons()
    inside = np.zeros(len(display.generated), dtype=bool)
    for polygon in outer:
        inside ^= pyplot.matplotlib.path.Path(polygon).contains_points(display.generated)
    assert 0.92 < inside.mean() < 0.98
    share = np.var(display.real[:, 0]) / np.var(codes, axis=0).sum()
    assert display.ax_.get_xlabel() == f"principal component 1 ({share:.0%})"


def test_codes_of_one_dimension_are_two_densities(of_scalars):
    display = LatentSpaceDisplay.from_estimator(of_scalars, X, SCALAR, random_state=0)
    assert legend_texts(display.ax_) == ["real", "generated"]
    heights = [(bar.get_width(), bar.get_height()) for bar in display.ax_.patches[:-1]]
    assert_allclose(sum(w * h for w, h in heights), 1)


def test_codes_of_generators_and_members(of_planes):
    generator = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=5)
    display = LatentSpaceDisplay.from_estimator(generator.fit(PLANE), PLANE, random_state=0)
    assert_allclose(display.real, generator.encode(PLANE))
    assert_allclose(display.generated, generator.sample_latent(600, random_state=0))
    ensemble = SamplingEnsemble(quick(), 2, random_state=0).fit(X, PLANE)
    display = LatentSpaceDisplay.from_estimator(ensemble, X, PLANE, member=1, random_state=0)
    wanted = ensemble.estimators_[1].sample_latent(X, 10, random_state=0)
    assert_allclose(display.generated, wanted.reshape(-1, 2))
    with pytest.raises(ValueError, match="member must be between 0 and 1, got 2"):
        LatentSpaceDisplay.from_estimator(ensemble, X, PLANE, member=2)


def test_codes_that_have_no_density_are_points():
    line = np.column_stack([np.arange(9.0), np.arange(9.0)])
    ax = LatentSpaceDisplay.from_codes(PLANE, line).ax_
    assert_allclose(ax.collections[1].get_offsets(), line)


# ---------------------------------------------------------------------------- training
def test_training_shows_losses_and_marks(of_curves):
    first, losses, held = TrainingDisplay.from_estimator(of_curves).ax_
    coder, matcher = of_curves.autoencoder_, of_curves.matcher_
    assert_allclose(first.lines[0].get_ydata(), coder.history_["train_loss"])
    assert_allclose(first.lines[0].get_xdata(), coder.n_steps_ * np.array([0.5, 1]))
    assert_allclose(first.lines[1].get_ydata(), coder.history_["valid_loss"])
    assert_allclose(losses.lines[0].get_ydata(), matcher.history_["train_loss"])
    assert_allclose(held.lines[0].get_xydata()[-1], [20, matcher.history_["valid_loss"][-1]])
    marks = {bar.get_label(): bar.lines[0].get_xydata()[0] for bar in held.containers}
    assert_allclose(marks["start"], [0, matcher.start_score_[0]])
    assert_allclose(marks["chosen state"], [matcher.best_step_, matcher.best_score_[0]])
    assert held.get_ylabel() == "multiscale score"


def test_training_without_held_out_pairs_and_of_a_generator():
    est = quick(validation_fraction=0.0).fit(X, SCALAR)
    (only,) = TrainingDisplay.from_estimator(est).ax_
    assert only.get_title() == "Stage 2: losses"
    generator = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=5)
    assert len(TrainingDisplay.from_estimator(generator.fit(PLANE)).ax_) == 2
    with pytest.raises(TypeError, match="LinearRegression has no two stages"):
        TrainingDisplay.from_estimator(LinearRegression().fit(X, SCALAR))
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes, got Figure"):
        TrainingDisplay.from_estimator(est, ax=pyplot.figure())
    with pytest.raises(ValueError, match="ax must hold 1 Axes, one for each panel, got 2"):
        TrainingDisplay.from_estimator(est, ax=pyplot.subplots(1, 2)[1])


# ---------------------------------------------------------------------------- calibration
def test_calibration_of_draws_at_hand():
    y = RNG.normal(size=(400, 2))
    draws = np.stack([RNG.normal(size=(400, 99)), 0.5 * RNG.normal(size=(400, 99))], axis=2)
    display = CalibrationDisplay.from_predictions(y, draws, random_state=0)
    coverage, ranks = display.ax_
    at_90 = display.calibration.levels.tolist().index(0.9)
    right, narrow = display.calibration.coverage[at_90]
    assert abs(right - 0.9) < 0.05
    assert abs(narrow - 0.59) < 0.07  # P(|N(0, 1)| < 1.645 / 2)
    mean = coverage.lines[1].get_xydata()
    assert_allclose(mean[at_90 + 1], [0.9, (right + narrow) / 2])
    heights = [bar.get_height() for bar in ranks.patches[1:11]]
    counts = np.histogram(display.calibration.pit, 10, (0, 1))[0]
    assert_allclose(heights, counts / counts.mean())
    assert legend_texts(coverage) == ["mean of 2 outputs", "whole response"]


def test_calibration_of_estimators_and_diagnoses(of_planes):
    draws = of_planes.sample(X[:30], 19, random_state=np.random.default_rng(3))
    found = CalibrationDisplay.from_estimator(of_planes, X[:30], PLANE[:30], 19, random_state=3)
    below = (draws < PLANE[:30, None]).sum(axis=1)
    assert_array_equal(np.floor(found.calibration.pit * 20), below)
    diagnosis = of_planes.diagnose(X[:30], PLANE[:30])
    given = pyplot.subplots(1, 2)[1]
    display = CalibrationDisplay.from_diagnosis(diagnosis, ax=given)
    assert display.calibration is diagnosis.calibration
    assert list(display.ax_) == list(given)
    with pytest.raises(TypeError, match="diagnosis must be what est"):
        CalibrationDisplay.from_diagnosis(diagnosis.calibration)
    with pytest.raises(ValueError, match=r"got \(60, 2\) and \(3, 4\)"):
        CalibrationDisplay.from_predictions(PLANE, np.zeros((3, 4)))


# ---------------------------------------------------------------------------- learning curves
class Counts(RegressorMixin, BaseEstimator):
    """Scores 1 for each pair and .001 for each unpaired response, however often it was fitted."""

    def fit(self, X, y, Y_unpaired=None):
        self.seen_ = len(X) + (0 if Y_unpaired is None else len(Y_unpaired.data) / 1000)
        self.unpaired_ = Y_unpaired
        return self

    def score(self, X, y, sample_weight=None):
        return self.seen_

    def predict(self, X):
        return np.zeros(len(X))

    __metadata_request__fit = {"Y_unpaired": True}  # noqa: RUF012


UNPAIRED = np.arange(200.0)


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)])
def test_the_curve_over_unpaired_responses(wrap, routed):
    with sklearn.config_context(enable_metadata_routing=routed):
        display = UnpairedCurveDisplay.from_estimator(
            wrap(Counts()), X, SCALAR, UNPAIRED, sizes=[200, 0, 50], cv=3, random_state=0
        )
    assert_array_equal(display.sizes, [0, 50, 200])
    assert_allclose(
        display.scores["with unpaired responses"], [[40.0] * 3, [40.05] * 3, [40.2] * 3]
    )
    (line,) = display.ax_.lines
    assert_allclose(line.get_xydata(), [[0, 40], [50, 40.05], [200, 40.2]])
    assert display.ax_.get_xlabel() == "number of unpaired responses"


def test_the_curve_over_pairs():
    display = UnpairedCurveDisplay.from_estimator(
        Counts(), X, SCALAR, UNPAIRED, vary="pairs", cv=2, score_name="rows"
    )
    assert_array_equal(display.sizes, [3, 10, 16, 23, 30])
    both, pairs = display.scores.values()
    assert_allclose(both.mean(axis=1), display.sizes + 0.2)
    assert_allclose(pairs.mean(axis=1), display.sizes)
    assert legend_texts(display.ax_) == ["with unpaired responses", "pairs only"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("number of pairs", "rows")


def test_the_curve_of_scores_at_hand():
    scores = np.array([[1.0, 3.0], [5.0, 5.0]])
    display = UnpairedCurveDisplay.from_scores([10, 0], scores, score_name="skill")
    assert_allclose(display.ax_.lines[0].get_xydata(), [[0, 5], [10, 2]])
    (band,) = bands_of(display.ax_)
    assert_allclose([band[:, 1].min(), band[:, 1].max()], [1, 5])


# ---------------------------------------------------------------------------- errors
def _conditional(*args, **kwargs):
    return lambda: ConditionalSampleDisplay.from_predictions(*args, **kwargs)


def _curve(model=None, **kwargs):
    model = Counts() if model is None else model
    given = {"Y_unpaired": UNPAIRED, **kwargs}
    return lambda: UnpairedCurveDisplay.from_estimator(model, X, SCALAR, **given)


ERRORS = {
    "kind": (_conditional(None, np.zeros((2, 5)), kind="pie"), ValueError, "got 'pie'"),
    "kind of scalars": (
        _conditional(None, np.zeros((2, 5)), kind="curves"),
        ValueError,
        "kind='curves' needs several outputs, but y has 1; use 'fan'",
    ),
    "images": (_conditional(None, np.zeros((2, 5, 4, 4))), ValueError, "use ImageGridDisplay"),
    "x": (_conditional(None, np.zeros((2, 5)), x=[1]), ValueError, "x must hold 2 values, got 1"),
    "y": (_conditional([1.0], np.zeros((2, 5))), ValueError, r"y must have shape \(2, 1\)"),
    "conditions": (_conditional(None, np.zeros((11, 5, 2))), ValueError, "X has 11 rows"),
    "labels": (_conditional(None, np.zeros((2, 5, 2)), labels="a"), ValueError, "got 1"),
    "coverages": (
        _conditional(None, np.zeros((2, 5)), coverages=[1.0]),
        ValueError,
        "coverages must be",
    ),
    "background": (
        _conditional(None, np.zeros((2, 5)), background=PLANE),
        ValueError,
        "kind='scatter' only",
    ),
    "codes": (
        lambda: LatentSpaceDisplay.from_codes(PLANE, CURVES),
        ValueError,
        r"got \(60, 2\) and \(60, 7\)",
    ),
    "vary": (_curve(vary="n"), ValueError, "vary must be 'unpaired' or 'pairs', got 'n'"),
    "sizes": (_curve(sizes=[201]), ValueError, "sizes must be .*there are 200 unpaired responses"),
    "one pair": (_curve(vary="pairs", sizes=[1]), ValueError, "sizes must be between 2 and 48"),
    "no unpaired": (_curve(Y_unpaired=None), ValueError, "Y_unpaired is None"),
    "units": (
        _curve(TransformedTargetRegressor(Counts())),
        TypeError,
        "hands Y_unpaired to its regressor as it is",
    ),
    "name of a scorer": (_curve(scoring="neg_crps"), ValueError, "scoring=sklsdm.scorers.neg_crps"),
    "scores": (
        lambda: UnpairedCurveDisplay.from_scores([1, 2], [1.0]),
        ValueError,
        r"got \(1,\) and \(2,\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_shown(case):
    call, error, message = ERRORS[case]
    open_before = pyplot.get_fignums()  # those of other tests in this process
    with pytest.raises(error, match=message):
        call()
    assert pyplot.get_fignums() == open_before


def test_fans_need_one_column(of_planes):
    est = quick().fit(PLANE, SCALAR)
    with pytest.raises(ValueError, match=r"A fan needs X of shape \(n, 1\).* got \(60, 2\)"):
        ConditionalSampleDisplay.from_estimator(est, PLANE, SCALAR)


@pytest.mark.parametrize("display", [ConditionalSampleDisplay, ImageGridDisplay])
def test_generators_have_no_conditions(display):
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(PLANE)
    with pytest.raises(TypeError, match="LSDMGenerator draws without conditions"):
        display.from_estimator(generator, X)
    with pytest.raises(TypeError, match="pass its data as X and no y"):
        LatentSpaceDisplay.from_estimator(generator, X, PLANE)


# ---------------------------------------------------------------------------- styles
def test_text_and_data_stand_out_from_a_dark_page(of_scalars):
    with pyplot.style.context("dark_background"):
        display = ConditionalSampleDisplay.from_estimator(of_scalars, X, SCALAR)
        sheet = ImageGridDisplay.from_images(np.zeros((2, 1, 4, 4))).ax_.images[0].get_array()
    points = display.ax_.collections[-1]
    assert_allclose(points.get_facecolor()[0, :3], 1)
    assert sheet[48:51].max() < 0.2  # the gap between images is no white bar
