"""Draws of the ONNX file equal those of `sample` for equal noise."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import LAWS_WITH_RULES, plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version
from torch import nn

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressor, SamplingEnsemble, make_sampling_pipeline, onnx
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.draws.drawing import NoiseStream
from sklsdm.matchers import MATCHERS, EnergyMatcher, FlowMatcher, WGANMatcher
from sklsdm.onnx.export import OLDEST_TORCH, graph_of
from sklsdm.randomness import draw_seed

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
if parse_version(torch.__version__) < parse_version(OLDEST_TORCH):
    pytest.skip(f"the export needs torch {OLDEST_TORCH}", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = 3 * np.column_stack([X[:, 0], X[:, 1], X[:, 0] - X[:, 2], X[:, 2]]) + RNG.normal(size=(40, 4))
IMAGES = RNG.integers(0, 256, size=(40, 8, 8)).astype(np.uint8)
# Of the spread of a response: float32 sums in another order, and with 16 passes one after another.
CLOSE = 2e-5


def make(matcher="energy", autoencoder="identity", kind=plain_regressor, **settings):
    est = kind(matcher=matcher, autoencoder=autoencoder, random_state=0, **settings)
    est.set_params(matcher__max_steps=5)
    if "autoencoder__max_epochs" in est.get_params():
        est.set_params(autoencoder__max_epochs=1)
    return est


def noise_of(est, n_rows, seed):
    """The noise that `sample` takes for this seed."""
    dim = sum(est._sampler().noise_dims)
    return NoiseStream(dim, draw_seed(seed), torch.device("cpu")).take(n_rows).numpy()


def largest_difference(est, path, conditions=None, n_samples=3):
    """Between draws of the file and of `sample`, in standard deviations of the responses."""
    onnx.export(est, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for n_rows in (1, 7):
        if conditions is None:
            expected = est.sample(n_rows, random_state=4)
            inputs = {"noise": noise_of(est, n_rows, 4)}
        else:
            some = conditions[:n_rows]
            expected = est.sample(some, n_samples, random_state=4)
            inputs = {
                "X": np.repeat(some, n_samples, axis=0),
                "noise": noise_of(est, n_rows * n_samples, 4),
            }
            expected = expected.reshape(-1, *expected.shape[2:])
        (draws,) = session.run(["draws"], inputs)
        assert draws.shape == expected.shape
        assert draws.dtype == expected.dtype
        scale = est._response_format_.standardiser.scale.max()
        worst = max(worst, float(np.abs(draws - expected).max() / scale))
    return worst


@pytest.mark.slow
def test_a_file_draws_as_sample_does(tmp_path):
    """A mixture: its triangular systems are translated by us."""
    est = make("mdn", y_range=(Y.min(), None), condition_encoder="flatten").fit(X, Y)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["sklsdm"])
    assert facts == {
        "version": sklsdm.__version__,
        "estimator": "LSDMRegressor",
        "matcher": "MDNMatcher",
        "autoencoder": "IdentityAutoencoder",
        "latent_dim": 4,
        "noise_shape": [None, 5],
        "y_shape": [4],
        "feature_names": None,
        "target_names": None,
    }
    assert [each.name for each in session.get_inputs()] == ["X", "noise"]
    assert [each.shape[1:] for each in session.get_inputs()] == [[3], [5]]
    assert all(isinstance(each.shape[0], str) for each in session.get_inputs())


# ------------------------------------------------------------------ without the exporter
@pytest.mark.parametrize(
    ("matcher", "settings"),
    [
        ("mdn", {"y_range": (Y.min(), None), "condition_encoder": "flatten"}),
        ("transport", {}),
        ("diffusion", {"condition_encoder": sklsdm.encoders.PeriodicConditionEncoder([3.0, 9.0])}),
        ("energy", {"autoencoder": "dpa", "latent_dim": 2}),
    ],
)
def test_the_graph_that_is_written_draws_as_sample_does(matcher, settings):
    if matcher == "transport":
        pytest.importorskip("ot")
    est = make(**{"matcher": matcher, **settings}).fit(X, Y)
    graph, (conditions, noise) = graph_of(est)
    assert conditions.shape[1:] == (3,)
    noise = torch.from_numpy(noise_of(est, 40, 4))
    with torch.no_grad():
        draws = graph(torch.from_numpy(X), noise).numpy()
    assert_allclose(draws, est.sample(X, random_state=4)[:, 0], rtol=0, atol=CLOSE * 4)


def test_the_estimator_stays_as_it_was():
    pytest.importorskip("ot")
    est = make("transport").fit(X, Y)
    before = est.sample(X, random_state=0)
    graph_of(est)
    assert type(est.matcher_.network_).__name__ == "PotentialGenerator"
    assert all(p.requires_grad for p in est.matcher_.network_.mlp.parameters())
    assert_array_equal(est.sample(X, random_state=0), before)


# ------------------------------------------------------------------ every part, slowly
@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS_WITH_RULES)
def test_rules_that_draws_keep(tmp_path, law):
    y = LAWS_WITH_RULES[law]
    conditions = np.random.default_rng(0).normal(size=(len(y), 3)).astype(np.float32)
    if y.ndim == 2:
        est = make("mdn", condition_encoder="flatten")
    else:
        est = make("energy", "pca", latent_dim=3)
    est.fit(conditions, y)
    assert est._response_format_.rules
    assert largest_difference(est, tmp_path / "a.onnx", conditions, 20) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("autoencoder", ["identity", "vae"])
@pytest.mark.parametrize("matcher", MATCHERS)
def test_every_matcher(tmp_path, matcher, autoencoder):
    if matcher == "transport":
        pytest.importorskip("ot")
    latent_dim = "auto" if autoencoder == "identity" else 2
    est = make(matcher, autoencoder, latent_dim=latent_dim).fit(X, Y)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("autoencoder", sorted(set(AUTOENCODERS) - {"auto", "identity", "vae"}))
def test_every_latent_space(tmp_path, autoencoder):
    if autoencoder == "feature-map":
        for matcher in (FlowMatcher(n_steps=2, channels=8), WGANMatcher(channels=8)):
            est = make(matcher, autoencoder, latent_dim="auto").fit(X, IMAGES)
            assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE
        return
    est = make("energy", autoencoder, latent_dim=3)
    est.fit(X, IMAGES)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("matcher", "settings"),
    [
        *(("diffusion", {"sampler": sampler}) for sampler in ("ancestral", "ddim", "heun")),
        *(("flow", {"sampler": sampler}) for sampler in ("euler", "heun")),
        ("flow", {"distil": True}),
        ("transport", {"solver": "dual", "cost": "l1"}),
        ("transport", {"solver": "map"}),
        ("mdn", {"covariance": "diagonal"}),
    ],
)
def test_every_way_to_draw(tmp_path, matcher, settings):
    if matcher == "transport":
        pytest.importorskip("ot")
    est = make(matcher).set_params(**{f"matcher__{k}": v for k, v in settings.items()}).fit(X, Y)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conditions", "settings"),
    [
        (X, {"condition_encoder": sklsdm.encoders.PeriodicConditionEncoder([3.0, 9.0])}),
        (X, {"condition_encoder": "lasso"}),
        (RNG.normal(size=(40, 2, 9, 8)).astype(np.float32), {"condition_encoder": "conv"}),
        (RNG.normal(size=(40, 2, 9, 8)).astype(np.float32), {}),
        (np.ones((40, 2), dtype=np.float32), {}),
        (3 + 2 * X, {"scale_X": False}),
    ],
    ids=["periodic", "lasso", "conv", "flat images", "constant", "unscaled"],
)
def test_every_kind_of_condition(tmp_path, conditions, settings):
    est = make(**settings).fit(conditions, Y)
    assert largest_difference(est, tmp_path / "a.onnx", conditions) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("y", [Y[:, 0], Y.astype(np.float32), np.round(Y).astype(int)])
def test_units_and_dtypes_of_y(tmp_path, y):
    est = make().fit(X, y)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE


@pytest.mark.slow
def test_a_generator_has_no_conditions(tmp_path):
    est = make(kind=LSDMGenerator).fit(Y)
    assert largest_difference(est, tmp_path / "a.onnx") < CLOSE


@pytest.mark.slow
def test_modules_of_users(tmp_path):
    pair = (nn.Linear(4, 2).eval(), nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 4)))
    est = make(autoencoder=(pair[0], pair[1].eval())).fit(X, Y)
    assert largest_difference(est, tmp_path / "a.onnx", X) < CLOSE


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    page = Path(sklsdm.__file__).parents[1] / "docs" / "saving.md"
    (block,) = re.findall(r"^```py\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    arms = sklsdm.datasets.make_arms(60, random_state=0)
    est = make().fit(arms.X, arms.y)
    exec(compile(block, str(page), "exec"), {"sklsdm": sklsdm, "arms": arms, "est": est})
    assert "(300, 2)" in capsys.readouterr().out


# ------------------------------------------------------------------ what is refused
class Breaks(nn.Module):
    """A decoder whose way depends on the values, which no exporter follows."""

    def forward(self, codes):
        return codes if codes.sum().item() > 0 else codes + 0


@pytest.mark.slow
def test_a_module_that_cannot_be_exported_is_named(tmp_path):
    est = make(autoencoder=(nn.Identity().eval(), Breaks().eval())).fit(X, Y)
    with pytest.raises(TypeError, match=r"autoencoder=.*cannot be exported.*Fit with another auto"):
        onnx.export(est, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


class Branching(EnergyMatcher):
    """A matcher of a user's that no exporter follows."""

    def _draw(self, module, condition, noise):
        drawn = module(condition, noise)
        return drawn if drawn.sum().item() > 0 else drawn + 0


@pytest.mark.slow
def test_a_matcher_that_cannot_be_exported_is_named(tmp_path):
    est = plain_regressor(matcher=Branching(max_steps=5)).fit(X, Y)
    with pytest.raises(TypeError, match=r"matcher=Branching.*cannot be exported"):
        onnx.export(est, tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_sampling_pipeline(StandardScaler(), make()), r"export its last step.*model\[-1\]"),
        (SamplingEnsemble(make(), n_estimators=1), "export each of its estimators_"),
        (make(autoencoder=PCA(2)), "autoencoder=PCA is no torch module.*'pca'"),
        (make(condition_encoder="trees"), "condition_encoder=Trees.*no form in ONNX.*'flatten'"),
        (PCA(2), "LSDMRegressor or LSDMGenerator, got PCA"),
    ],
    ids=["pipeline", "ensemble", "transformer", "trees", "foreign"],
)
def test_refusals_name_the_part(tmp_path, small_forests, model, message):
    fitted = model.fit(X, Y)
    with pytest.raises(TypeError, match=message):
        onnx.export(fitted, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_unfitted(tmp_path):
    with pytest.raises(NotFittedError):
        onnx.export(LSDMRegressor(), tmp_path / "a.onnx")


def test_an_old_torch_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(ImportError, match=r"needs torch 2.13 or later.*got 2.9.1"):
        onnx.export(LSDMRegressor(), tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{name}.*pip install 'sklsdm\[onnx\]'"):
        onnx.export(LSDMRegressor(), tmp_path / "a.onnx")
