"""`diagnose`: what it judges of good and bad fits, and that its tests keep their level."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ALL_MATCHERS, ONE_FIT, plain_regressor, slow_but, small
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest
from sklearn.decomposition import FastICA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressor, LSDMRegressorCV, SamplingEnsemble, Unpaired
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.autoencoders.base import BaseAutoencoder
from sklsdm.datasets import make_arms, make_pinwheel
from sklsdm.diagnosis import Evidence, judge_calibration, judge_following
from sklsdm.diagnosis.base import condense
from sklsdm.diagnosis.calibration import mean_distances, transforms
from sklsdm.diagnosis.risk import joint, risk_bound, root_mean_square, wasserstein
from sklsdm.modules import MLPCoder
from sklsdm.shift import shift_between

ARMS = make_arms(1000, random_state=0)
TINY = {"matcher__max_steps": 10, "matcher__n_steps": 4, "autoencoder__max_epochs": 1}


def tiny(**params):
    est = plain_regressor(random_state=0, **{"matcher": "energy", **params})
    known = est.get_params()
    return est.set_params(**{name: value for name, value in TINY.items() if name in known})


pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")


class Drawing(LSDMRegressor):
    """Draws are those of `law(X, rng)` in place of the fitted ones."""

    def sample(self, X, n_samples=1, *, random_state=None, **kwargs):
        rng = np.random.default_rng(random_state)
        draws = [self.law(np.asarray(X), rng) for _ in range(n_samples)]
        return np.stack(draws, axis=1)


def short(kind):
    est = kind(matcher="energy", condition_encoder="flatten", unpaired="none", random_state=0)
    return small(est).set_params(matcher__max_steps=5, **ONE_FIT)


def drawing(law, X, y):
    """An estimator that draws by `law`, whatever it was fitted on."""
    est = short(Drawing).fit(X, y)
    est.law = law
    return est


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """15 trees in place of 100; the tests that are about the classifier's power say more."""
    monkeypatch.setattr("sklsdm.metrics.classifier.N_TREES", 15)


def evidence(X, y, draws, reference=None, seed=0):
    """Pairs with draws (n, m, q) as the judgements see them that need no latent space."""
    condition = (X - X.mean(axis=0)) / X.std(axis=0)
    return Evidence(np.arange(len(X)), X, condition, condition, y, draws, reference, [], None, seed)


# ------------------------------------------------------------------ the risk bound
def random_decoder(rng, k, q):
    """An autoencoder with random weights, as far as a decoder and its slope need it."""
    coder = MLPCoder(q, k, (8, 8), "silu", torch.Generator().manual_seed(int(rng.integers(2**31))))
    with torch.no_grad():
        for weight in coder.parameters():
            weight.copy_(torch.as_tensor(rng.normal(size=weight.shape) * rng.uniform(0.1, 2)))
    found = BaseAutoencoder.__new__(type("Any", (BaseAutoencoder,), {"_fit_coder": None}))
    found.coder_, found.decoder_noise_dim_ = coder, 0
    return found


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    p=st.integers(1, 3),
    k=st.integers(1, 4),
    extra=st.integers(0, 4),
    same_x=st.booleans(),
)
def test_the_bound_holds_for_every_decoder_encoder_and_generator(seed, n, p, k, extra, same_x):
    """Exact optimal transport between empirical laws; all three maps are arbitrary."""
    rng = np.random.default_rng(seed)
    q = k + extra
    decoder = random_decoder(rng, k, q)
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q)) * rng.uniform(0.1, 10)
    drawn_x = x if same_x else rng.normal(size=(n, p))
    codes = rng.normal(size=(n, k)) * rng.uniform(0.1, 10)  # of any encoder
    drawn_codes = rng.normal(size=(n, k)) * rng.uniform(0.1, 10)  # of any generator

    def decode(latent):
        return decoder.decode(torch.as_tensor(latent, dtype=torch.float32)).numpy()

    error = root_mean_square(y - decode(codes)).mean()
    lipschitz = decoder.decoder_slope(torch.ones(k)) * k**0.5
    latent = wasserstein(joint(drawn_x, drawn_codes), joint(x, codes))
    bound = risk_bound(error, latent, lipschitz)
    found = wasserstein(joint(drawn_x, decode(drawn_codes)), joint(x, y))
    assert found <= bound * (1 + 1e-5) + 1e-5


def test_wasserstein_is_that_of_pot():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) + 1
    weights = np.full(30, 1 / 30)
    assert_allclose(wasserstein(a, b), ot.emd2(weights, weights, ot.dist(a, b, "euclidean")))


@pytest.mark.slow
def test_errors_of_stage_1_show_and_are_named():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.column_stack([X, rng.normal(size=(300, 4))]) @ rng.normal(size=(6, 12))
    est = tiny(latent_dim=2, autoencoder="pca").set_params(matcher__max_steps=200)
    drawn_again = est.fit(X[:200], y[:200]).diagnose(X[200:], y[200:]).risk
    est.set_params(autoencoder__residuals=False)
    found = est.fit(X[:200], y[:200]).diagnose(X[200:], y[200:])
    assert found.risk.stage_1 > 0.3
    assert drawn_again.stage_1 < 0.2
    assert found.weak_stage == 1
    assert "raise latent_dim (now 2, for 12 outputs)" in " ".join(found.advice).lower()
    # PCA's decoder is linear: its slope is the same everywhere, and the bound is that slope.
    assert_allclose(found.risk.local_slopes, found.risk.lipschitz, rtol=1e-3)
    assert found.risk.output_distance <= found.risk.bound


def test_without_a_known_slope_there_is_no_bound():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 2)), rng.laplace(size=(120, 4))
    risk = tiny(autoencoder=FastICA(4)).fit(X, y).diagnose(X, y).risk
    assert risk.lipschitz is None
    assert risk.bound is None
    assert risk.local_slope > 0
    assert "no bound known" in "\n".join(risk.lines())


# ------------------------------------------------------------------ calibration
def test_transforms_are_uniform_also_with_ties():
    rng = np.random.default_rng(0)
    y, draws = rng.integers(3, size=(20_000, 1)), rng.integers(3, size=(20_000, 19, 1))
    counts = np.histogram(transforms(y, draws, rng), bins=10, range=(0, 1))[0]
    assert np.abs(counts / 20_000 - 0.1).max() < 0.01


def test_mean_distances_by_hand():
    y, draws = np.zeros((1, 2)), np.array([[[3.0, 4.0], [0.0, 0.0]]])
    assert_allclose(mean_distances(y, draws), [[2.5, 5.0, 2.5]])


@pytest.mark.parametrize(
    ("factor", "shift", "fault"),
    [(1, 0, None), (0.6, 0, "narrow"), (1.6, 0, "wide"), (1, 0.5, "biased")],
)
def test_faults_of_calibration_are_named(factor, shift, fault):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 1))
    y, draws = (
        X + rng.normal(size=(500, 1)),
        X[:, None] + shift + factor * rng.normal(size=(500, 99, 1)),
    )
    found = judge_calibration(evidence(X, y, draws))
    assert found.fault() == fault
    if fault in ("narrow", "wide"):
        below = found.coverage < found.levels[:, None]
        assert below.all() == (fault == "narrow")
    if fault is None:
        assert np.abs(found.joint_coverage - found.levels).max() < 0.07


# ------------------------------------------------------------------ does the law follow x?
@pytest.mark.slow
def test_the_true_law_is_not_accused():
    """Three judgements of six samples, each with tests at the level 1 %."""
    n_false = 0
    for seed in range(6):
        arms = make_arms(200, random_state=seed)
        found = evidence(arms.X, arms.y, arms.sample(arms.X, 19, random_state=seed), seed=seed)
        following = judge_following(found)
        assert following.verdict == "followed"
        n_false += (not following.is_right) + (judge_calibration(found).fault() is not None)
        other = make_arms(300, random_state=100 + seed).y
        n_false += shift_between(arms.y, other, np.random.default_rng(seed)).is_clear
    assert binomtest(n_false, 18, 0.02).pvalue > 1e-3


@pytest.mark.slow
def test_a_pinwheel_whose_draws_ignore_x_is_seen(monkeypatch):
    """Coverage and neighbours do not see it: mean and spread are right at every x."""
    monkeypatch.setattr("sklsdm.metrics.classifier.N_TREES", 50)
    wheel, other = make_pinwheel(1000, random_state=0), make_pinwheel(4000, random_state=1)
    draws = other.y[np.random.default_rng(0).integers(4000, size=(1000, 19))]
    found = evidence(wheel.X, wheel.y, draws)
    assert judge_calibration(found).fault() is None
    following = judge_following(found)
    assert following.verdict == "ignored"
    assert following.law.p_value < 1e-6
    truth = evidence(wheel.X, wheel.y, wheel.sample(wheel.X, 19, random_state=2))
    assert judge_following(truth).verdict == "followed"


@pytest.mark.slow
def test_advice_where_draws_ignore_x():
    X, y = ARMS.X[:200], ARMS.y[:200]
    est = drawing(lambda X, rng: y[rng.integers(200, size=len(X))], X, y)
    found = est.diagnose(ARMS.X[500:900], ARMS.y[500:900])
    assert found.following.verdict == "ignored"
    assert found.weak_stage == 2
    assert "the draws ignore x" in found.advice[0]
    assert "periodic" in found.advice[0]
    assert found.memorisation.found


class Ignorant(Drawing):
    """Draws that ignore x, also of a clone."""

    @staticmethod
    def law(X, rng):
        return ARMS.y[rng.integers(200, size=len(X))]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda est: SamplingEnsemble(est, 2, random_state=0),
        lambda est: SamplingEnsemble(sklsdm.make_sampling_pipeline(est), 2, random_state=0),
        lambda est: LSDMRegressorCV(
            est, n_estimators=1, cv=2, candidates={"matcher__max_steps": [5]}, random_state=0
        ),
    ],
    ids=["ensemble", "ensemble of pipelines", "search"],
)
def test_advice_for_pooled_fits_names_what_their_model_takes(wrap):
    model = wrap(short(Ignorant))
    found = model.fit(ARMS.X[:200], ARMS.y[:200]).diagnose(ARMS.X[500:700], ARMS.y[500:700])
    assert f"Diagnosis of {type(model).__name__}" in str(found)
    text = " ".join(found.advice)
    named = set(re.findall(r"\b(\w+)='|\b(\w+__\w+)", text))
    assert named
    assert {first or second for first, second in named} <= set(model.get_params())
    assert "SamplingEnsemble" not in text
    assert ("`candidates`" in text) is isinstance(model, LSDMRegressorCV)


def test_the_worst_conditions_are_named():
    """Draws are wrong where x > 0 alone."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, size=(400, 1)), rng.normal(size=(400, 1))
    draws = rng.normal(size=(400, 8, 1)) * np.where(X > 0, 0.2, 1.0)[:, None]
    found = judge_following(evidence(X, y, draws))
    assert found.verdict == "unseen"
    assert not found.is_right
    assert (X[found.worst_rows] > 0).all()
    assert_array_equal(found.worst_X, X[found.worst_rows])
    assert f"row {found.worst_rows[0]}, x = (" in "\n".join(found.lines())


# ------------------------------------------------------------------ memorisation and modes
def test_copies_of_training_responses_are_found():
    X, y = ARMS.X[:200], ARMS.y[:200]

    def nearest_response(X_new, rng):
        distance = np.abs(X_new[:, None] - X[None]).sum(axis=2)
        return y[
            np.argsort(distance, axis=1)[np.arange(len(X_new)), rng.integers(3, size=len(X_new))]
        ]

    found = drawing(nearest_response, X, y).diagnose(ARMS.X[500:700], ARMS.y[500:700])
    assert found.memorisation.found
    assert found.memorisation.share_close == 1
    assert "nearer to the training responses" in " ".join(found.advice)


def test_a_missing_mode_is_found():
    rng = np.random.default_rng(0)
    X, side = rng.normal(size=(300, 1)), rng.integers(4, size=300)
    y = side + 0.05 * rng.normal(size=300)
    est = drawing(
        lambda X, rng: rng.integers(3, size=len(X)) + 0.05 * rng.normal(size=len(X)), X, y
    )
    found = est.diagnose(X, y).modes
    assert found.missing
    assert (side[found.uncovered_rows] == 3).mean() > 0.8


def test_pairs_of_the_fit_are_noticed():
    est = tiny().fit(ARMS.X[:100], ARMS.y[:100])
    with pytest.warns(UserWarning, match="100% of these .* all judgements are too favourable"):
        found = est.diagnose(ARMS.X[:100], ARMS.y[:100])
    assert found.share_seen == 1
    assert "has not seen" in found.advice[0]


def test_without_reference_memorisation_is_not_judged():
    found = tiny(store_reference=False).fit(ARMS.X, ARMS.y).diagnose(ARMS.X[:60], ARMS.y[:60])
    assert found.memorisation is None
    assert found.calibration.skill is None
    assert "store_reference=False" in str(found)


# ------------------------------------------------------------------ unpaired responses
@pytest.mark.slow
def test_unpaired_responses_of_another_law_are_found():
    est = tiny().fit(ARMS.X[:100], ARMS.y[:100])
    X, y = ARMS.X[100:300], ARMS.y[100:300]
    same = est.diagnose(X, y, Unpaired(ARMS.y[600:]))
    other = est.diagnose(X, y, ARMS.y[600:] + 1)
    assert not same.shift.is_clear
    assert other.shift.is_clear
    assert "unpaired='none'" in " ".join(other.advice)
    assert "Unpaired responses" in str(same)


def test_order_of_the_pairs_is_no_shift_and_rows_are_those_passed_in(monkeypatch):
    """More pairs and more responses than are looked at."""
    monkeypatch.setattr("sklsdm.diagnosing.MAX_PAIRS", 200)
    monkeypatch.setattr("sklsdm.diagnosing.MAX_ROWS", 200)
    arms = make_arms(700, random_state=1)
    est = tiny().fit(arms.X[:100], arms.y[:100])
    rows = 100 + arms.y[100:400, 0].argsort()
    other = arms.y[400:].copy()
    assert not est.diagnose(arms.X[rows], arms.y[rows], other).shift.is_clear
    other[250:] += 10
    shift = est.diagnose(arms.X[rows], arms.y[rows], other).shift
    assert shift.is_clear
    assert min(shift.examples) >= 250


# ------------------------------------------------------------------ the report
PARTS = [("energy", name) for name in AUTOENCODERS if name not in ("auto", "conv", "feature-map")]


def check_report(found, n_pairs):
    assert found.n_pairs == n_pairs
    as_text = json.dumps(found.to_dict(), allow_nan=False)
    read = json.loads(as_text)
    assert read["calibration"]["levels"] == found.calibration.levels.tolist()
    assert read["calibration"]["fault"] == found.calibration.fault()
    assert read["calibration"]["p_value"] == found.calibration.p_value
    assert read["following"]["verdict"] == found.following.verdict
    assert read["following"]["is_right"] == found.following.is_right
    assert read["modes"]["missing"] == found.modes.missing
    assert read["memorisation"]["found"] == found.memorisation.found
    assert read["weak_stage"] == found.weak_stage
    if found.shift is not None:
        assert read["shift"]["is_clear"] == found.shift.is_clear
    page = str(found)
    assert page.index("Calibration") < page.index("Advice")
    assert max(map(len, page.splitlines())) <= 105
    assert found.risk.stage_1 >= 0
    if found.risk.lipschitz is not None:
        assert found.risk.local_slopes.max() <= found.risk.lipschitz * 1.02


@ALL_MATCHERS
def test_every_matcher(matcher):
    est = tiny(matcher=matcher).fit(ARMS.X[:60], ARMS.y[:60])
    check_report(est.diagnose(ARMS.X[60:90], ARMS.y[60:90]), 30)


@pytest.mark.parametrize("name", [name for _, name in PARTS])
def test_every_autoencoder(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = X @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(90, 5))
    latent_dim = "auto" if name == "identity" else 3
    est = tiny(autoencoder=name, latent_dim=latent_dim).fit(X[:60], y[:60])
    found = est.diagnose(X[60:], y[60:])
    check_report(found, 30)
    assert found.risk.stochastic_decoder == (name in ("dpa", "mlp", "pca", "auto"))


@pytest.mark.parametrize("name", slow_but(("auto", "conv"), ["auto", "conv", "feature-map"]))
def test_images_given_images_and_labels(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=90)
    y = rng.integers(0, 80, size=(90, 8, 8)).astype(np.uint8) + (60 * labels[:, None, None]).astype(
        np.uint8
    )
    est = tiny(autoencoder=name, matcher="energy" if name != "feature-map" else "flow")
    found = est.fit(labels[:60, None], y[:60]).diagnose(labels[60:, None], y[60:], y[:60])
    check_report(found, 30)
    if name == "auto":
        X = (y / 255.0)[:, None]
        est = tiny(condition_encoder="auto").fit(X[:60], y[:60])
        check_report(est.diagnose(X[60:], y[60:]), 30)


@pytest.mark.usefixtures("small_forests")
def test_numbers_tables_with_gaps_and_wrappers():
    X, y = ARMS.X[:300].copy(), ARMS.y[:300, 0]
    X[::7, 0] = np.nan
    est = tiny(condition_encoder="trees")
    check_report(est.fit(X[:100], y[:100]).diagnose(X[100:140], y[100:140]), 40)
    X = ARMS.X
    pipe = make_pipeline(StandardScaler(), tiny()).fit(X[:100], y[:100])
    alone = sklsdm.diagnose(pipe, X[100:140], y[100:140])
    scaled = pipe[:-1].transform(X[100:140])
    assert str(alone) == str(pipe[-1].diagnose(scaled, y[100:140]))
    sampling = sklsdm.make_sampling_pipeline(StandardScaler(), tiny())
    ensemble = SamplingEnsemble(sampling, n_estimators=2, random_state=0).fit(X[:100], y[:100])
    found = ensemble.diagnose(X[100:140], y[100:140])
    check_report(found, 40)
    assert found.settings.n_fits == 2
    assert "2 fits pooled" in str(found)
    sampling.fit(X[:100], y[:100])
    check_report(sampling.diagnose(X[100:140], y[100:140]), 40)


def test_the_same_seed_gives_the_same_page_and_nothing_else_is_touched():
    est = tiny().fit(ARMS.X[:100], ARMS.y[:100])
    before = est.sample(ARMS.X[:5], 2, random_state=0)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, second = (est.diagnose(ARMS.X[100:150], ARMS.y[100:150]) for _ in range(2))
    assert str(first) == str(second)
    assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(est.sample(ARMS.X[:5], 2, random_state=0), before)


def test_memory_is_bounded_for_wide_responses():
    """More responses than the bound on numbers allows: fewer draws, then fewer pairs."""
    from sklsdm import diagnosing

    class Wide:
        class _response_format_:
            width = 200_000

        def _sampler(self):
            return type("Sampler", (), {"n_passes": 1})

    n_pairs, n_draws = diagnosing._sizes(5000, Wide())
    assert (n_pairs, n_draws) == (24, 19)
    Wide._response_format_.width = 500
    n_pairs, n_draws = diagnosing._sizes(5000, Wide())
    assert n_pairs * n_draws * 500 <= 2**24


def test_bad_input():
    est = tiny().fit(ARMS.X[:60], ARMS.y[:60])
    with pytest.raises(ValueError, match="at least 24"):
        est.diagnose(ARMS.X[:10], ARMS.y[:10])
    with pytest.raises(ValueError, match="same number of rows"):
        est.diagnose(ARMS.X[:30], ARMS.y[:40])
    with pytest.raises(ValueError, match="y must have shape"):
        est.diagnose(ARMS.X[:30], ARMS.y[:30, 0])
    with pytest.raises(ValueError, match="Y_unpaired must have shape"):
        est.diagnose(ARMS.X[:30], ARMS.y[:30], ARMS.y[:30, 0])
    named = tiny().fit(ARMS.X[:60], pd.DataFrame(ARMS.y[:60], columns=["a", "b"]))
    swapped = pd.DataFrame(ARMS.y[:30], columns=["b", "a"])
    with pytest.raises(ValueError, match="Y_unpaired"):
        named.diagnose(ARMS.X[:30], swapped[["a", "b"]], swapped)
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(ARMS.y[:60])
    with pytest.raises(TypeError, match="LSDMGenerator draws without conditions"):
        sklsdm.diagnose(generator, ARMS.X[:30], ARMS.y[:30])


def test_wide_responses_are_condensed_alike_in_any_order():
    """Rows that are sorted have other directions of spread at their end than at their start."""
    random = np.random.default_rng(0)
    first, last = np.zeros((2, 3000, 40))
    first[:, 0], last[:, 1] = random.normal(size=(2, 3000))
    (found,) = condense(np.concatenate([first, last]) + 0.01 * random.normal(size=(6000, 40)))
    assert found[:3000].std(axis=0).max() == pytest.approx(1, abs=0.1)
    assert found[3000:].std(axis=0).max() == pytest.approx(1, abs=0.1)
