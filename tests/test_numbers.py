"""Numbers at the ends of what float32 and float64 hold, names of responses, memory."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal

from sklsdm import LSDMGenerator, SamplingEnsemble, Unpaired
from sklsdm.draws import memory
from sklsdm.inputs.standardising import fit_standardiser

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
SIGN = np.where(RNG.random(60) < 0.5, -1.0, 1.0)
Y = np.column_stack([X[:, 0] + RNG.normal(size=60), SIGN])
NAMED = pd.DataFrame(Y, columns=["height", "side"])
SWAPPED = NAMED[["side", "height"]]
BOTH = [pd.DataFrame, lambda table: pl.DataFrame(table.to_dict("list"))]


def quick(**params):
    est = plain_regressor(matcher="energy", random_state=0, validation_fraction=0.0)
    return est.set_params(matcher__max_steps=20, **params)


@pytest.fixture(scope="module")
def trained():
    return quick().fit(X, Y)


# ------------------------------------------------------------------ what can be standardised
@pytest.mark.parametrize(("shift", "factor"), [(1.7e12, 1.0), (0.0, 1e-100), (-1e9, 1e140)])
def test_draws_follow_responses_of_any_size(shift, factor):
    """The draws are those for y near 1, moved and scaled: no digit is lost on the way."""
    near = quick().fit(X, SIGN).sample(X, 20, random_state=0)
    far = quick().fit(X, shift + factor * SIGN).sample(X, 20, random_state=0)
    assert_allclose((far - shift) / factor, near, atol=2e-3)


def test_conditions_far_from_zero_are_read():
    near, far = (quick().fit(shift + X, SIGN) for shift in (0.0, 1.7e12))
    assert_allclose(far.predict(1.7e12 + X), near.predict(X), atol=2e-3)


@pytest.mark.parametrize("factor", [1e-158, 1e-200, 1e-300])
def test_responses_whose_squares_are_zero_are_no_constants(factor):
    est = quick().fit(factor * X, factor * Y[:, 0])
    near = quick().fit(X, Y[:, 0])
    found = est.sample(factor * X, 50, random_state=0) / factor
    assert_allclose(found.std(axis=1), near.sample(X, 50, random_state=0).std(axis=1), rtol=0.2)
    assert est.score(factor * X, factor * Y[:, 0]) == pytest.approx(near.score(X, Y[:, 0]), abs=0.1)


def test_constants_are_found_whatever_their_rounding():
    values = np.column_stack([np.full(30_000, 0.1), np.full(30_000, 0.1), RNG.normal(size=30_000)])
    values[::2, 1] = 0.3 - 0.2  # another rounding of the same number
    found = fit_standardiser(iter(np.array_split(values, 7)))
    assert_array_equal(found.constant, [True, True, False])
    shared = fit_standardiser(iter([np.full((9, 4), 1 / 3)]), n_channels=1)
    assert shared.constant.all()


def test_single_precision_is_left_where_it_would_overflow():
    small, large = (quick().fit(X, (size * Y).astype(np.float32)) for size in (1.0, 1e37))
    assert small.sample(X).dtype == np.float32
    draws = large.sample(X, 20, random_state=0)
    assert draws.dtype == np.float64
    assert np.isfinite(draws).all()


# ------------------------------------------------------------------ what cannot
FAR = 1e39
TOO_FAR = {
    **{
        method: (lambda e, method=method: getattr(e, method)(FAR * X), "X")
        for method in ("sample", "sample_latent", "predict", "predict_quantiles")
    },
    "predict_interval": (lambda e: e.predict_interval(-FAR * X), "X"),
    "score": (lambda e: e.score(FAR * X, Y), "X"),
    "encode": (lambda e: e.encode(FAR * Y), "Y"),
    "reconstruct": (lambda e: e.reconstruct(FAR * Y), "Y"),
    "decode": (lambda e: e.decode(FAR * Y), "Z"),
}


@pytest.mark.parametrize("call", TOO_FAR)
def test_what_single_precision_cannot_hold_is_refused(call, trained):
    run, name = TOO_FAR[call]
    with pytest.raises(ValueError, match=rf"Row \d of {name} is so far .*float32"):
        run(trained)


def test_draws_that_overflow_in_the_network_are_refused(trained):
    """3e38 has a value in float32, but its products with weights have none."""
    far = np.where(np.arange(60)[:, None] == 3, 3e38, X)
    with pytest.raises(ValueError, match=r"Row 3 of X gives a draw that is not finite"):
        trained.sample(far, 2, random_state=0)
    with pytest.raises(ValueError, match=r"Row 3 of X gives a mean or .* that is not finite"):
        trained.predict(far)


HUGE = np.where(np.arange(60)[:, None] == 5, 1e300, Y)


@pytest.mark.parametrize(
    ("fit", "name"),
    [
        (lambda: quick().fit(X, HUGE), "y"),
        (lambda: quick().fit(HUGE, Y), "X"),
        (lambda: quick().fit(X, Y, HUGE), "Y_unpaired"),
        (lambda: quick().fit(X, Y, X_val=X, y_val=HUGE), "y_val"),
        (lambda: LSDMGenerator().fit(HUGE), "X"),
    ],
    ids=["y", "X", "Y_unpaired", "y_val", "generator"],
)
def test_numbers_whose_squares_overflow_are_named(fit, name):
    message = rf"Input {name} contains numbers as large as 1e\+300, first in row 5"
    with pytest.raises(ValueError, match=message):
        fit()


def test_weights_are_relative(trained):
    weights = RNG.random(60)
    usual = trained.score(X, Y, weights)
    assert_allclose(trained.score(X, Y, 1e149 * weights), usual, rtol=1e-12)
    with pytest.raises(ValueError, match="sample_weight contains numbers as large as"):
        trained.score(X, Y, np.full(60, 1e308))


def test_a_narrow_out_holds_what_fits(trained):
    narrow = np.empty((60, 3, 2), np.float16)
    assert trained.sample(X, 3, random_state=0, out=narrow) is narrow
    assert_allclose(narrow, trained.sample(X, 3, random_state=0), rtol=1e-3)
    wide = quick().fit(X, 1e6 * Y)
    message = r"out has dtype float16, whose largest number is 6\.55e\+04"
    for model in (wide, SamplingEnsemble(quick(), n_estimators=2).fit(X, 1e6 * Y)):
        with pytest.raises(ValueError, match=message):
            model.sample(X, 3, out=narrow)
    narrow.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        trained.sample(X, 3, out=narrow)


# ------------------------------------------------------------------ names of responses
@pytest.mark.parametrize("as_table", BOTH, ids=["pandas", "polars"])
def test_responses_keep_their_names(as_table):
    table, swapped = as_table(NAMED), as_table(SWAPPED)
    est = quick().fit(X, table, table, X_val=X, y_val=table)
    assert est.target_names_in_.tolist() == ["height", "side"]
    assert_array_equal(est.encode(table), est.encode(Y))
    other_order = r"columns \['side', 'height'\], but y had columns \['height', 'side'\]"
    for name, call in {
        "Y_unpaired": lambda: est.fit(X, table, swapped),
        "y_val": lambda: est.fit(X, table, X_val=X, y_val=swapped),
        "y": lambda: est.score(X, swapped),
        "Y": lambda: est.encode(swapped),
    }.items():
        with pytest.raises(ValueError, match=f"{name} has {other_order}.*another order"):
            call()
    with pytest.raises(ValueError, match=f"Y_unpaired has {other_order}"):
        est.fit(X, table, Unpaired(swapped))
    with pytest.raises(ValueError, match=r"\['height', 'area'\].*Pass the same columns"):
        est.score(X, as_table(NAMED.rename(columns={"side": "area"})))
    assert not hasattr(est.fit(X, Y), "target_names_in_")


def test_a_generator_knows_the_columns_of_its_data():
    model = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=5)
    model.fit(NAMED)
    with pytest.raises(ValueError, match=r"Y has columns \['side', 'height'\]"):
        model.reconstruct(SWAPPED)


# ------------------------------------------------------------------ noise and memory
@pytest.mark.slow
def test_more_noise_than_a_sobol_sequence_has():
    est = quick().set_params(matcher__noise_dim=21_300, matcher__widths=[4]).fit(X, Y)
    mean, std = est.predict(X[:3], return_std=True, n_draws=64)
    draws = est.sample(X[:3], 400, random_state=0)
    assert_array_equal(est.predict(X[:2], n_draws=64), mean[:2])  # the same noise for all rows
    assert_allclose(mean, draws.mean(axis=1), atol=0.4)
    assert_allclose(std, draws.std(axis=1), rtol=0.4)


@pytest.fixture
def little_memory(monkeypatch):
    for module in ("drawing", "output"):
        monkeypatch.setattr(f"sklsdm.draws.{module}.available_memory", lambda: 2**20)
    monkeypatch.setattr("sklsdm.draws.output._SURELY_FREE", 0)


def test_draws_beyond_the_available_memory_are_refused(trained, little_memory):
    advice = r"0\.0 GiB are available: ask for a smaller n_samples, or pass out="
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(Y)
    with pytest.raises(ValueError, match=rf"1000000000x2 draws of float64.*{advice}"):
        generator.sample(10**9)
    with pytest.raises(ValueError, match=advice):
        trained.sample(X, 2000)
    with pytest.raises(ValueError, match="n_draws=100000 takes"):
        trained.predict(X, n_draws=100_000)
    assert trained.sample(X, 3).shape == (60, 3, 2)


def test_an_array_that_the_system_denies(trained, monkeypatch):
    def deny(*args):
        raise MemoryError

    denying = SimpleNamespace(**vars(np) | {"empty": deny})
    monkeypatch.setattr("sklsdm.draws.output.np", denying)
    with pytest.raises(ValueError, match="ask for a smaller n_samples"):
        trained.sample(X, 3)


CGROUPS = {
    2: ("0::/batch/job", "batch/job", ("memory.max", "memory.current", "inactive_file")),
    1: (
        "4:cpu,memory:/batch/job",
        "memory/batch/job",
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ),
}


@pytest.mark.parametrize("version", CGROUPS)
def test_memory_is_what_the_cgroup_leaves(version, tmp_path, monkeypatch):
    line, folder, (limit, used, droppable) = CGROUPS[version]
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(f"{line}\n")
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_CGROUPS", groups)
    assert memory.available_memory() == 8000 * 1024
    group = groups / folder
    group.mkdir(parents=True)
    (group / limit).write_text("5000\n")
    (group / used).write_text("4000\n")
    assert memory.available_memory() == 1000
    (group / "memory.stat").write_text(f"anon 7\n{droppable} 500\n")
    assert memory.available_memory() == 1500
    (group.parent / limit).write_text("300\n")  # a limit of a group above
    (group.parent / used).write_text("100\n")
    assert memory.available_memory() == 200
    (group / limit).write_text("max\n")
    (group.parent / limit).write_text("max\n")
    assert memory.available_memory() == 8000 * 1024


def test_settings_beyond_the_memory_are_named():
    wide = quick().set_params(matcher__widths=[2**31 - 1, 2**31 - 1])
    with pytest.raises(ValueError, match=r"more memory than there is; lower matcher__widths="):
        wide.fit(X, Y)
    with pytest.raises(ValueError, match=r"matcher__noise_dim must be at most 2147483647"):
        quick().set_params(matcher__noise_dim=2**40).fit(X, Y)


def test_numbers_of_numpy_are_settings_like_any_other():
    ours = {"matcher__batch_size": 100, "matcher__lr": 0.25, "matcher__widths": [8, 8]}
    numpys = {
        "matcher__batch_size": np.int8(100),
        "matcher__lr": np.float16(0.25),
        "matcher__widths": np.array([8, 8], dtype=np.int8),
    }
    draws = [quick().set_params(**s).fit(X, Y).sample(X, random_state=0) for s in (ours, numpys)]
    assert_array_equal(*draws)
