"""Training that diverges is rolled back and told of: what is looked at, and what data warn."""

import re
import warnings

import numpy as np
import pytest
import torch
from helpers import ALL_MATCHERS, RUN, matching_data, plain_regressor, rows, shorten_epochs
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import DivergenceError, DivergenceWarning, LSDMGenerator
from sklsdm.datasets import make_gcds
from sklsdm.fitting.choosing import scores_by_fold
from sklsdm.inputs.extremes import _middle_and_distance, warn_of_extremes
from sklsdm.matchers import MATCHERS, EnergyMatcher, FlowMatcher
from sklsdm.nets import FARTHEST, Look, range_of
from sklsdm.nets.divergence import DivergenceGuard

pytestmark = pytest.mark.usefixtures("all_looks")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = np.column_stack([X[:, 0], X[:, 1] ** 2]) + 0.5 * RNG.normal(size=(60, 2))
U = RNG.normal(size=(100, 2))


def model(matcher="energy", n_steps=30, **params):
    est = plain_regressor(matcher=matcher, validation_fraction=0.0, random_state=0)
    return est.set_params(matcher__max_steps=n_steps, **params)


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    shorten_epochs(monkeypatch, 10)


# ------------------------------------------------------------------ the rule
def looked(given, low, high):
    look = Look(
        lambda module, n: given[:n], low, high, what="draws", n_rows=len(given), n_final=len(given)
    )
    return look.farthest(None).item(), look.distances(None, 1)


def test_distance_is_in_half_ranges_of_the_data():
    low, high = torch.tensor([0.0, -2.0]), torch.tensor([8.0, 4.0])
    assert looked(torch.tensor([[8.0, 1.0], [4.0, -2.0]]), low, high)[0] == 1.0
    assert looked(torch.tensor([[24.0, 1.0]]), low, high)[0] == 5.0
    assert_array_equal(looked(torch.tensor([[4.0, 10.0], [1e9, 0.0]]), low, high)[1], [3.0])


def test_a_narrow_range_counts_as_a_standard_deviation():
    low, high = torch.tensor([1.0]), torch.tensor([1.0])
    assert looked(torch.tensor([[3.0]]), low, high)[0] == 2.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_finite_distance(value):
    given = torch.tensor([[0.0, 1.0], [value, 0.0], [2.0, 0.0]])
    assert not np.isfinite(looked(given, torch.zeros(2), torch.ones(2))[0])


def test_range_of_several_parts():
    low, high = range_of(rows(5, 2), torch.tensor([[9.0, -9.0]]), rows(0, 2))
    assert (low[1], high[0]) == (-9.0, 9.0)
    assert (low[0], high[1]) == (rows(5, 2)[:, 0].min(), rows(5, 2)[:, 1].max())


# ------------------------------------------------------------------ learning rates out of bounds
def outcome(est, *data):
    """What came of a fit, and the farthest of its draws, in ranges of the responses."""
    responses = np.concatenate(data[1:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            est.fit(*data)
        except DivergenceError as error:
            return str(error), 0.0
    draws = est.sample(data[0], 20, random_state=0)
    distance = np.abs(draws - np.median(responses, axis=0)) / np.ptp(responses, axis=0)
    told = [str(w.message) for w in caught if issubclass(w.category, DivergenceWarning)]
    return "".join(told), float(distance.max())


SETTING = r"stage 2 \(matching\): training diverged at step \d+ \(.*draws.*now lr=.*Lower the match"


@pytest.mark.parametrize(("n_pairs", "lr"), [(15, 1.0), (60, 1e3)])
@ALL_MATCHERS
def test_no_draw_is_far_off_silently(matcher, n_pairs, lr):
    est = model(matcher, matcher__lr=lr)
    told, distance = outcome(est, X[:n_pairs], Y[:n_pairs], U[:40])
    assert re.search(SETTING, told) or "Lower matcher__lr" in told or distance < FARTHEST
    if lr == 1e3:
        assert re.search(SETTING, told)


@pytest.mark.parametrize("matcher", ["wgan", "fgan"])
def test_a_critic_that_diverges(matcher):
    told, distance = outcome(model(matcher, matcher__critic_lr=1e30), X, Y, U)
    assert "critic_lr=" in told
    assert "Lower the matcher's lr and critic_lr" in told
    assert distance == 0.0


def test_distillation_is_looked_at_too(monkeypatch):
    matcher = FlowMatcher(max_steps=20, distil=True, lr=1e-3)
    whole = FlowMatcher._distil

    def faster(self, data, run):
        self.lr = 1e3
        whole(self, data, run)

    monkeypatch.setattr(FlowMatcher, "_distil", faster)
    monkeypatch.setattr("sklsdm.matchers.distillation._DRAWS", 100)
    with pytest.raises(DivergenceError, match=r"stage 2 \(distillation\): .*draws"):
        matcher.fit(matching_data(rows(60, 2), rows(60, 2, seed=1)), RUN)


@pytest.mark.parametrize("autoencoder", ["mlp", "vae", "dpa"])
def test_reconstructions_of_stage_1_are_looked_at(autoencoder):
    wide = np.column_stack([Y, Y[:, :1] * Y[:, 1:], Y**2])
    est = model(latent_dim=2, autoencoder=autoencoder, autoencoder__lr=30.0)
    est.set_params(autoencoder__max_epochs=3)
    with pytest.raises(DivergenceError, match=r"stage 1 .*reconstructions.*the autoencoder's lr"):
        est.fit(X, wide)


def test_the_generator_looks_too():
    est = LSDMGenerator(matcher="energy", random_state=0, validation_fraction=0.0)
    est.set_params(matcher__max_steps=10, matcher__lr=1e3)  # one epoch
    with pytest.raises(DivergenceError, match=r"draws up to .*even after 1 retry from"):
        est.fit(U)


class Push(Callback):
    """Moves all draws far away at the end of one epoch, or of all epochs; losses stay finite."""

    def __init__(self, epoch=None):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if self.epoch in (None, len(net.history) - 1):
            with torch.no_grad():
                for value in (net.module_.mean.bias, *net.averaged_):
                    value.fill_(1e3)


def test_draws_far_off_are_rolled_back():
    """The last epoch pushes the draws away: the state before it is the one that draws."""
    pushed = model(n_steps=30, matcher__callbacks=[Push(2)]).fit(X, Y, U)
    assert np.abs(pushed.sample(X, 20, random_state=0)).max() < 20
    assert pushed.matcher_.far_share_ == 0


def test_draws_that_stay_far_off_are_an_error_and_leave_the_earlier_fit():
    est = model().fit(X, Y, U)
    before = est.sample(X, 3, random_state=0)
    est.set_params(matcher__callbacks=[Push()], matcher__max_steps=60)
    with pytest.raises(DivergenceError, match=r"draws up to .*even after 3 retries"):
        est.fit(X, Y, U)
    assert_array_equal(est.sample(X, 3, random_state=0), before)


class PushAndStop(Push):
    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 2:
            super().on_batch_end(net, **kwargs)
            raise KeyboardInterrupt


def test_a_state_within_an_epoch_is_looked_at_where_training_ends_there():
    est = model(matcher__callbacks=[PushAndStop()])
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, Y, U)
    assert est.interrupted_
    assert np.abs(est.sample(X, 20, random_state=0)).max() < 20


def test_a_resumed_fit_without_a_good_epoch_ends_in_an_error(tmp_path, monkeypatch):
    """All epochs are bad, and the process ends after the last one is stored."""

    def end(self, net, **kwargs):
        raise RuntimeError("the process ends here")

    est = model(n_steps=20, checkpoint=tmp_path).set_params(matcher__callbacks=[Push()])
    with monkeypatch.context() as patch:
        patch.setattr(DivergenceGuard, "on_train_end", end)
        with pytest.raises(RuntimeError, match="ends here"):
            est.fit(X, Y)
    with pytest.raises(DivergenceError, match=r"diverged at step 20 .*draws up to"):
        est.fit(X, Y)


def test_a_few_far_draws_are_a_warning(monkeypatch):
    """Where the first draws are near and one of the later ones is not."""
    plain, limits = EnergyMatcher._draw, []

    def one_far(self, module, condition, noise):
        draws = plain(self, module, condition, noise)
        limits.append(noise[:, 0].max())
        draws[noise[:, 0] > limits[0] + 0.5] = (
            1e9  # none of those that are looked at after each epoch
        )
        return draws

    monkeypatch.setattr(EnergyMatcher, "_draw", one_far)
    with pytest.warns(DivergenceWarning, match=r"^0\.00\d+ of the draws .*Lower matcher__lr"):
        est = model().fit(X, Y, U)
    assert 0 < est.matcher_.far_share_ < 0.01


def test_unscaled_conditions_are_told_of():
    with pytest.raises(DivergenceError, match=r"draws up to .*(scale_X=True|extreme values)"):
        model(scale_X=False).fit(1e8 * X, Y, U)


class FarStart(EnergyMatcher):
    """Training starts 150 standard deviations away from the codes."""

    def _module(self, data, plan):
        module = super()._module(data, plan)
        with torch.no_grad():
            module.mean.bias += 150
        return module


def test_a_start_far_off_may_come_near():
    """Draws are then still far off after the first epochs, and training goes on."""
    data = matching_data(rows(200, 2), rows(200, 2, seed=1))
    with pytest.raises(DivergenceError, match=r"no good state was reached.*scale_X=True"):
        FarStart(max_steps=20, lr=1e-9).fit(data, RUN)
    assert FarStart(max_steps=250, lr=0.03, ema_decay=0.5).fit(data, RUN).far_share_ == 0


# ------------------------------------------------------------------ data that is only heavy-tailed
def cauchy(n):
    x = RNG.normal(size=(n, 3))
    return x, x + RNG.standard_cauchy((n, 3))


def skewed(n):
    problem = make_gcds("T3", n, random_state=0)
    return problem.X, problem.y[:, None]


@pytest.mark.parametrize(
    ("law", "matcher"),
    [(cauchy, matcher) for matcher in MATCHERS] + [(skewed, "wgan"), (skewed, "mdn")],
)
def test_heavy_tails_are_no_divergence(law, matcher, caplog):
    x, y = law(160)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)
        est = model(matcher, n_steps=40).fit(x[:100], y[:100], y[100:])
    assert est.matcher_.far_share_ == 0
    assert not caplog.records


@ALL_MATCHERS
def test_looks_leave_training_as_it_is(matcher, monkeypatch):
    """Draws are those of a training that is never looked at, bit for bit."""
    looked = model(matcher, 20).fit(X, Y, U[:40]).sample(X, 3, random_state=0)
    monkeypatch.setattr(Look, "farthest", lambda self, module: torch.zeros(()))
    monkeypatch.setattr(Look, "distances", lambda self, module, n: torch.zeros(n))
    unseen = model(matcher, 20).fit(X, Y, U[:40]).sample(X, 3, random_state=0)
    assert_array_equal(unseen, looked)


# ------------------------------------------------------------------ the choice among candidates
def test_a_candidate_that_diverges_is_left_out():
    def score(name, fold):
        if name == "bad" and fold == 1:
            raise DivergenceError("this one")
        return np.zeros(3)

    assert list(scores_by_fold(["bad", "good"], [0, 1], score)) == ["good"]
    with pytest.raises(DivergenceError, match="this one"):
        scores_by_fold(["bad"], [0, 1], score)


# ------------------------------------------------------------------ extreme values
def test_extreme_values_are_named_before_training():
    unpaired = U.copy()
    unpaired[17, 1] = 1e30
    with pytest.warns(UserWarning, match=r"Y_unpaired holds 1e\+30 in row 17, column 1, .*clip"):
        model().fit(X, Y, unpaired)
    y = Y.copy()
    y[3, 0] = -1e12
    with pytest.warns(UserWarning, match=r"y holds -1e\+12 in row 3, column 0.*logarithm"):
        model().fit(X, y, U)
    with pytest.warns(UserWarning, match=r"X holds -1e\+12 in row 3, column 0"):
        LSDMGenerator(matcher="energy", validation_fraction=0.0).set_params(
            matcher__max_steps=5
        ).fit(y)


@pytest.mark.parametrize("scale_X", [True, False])
def test_extreme_conditions_are_named(scale_X):
    pd = pytest.importorskip("pandas")
    x = X.copy()
    x[5, 1] = 1e10
    frame = pd.DataFrame(x, columns=["first", "second"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"X holds 1e\+10 in row 5, column 'second'")
        with pytest.raises(UserWarning, match="Remove or clip"):
            model(scale_X=scale_X).fit(frame, Y, U)


def sparse(n):
    return np.where(RNG.random((n, 3)) < 0.02, 5 * RNG.lognormal(size=(n, 3)), 0.0)


def spots(n):
    """Images of a smooth spot on a dark ground, whose tails are nearly 0."""
    place = np.linspace(-1, 1, 12)
    centre = np.random.default_rng(0).uniform(-0.7, 0.7, (n, 2))
    across = [np.exp(-(((place - centre[:, [axis]]) / 0.1) ** 2)) for axis in (0, 1)]
    return across[0][:, :, None] * across[1][:, None]


ORDINARY = {
    "spots": spots(100),
    "Cauchy": RNG.standard_cauchy((20_000, 2)),
    "GCDS T3": skewed(2000)[1],
    "lognormal": RNG.lognormal(sigma=2.0, size=5000),
    "sparse": sparse(3000),
    "one-hot": np.eye(50)[RNG.integers(0, 50, 500)],
    "constant": np.full((30, 2), 7.0),
    "rare class": np.r_[np.zeros(999), 1.0],
    "constant but for rounding": np.r_[np.full(50, 0.1 + 0.2), 0.3, 5.0],
    "images": RNG.random((20, 3, 8, 8)),
    "bytes": RNG.integers(0, 256, (20, 8, 8)).astype(np.uint8),
    "integers": RNG.integers(0, 10**9, (40, 2)),
    "missing values": np.where(RNG.random((90, 3)) < 0.3, np.nan, RNG.normal(size=(90, 3))),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_values_are_not_extreme(kind):
    data = ORDINARY[kind]
    std = np.nanstd(data, axis=None if data.ndim > 2 else 0).reshape(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_extremes({"y": data}, None)
        if kind != "Cauchy":  # of which one value may well make most of the variance
            warn_of_extremes({"y": data}, std)


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("n_pairs", [30, 100])
def test_ordinary_unpaired_rows_are_not_far_off(kind, n_pairs):
    data = ORDINARY[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_extremes({"y": data[:n_pairs], "Y_unpaired": data[n_pairs:]}, None)


@pytest.mark.parametrize(("share", "warned"), [(0.05, True), (0.005, False), (1.0, False)])
def test_failed_measurements_among_the_unpaired_rows_are_named(share, warned):
    """Of rows that all are off, another warning tells that they follow another law."""
    random = np.random.default_rng(0)
    y, unpaired = random.normal(size=(100, 3)), random.normal(size=(1000, 3))
    unpaired[: int(share * 1000), 1] += 70
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_extremes({"y": y, "Y_unpaired": unpaired}, None)
    far = [str(each.message) for each in caught if "far outside the range" in str(each.message)]
    assert len(far) == warned
    if warned:
        assert re.search(r"5.0% of the rows of Y_unpaired .* in column 1, where y has -", far[0])


def found(data, std=None, **parts):
    with pytest.warns(UserWarning, match="as far from the median") as caught:
        warn_of_extremes({"y": data, **parts}, std)
    return str(caught[0].message)


def test_an_extreme_value_is_found_in_whatever_holds_it(tmp_path):
    few = sparse(3000)
    few[2000, 2] = 1e9
    assert "row 2000, column 2" in found(few)
    image = RNG.random((20, 3, 8, 8))
    image[4, 1, 0, 0] = -1e9
    assert "-1e+09 in row 4, " in found(image, np.array([image.std()]))
    number = RNG.normal(size=400)
    number[[7, 9]] = 1e8, 1e11
    message = found(number, np.array([number.std()]))
    assert "holds 1e+11 in row 9, " in message
    assert "(2 such values" in message
    missing = np.where(np.arange(90) % 3 == 0, np.nan, RNG.normal(size=90))[:, None]
    missing[50] = 1e9
    assert "row 50" in found(missing)
    path = tmp_path / "rows.npy"
    many = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(200_000, 30))
    many[:] = RNG.normal(size=(1, 30))
    many[::2] *= -1
    many[150_001, 29] = 1e12
    assert "Y_unpaired holds 1e+12 in row 150001, column 29" in found(
        np.array(many[:50]), np.asarray(many.std(axis=0, dtype=float)), Y_unpaired=many
    )


@pytest.mark.parametrize(("value", "is_told"), [(30.0, False), (1000.0, True)])
def test_a_mistyped_value_that_makes_most_of_the_variance_is_named(value, is_told):
    numbers = np.random.default_rng(0).normal(size=(500, 2))
    numbers[7, 1] = value
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_extremes({"y": numbers}, numbers.std(axis=0))
    assert len(caught) == is_told
    if is_told:
        assert "y holds 1000 in row 7, column 1, 1.6e+03 times" in str(caught[0].message)


@pytest.mark.parametrize(("n_far", "is_told"), [(4, True), (20, True), (100, False)])
def test_a_few_values_that_make_most_of_the_variance_are_named(n_far, is_told):
    numbers = np.random.default_rng(0).normal(size=(500, 2))
    numbers[:n_far, 1] = 1000 + np.arange(n_far)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_extremes({"y": numbers}, numbers.std(axis=0))
    assert len(caught) == is_told
    if is_told:
        assert f"({n_far} such values in all)" in str(caught[0].message)


@pytest.mark.parametrize("n_rows", [10, 1000, 30_000])
def test_no_extreme_value_is_missed_by_its_standard_deviation(n_rows):
    """Values are only looked at where the standard deviation lets one be extreme."""
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=n_rows)
        values[n_rows // 2] = 1e9
        middle, usual = _middle_and_distance(values[:, None])
        values[n_rows // 2] = middle[0] + 1.01e6 * usual[0]
        assert f"row {n_rows // 2}, " in found(values, values.std(keepdims=True))


def test_a_file_without_extremes_is_not_read_whole(monkeypatch):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr("sklsdm.inputs.extremes._find_worst", never)
    values = RNG.standard_t(3, size=(10_000, 4))
    warn_of_extremes({"y": values}, values.std(axis=0))


@pytest.mark.parametrize("matcher", ["transport", "flow"])
def test_an_assignment_of_numbers_that_are_not_finite_hides_no_divergence(matcher):
    est = model(matcher, unpaired="match", matcher__lr=1e12)
    if matcher == "transport":
        est.set_params(matcher__plan_size=16)
    with pytest.raises(DivergenceError, match="Lower the matcher's lr"):
        est.fit(X, Y, U)
