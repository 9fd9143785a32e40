"""The user's skorch callbacks: each of skorch's own, whose objects are called, what is refused."""

import math
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers import plain_regressor, shorten_epochs
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import callbacks as theirs
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator
from sklsdm.autoencoders import MLPAutoencoder
from sklsdm.matchers import EnergyMatcher, FlowMatcher, WGANMatcher

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = np.column_stack([X[:, 0], X[:, 0] - X[:, 1]]) + 0.5 * RNG.normal(size=(60, 2))
FEW = 15  # below 20 pairs none are held out

# Three epochs of ten steps each.
STEPS = 10
PARTS = {
    "autoencoder": lambda callbacks, **settings: {
        "autoencoder": MLPAutoencoder(max_epochs=3, callbacks=callbacks, **settings),
        "matcher": EnergyMatcher(max_steps=1, widths=(8,), noise_scale=1.0),
    },
    "energy": lambda callbacks, **settings: {
        "autoencoder": "identity",
        "matcher": EnergyMatcher(
            max_steps=30, widths=(8,), noise_scale=1.0, callbacks=callbacks, **settings
        ),
    },
    "wgan": lambda callbacks, **settings: {
        "autoencoder": "identity",
        "matcher": WGANMatcher(
            max_steps=30,
            widths=(8,),
            critic_widths=(8,),
            n_critic=1,
            noise_scale=1.0,
            batch_size=16,
            callbacks=callbacks,
            **{"start": "linear"} | settings,
        ),
    },
}
NETS = pytest.mark.parametrize("kind", PARTS)


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    shorten_epochs(monkeypatch, STEPS)


def make(kind, *callbacks, **settings):
    return plain_regressor(2, random_state=0, **PARTS[kind](list(callbacks), **settings))


def part(est, kind):
    return est.autoencoder_ if kind == "autoencoder" else est.matcher_


class Logger(Callback):
    """Its __init__ sets an attribute that is no argument, and a list that it fills."""

    def __init__(self, tag="mine"):
        self.tag = tag
        self.rows = []

    def on_epoch_end(self, net, **kwargs):
        self.rows.append(dict(net.history[-1]))


class Spy(Callback):
    """Rates of each optimizer, and copies of the parameters, in each step or epoch."""

    def on_train_begin(self, net, **kwargs):
        self.rates = {name: [] for name in net._optimizers}
        self.verbose = net.verbose

    def on_batch_begin(self, net, **kwargs):
        for name, rates in self.rates.items():
            (group,) = getattr(net, name + "_").param_groups
            rates.append(group["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.state = {
            f"{module}.{name}": value.detach().clone()
            for module in net._modules
            for name, value in getattr(net, module + "_").named_parameters()
        }


def cosine(start):
    return np.repeat(start * 0.5 * (1 + np.cos(np.pi * np.arange(3) / 3)), STEPS)


# ------------------------------------------------------------------ 1. learning rates
@NETS
@pytest.mark.parametrize(
    ("arguments", "factors"),
    [
        ({"policy": "StepLR", "step_size": 1, "gamma": 0.1}, [1, 0.1, 0.01]),
        ({"policy": "LambdaLR", "lr_lambda": lambda epoch: 1 / (1 + epoch)}, [1, 1 / 2, 1 / 3]),
        ({"policy": "ReduceLROnPlateau", "patience": 9}, [1, 1, 1]),
    ],
    ids=["StepLR", "LambdaLR", "ReduceLROnPlateau"],
)
def test_a_rate_scheduler_of_the_users_replaces_ours(kind, arguments, factors):
    spy = Spy()
    est = make(kind, theirs.LRScheduler(**arguments), spy, lr=1e-3).fit(X, Y)
    assert_allclose(spy.rates["optimizer"], np.repeat(1e-3 * np.array(factors), STEPS))
    if kind == "wgan":  # ours stays on the critic's
        rates = cosine(est.matcher_.settings_["critic_lr"])
        assert_allclose(spy.rates["critic_optimizer"], rates, rtol=1e-6)


@NETS
def test_without_one_ours_stays(kind):
    spy = Spy()
    make(kind, spy, lr=1e-3).fit(X, Y)
    assert_allclose(spy.rates["optimizer"], cosine(1e-3), rtol=1e-6)


def test_a_schedule_by_the_batch():
    spy = Spy()
    by_batch = theirs.LRScheduler("ExponentialLR", gamma=0.99, step_every="batch")
    make("energy", by_batch, spy, lr=1e-3).fit(X, Y)
    assert_allclose(spy.rates["optimizer"], 1e-3 * 0.99 ** np.arange(30))


class SpoilOnce(Callback):
    """One gradient of NaN, in the second epoch."""

    def on_train_begin(self, net, **kwargs):
        self.left = 15

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.left -= 1
        if self.left == 0:
            for _, parameter in named_parameters:
                parameter.grad.fill_(math.nan)


def test_after_divergence_the_users_schedule_goes_on_at_half_the_rate():
    spy = Spy()
    schedule = theirs.LRScheduler("LambdaLR", lr_lambda=lambda epoch: 1.0)
    make("energy", SpoilOnce(), schedule, spy, lr=1e-3).fit(X, Y)
    assert_allclose(spy.rates["optimizer"], np.repeat([1e-3, 1e-3, 5e-4], STEPS))


class Stop(Callback):
    """Ctrl-C in the epoch that the class names: which one is no setting, so fits resume."""

    epoch = 9

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "arguments",
    [
        {"policy": "StepLR", "step_size": 2},
        {"policy": theirs.WarmRestartLR, "max_lr": 1e-2, "base_period": 2},
        {"policy": "ReduceLROnPlateau", "patience": 1, "threshold": 1e9},
    ],
    ids=["StepLR", "WarmRestartLR", "ReduceLROnPlateau"],
)
def test_a_resumed_schedule_goes_on(arguments, tmp_path, monkeypatch):
    spies = Spy(), Spy()
    make("energy", theirs.LRScheduler(**arguments), spies[0], Stop()).fit(X, Y)
    for epoch, spy in ((2, Spy()), (9, spies[1])):
        monkeypatch.setattr(Stop, "epoch", epoch)
        est = make("energy", theirs.LRScheduler(**arguments), spy, Stop())
        est.set_params(checkpoint=tmp_path)
        try:
            est.fit(X, Y)
        except KeyboardInterrupt:
            assert epoch == 2
    assert_allclose(spies[1].rates["optimizer"], spies[0].rates["optimizer"][STEPS:])
    for name, value in spies[0].state.items():
        assert_array_equal(spies[1].state[name], value)


# ------------------------------------------------------------------ 2. whose objects are called
@NETS
def test_users_own_objects_are_called(kind):
    mine, named = Logger(), Logger("named")
    est = make(kind, mine, ("name", named)).fit(X, Y)
    assert len(mine.rows) == len(named.rows) == 3
    found = part(est, kind).callbacks_
    assert found[0] is mine
    assert found[1] is named
    assert est.fit(X, Y) is est
    assert len(mine.rows) == 6


@NETS
@pytest.mark.parametrize("hook", ["on_epoch_end", "on_batch_end"])
def test_hooks_set_on_an_object_are_called(kind, hook):
    calls = []
    mine = Callback()
    setattr(mine, hook, lambda net, **kwargs: calls.append(net))
    make(kind, mine).fit(X, Y)
    assert calls


def test_the_generator_calls_them_too():
    mine = Logger()
    LSDMGenerator(2, EnergyMatcher(max_steps=20, callbacks=[mine]), random_state=0).fit(Y)
    assert len(mine.rows) == 2


def test_distillation_calls_them_too():
    mine = Logger()
    matcher = FlowMatcher(max_steps=20, widths=(8,), n_steps=2, distil=True, callbacks=[mine])
    plain_regressor(matcher=matcher, random_state=0).fit(X, Y)
    assert len(mine.rows) == 4


@NETS
def test_clones_have_callbacks_of_their_own(kind):
    mine, named = Logger("one"), Logger("two")
    est = make(kind, mine, ("name", named)).fit(X, Y)
    first, second = clone(est).fit(X, Y), clone(clone(est)).fit(X, Y)
    copies = [part(copied, kind).callbacks_ for copied in (first, second)]
    assert [c.tag for c in copies[0]] == [c.tag for c in copies[1]] == ["one", "two"]
    assert len({id(c) for c in [mine, named, *copies[0], *copies[1]]}) == 6
    assert len(mine.rows) == len(named.rows) == 3
    assert len(copies[0][0].rows) == len(copies[1][0].rows) == 6  # three were copied


def test_a_clone_given_other_callbacks_calls_those():
    mine, other = Logger(), Logger("other")
    copied = clone(make("energy", mine)).set_params(matcher__callbacks=[other])
    assert copied.fit(X, Y).matcher_.callbacks_ == [other]
    assert len(other.rows) == 3
    assert mine.rows == []


def test_what_was_recorded_in_a_search_is_on_the_fitted_part():
    mine = Logger()
    est = make("energy", mine)
    search = GridSearchCV(est, {"matcher__lr": [1e-3, 1e-2]}, cv=2).fit(X, Y)
    assert mine.rows == []
    (found,) = search.best_estimator_.matcher_.callbacks_
    assert len(found.rows) == 3


def test_what_was_recorded_in_another_process_comes_back():
    mine = Logger()
    there = pickle.loads(pickle.dumps(make("energy", mine)))  # as joblib sends it
    back = pickle.loads(pickle.dumps(there.fit(X, Y)))
    assert len(back.matcher_.callbacks_[0].rows) == 3
    assert back.matcher_.callbacks_[0] is back.matcher.callbacks[0]
    assert mine.rows == []


@NETS
def test_pickles_hold_what_was_recorded(kind):
    schedule = theirs.LRScheduler("ExponentialLR", gamma=0.5)
    stop = theirs.EarlyStopping()
    est = make(kind, Logger(), schedule, stop, theirs.ProgressBar()).fit(X, Y)
    assert schedule.lr_scheduler_ is None  # it holds the optimizer
    copied = pickle.loads(pickle.dumps(est))
    assert len(part(copied, kind).callbacks_[0].rows) == 3
    assert_array_equal(copied.sample(X, random_state=0), est.sample(X, random_state=0))
    assert len(pickle.dumps(clone(est))) < 1.1 * len(pickle.dumps(clone(clone(est))))
    assert len(part(copied.fit(X, Y), kind).callbacks_[0].rows) == 6


def test_callbacks_that_refer_to_each_other_still_do_in_a_clone():
    saved = theirs.Checkpoint()
    first, second = clone(EnergyMatcher(callbacks=[saved, theirs.LoadInitState(saved)])).callbacks
    assert first is not saved
    assert second.checkpoint is first


def test_what_cannot_be_copied_is_shared(tmp_path):
    class Writer(Callback):
        def __init__(self, file):
            self.file = file

        def on_epoch_end(self, net, **kwargs):
            self.file.write("epoch\n")

    class Shared(Logger):
        def __sklearn_clone__(self):
            return self

    with open(tmp_path / "log.txt", "w") as file:
        writer, shared = Writer(file), Shared()
        est = clone(make("energy", writer, shared)).fit(X, Y)
    assert est.matcher_.callbacks_ == [writer, shared]
    assert (tmp_path / "log.txt").read_text() == "epoch\n" * 3


# ------------------------------------------------------------------ 3. the history
@NETS
def test_history_has_the_keys_that_skorch_looks_for(kind):
    mine = Logger()
    est = make(kind, mine).fit(X, Y)
    name = "valid_loss" if kind == "autoencoder" else "valid_multiscale_score"
    for key in ("train_loss", "valid_loss", name):
        values = [row[key] for row in mine.rows]
        lowest = [value < min(values[:i], default=math.inf) for i, value in enumerate(values)]
        assert [row[f"{key}_best"] for row in mine.rows] == lowest
        assert_allclose(part(est, kind).history_[key], values)
    assert [row["valid_loss"] for row in mine.rows] == [row[name] for row in mine.rows]


def test_without_held_out_rows_there_is_no_held_out_loss():
    mine = Logger()
    make("energy", mine).fit(X[:FEW], Y[:FEW])
    assert all("train_loss_best" in row for row in mine.rows)
    assert not any(key.startswith("valid") for row in mine.rows for key in row)


# ------------------------------------------------------------------ 4. each of skorch's own
class FakeRun:
    """Stands for a run, an experiment, a client or a writer of a logging service."""

    def __init__(self, folder):
        self.dir = folder
        self.info = self
        self.run_id = 0
        self.logged = {}

    def log_metric(self, run_id, key, value, step):
        self.logged.setdefault(key, []).append(value)

    def log_scalar(self, key, value, step=None):
        self.logged.setdefault(key, []).append(value)

    def add_scalar(self, tag, scalar_value, global_step):
        self.logged.setdefault(tag, []).append(scalar_value)

    def log(self, values):
        for key, value in values.items():
            self.logged.setdefault(key, []).append(value)

    def __setitem__(self, key, value):
        self.logged[key] = value

    def __getitem__(self, key):
        return self

    def watch(self, module): ...

    def close(self): ...

    def log_artifact(self, run_id, path):
        assert path.exists()

    def set_terminated(self, run_id): ...


def saved_files(prefix=""):
    def check(est, kind, callback, spy, folder, out):
        for name in ("params.pt", "optimizer.pt", "criterion.pt", "history.json"):
            assert (folder / f"{prefix}{name}").exists()
        saved = torch.load(folder / f"{prefix}params.pt", weights_only=True)
        net = est.autoencoder_.coder_ if kind == "autoencoder" else est.matcher_.network_
        assert saved.keys() == net.state_dict().keys()

    return check


def logged(key="train_loss"):
    def check(est, kind, callback, spy, folder, out):
        (run,) = {v for k, v in vars(callback).items() if isinstance(v, FakeRun) and k[-1] != "_"}
        assert_allclose(run.logged[key], part(est, kind).history_["train_loss"])

    return check


def stopped(est, kind, callback, spy, folder, out):
    assert len(part(est, kind).history_["train_loss"]) == 2
    assert not est.interrupted_


def timed(est, kind, callback, spy, folder, out):
    assert spy.rows[0]["dur"] > 0


def printed(est, kind, callback, spy, folder, out):
    assert "train_loss" in out.out
    assert "valid_loss" in out.out
    assert len(out.out.splitlines()) == 5  # two lines of head, three epochs


def bars(est, kind, callback, spy, folder, out):
    assert f"/{STEPS} " in out.err


def scheduled(est, kind, callback, spy, folder, out):
    assert [row["event_lr"] for row in spy.rows] == [1e-2, 1e-3, 1e-4]


def clipped(est, kind, callback, spy, folder, out):
    plain = make(kind, lr=1e-2).fit(X, Y)
    history = (part(model, kind).history_["train_loss"] for model in (est, plain))
    assert (next(history) != next(history)).any()


def frozen(est, kind, callback, spy, folder, out):
    first, last = spy.states[0], spy.states[-1]
    kept = {name for name in first if bool((first[name] == last[name]).all())}
    assert {name for name in first if "bias" in name} <= kept
    assert kept < first.keys()


def moved(est, kind, callback, spy, folder, out):
    first, last = spy.states[0], spy.states[-1]
    assert not any(bool((first[name] == last[name]).all()) for name in first if "weight" in name)


def filled(est, kind, callback, spy, folder, out):
    values = [v for name, v in spy.starts[0].items() if "bias" in name]
    assert all(bool((value == 0.25).all()) for value in values)


class Record(Logger):
    """Rows, and all parameters at the start and at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.starts, self.states = [], []

    def _parameters(self, net):
        return {
            f"{module}.{name}": value.detach().clone()
            for module in net._modules
            for name, value in getattr(net, module + "_").named_parameters()
        }

    def on_epoch_begin(self, net, **kwargs):
        self.starts.append(self._parameters(net))

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        self.states.append(self._parameters(net))


def fill(parameter):
    torch.nn.init.constant_(parameter, 0.25)


WORKS = {
    "Callback": (lambda folder: Callback(), lambda *args: None),
    "Checkpoint": (lambda folder: theirs.Checkpoint(dirname=folder), saved_files()),
    "TrainEndCheckpoint": (
        lambda folder: theirs.TrainEndCheckpoint(dirname=folder),
        saved_files("train_end_"),
    ),
    "EarlyStopping": (
        lambda folder: theirs.EarlyStopping(patience=1, threshold=1e3, threshold_mode="abs"),
        stopped,
    ),
    "EpochTimer": (lambda folder: theirs.EpochTimer(), timed),
    "PrintLog": (lambda folder: theirs.PrintLog(), printed),
    "ProgressBar": (lambda folder: theirs.ProgressBar(), bars),
    "LRScheduler": (
        lambda folder: theirs.LRScheduler("StepLR", step_size=1, gamma=0.1),
        scheduled,
    ),
    "GradientNormClipping": (lambda folder: theirs.GradientNormClipping(1e-3), clipped),
    "ParamMapper": (lambda folder: theirs.ParamMapper("*bias", fn=fill), filled),
    "Initializer": (lambda folder: theirs.Initializer("*bias", fn=fill), filled),
    "Freezer": (lambda folder: theirs.Freezer("*bias"), frozen),
    "Unfreezer": (lambda folder: theirs.Unfreezer("*"), moved),
    "LoadInitState": (
        lambda folder: theirs.LoadInitState(theirs.Checkpoint(dirname=folder)),
        lambda est, kind, callback, *args: callback.did_load_,
    ),
    "TensorBoard": (lambda folder: theirs.TensorBoard(FakeRun(folder)), logged("Loss/train_loss")),
    "WandbLogger": (lambda folder: theirs.WandbLogger(FakeRun(folder)), logged()),
    "SacredLogger": (lambda folder: theirs.SacredLogger(FakeRun(folder)), logged()),
    "MlflowLogger": (
        lambda folder: theirs.MlflowLogger(FakeRun(folder), client=FakeRun(folder)),
        lambda est, kind, callback, *args: callback.client.logged["train_loss"],
    ),
}
REFUSED = {
    "EpochScoring": (lambda: theirs.EpochScoring("r2"), r"EpochScoring scores batches"),
    "BatchScoring": (lambda: theirs.BatchScoring("r2"), r"BatchScoring scores batches"),
    "PassthroughScoring": (lambda: theirs.PassthroughScoring("r2"), "PassthroughScoring scores"),
    "InputShapeSetter": (theirs.InputShapeSetter, "InputShapeSetter builds a new module"),
    "WarmRestartLR": (lambda: theirs.WarmRestartLR, r"LRScheduler\(policy=WarmRestartLR\)"),
}
BY_ITS_OWN_PACKAGE = {"NeptuneLogger"}


def test_every_callback_of_skorchs_is_listed():
    assert {*theirs.__all__} <= {*WORKS, *REFUSED, *BY_ITS_OWN_PACKAGE}


@NETS
@pytest.mark.parametrize("name", WORKS)
def test_callback_works(kind, name, tmp_path, capsys):
    build, check = WORKS[name]
    callback, record = build(str(tmp_path)), Record()
    est = make(kind, callback, record, lr=1e-2).fit(X, Y)
    assert part(est, kind).callbacks_ == [callback, record]
    check(est, kind, callback, record, tmp_path, capsys.readouterr())
    pickle.dumps(clone(est))


@NETS
@pytest.mark.parametrize("name", REFUSED)
def test_callback_is_refused_before_training(kind, name):
    build, message = REFUSED[name]
    mine = Logger()
    with pytest.raises((TypeError, ValueError), match=rf"callbacks\[1\] .*{message}"):
        make(kind, mine, build()).fit(X, Y)
    assert mine.rows == []


@pytest.mark.skipif(find_spec("neptune") is not None, reason="neptune is installed")
def test_neptune_asks_for_its_package():
    with pytest.raises(ImportError, match="neptune"):
        make("energy", theirs.NeptuneLogger(FakeRun(""))).fit(X, Y)


@NETS
def test_a_stored_state_is_where_training_goes_on(kind, tmp_path):
    """Two of three epochs are in the files; the third begins where they ended."""
    first, second = Record(), Record()
    critic = {"f_critic": "critic.pt", "f_critic_optimizer": "critic_optimizer.pt"}
    saved = theirs.Checkpoint(
        monitor=lambda net: len(net.history) == 2,
        dirname=str(tmp_path),
        **(critic if kind == "wgan" else {}),
    )
    make(kind, first, saved).fit(X, Y)
    load = theirs.LoadInitState(saved)
    make(kind, load, second).fit(X, Y)
    assert len(second.rows) == 1
    assert (tmp_path / "critic_optimizer.pt").exists() == (kind == "wgan")
    for name, value in first.states[1].items():
        assert_array_equal(second.starts[0][name], value)


@NETS
def test_a_stored_state_with_no_epochs_left_is_the_result(kind, tmp_path):
    record, saved = Record(), theirs.Checkpoint(monitor=None, dirname=str(tmp_path))
    make(kind, record, saved).fit(X, Y)
    est = make(kind, theirs.LoadInitState(saved)).fit(X, Y)
    network = est.autoencoder_.coder_ if kind == "autoencoder" else est.matcher_.network_
    for name, value in network.named_parameters():
        assert_array_equal(value.detach(), record.states[-1][f"module.{name}"])


# ------------------------------------------------------------------ refused
@NETS
@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        (["EarlyStopping"], TypeError, r"callbacks\[0\] must be a skorch callback.*'Early"),
        ([3], TypeError, r"callbacks\[0\] must be a skorch callback.*got 3 \(int\)"),
        ([None], TypeError, r"got None"),
        ([theirs.PrintLog], TypeError, r"is the class PrintLog; pass an object, such as PrintLog"),
        ([(1, theirs.PrintLog())], TypeError, r"a string as its name, got 1"),
        ([("a", Callback()), ("a", Callback())], ValueError, r"\[1\].* the name 'a'"),
        ([theirs.Checkpoint(load_best=True)], ValueError, "Checkpoint was given load_best"),
        ([theirs.EarlyStopping(load_best=True)], ValueError, "EarlyStopping was given load_best"),
        (
            [theirs.LRScheduler("ReduceLROnPlateau", step_every="batch")],
            ValueError,
            "Use step_every='epoch'",
        ),
        (
            [theirs.EarlyStopping("r2")],
            ValueError,
            r"monitors 'r2'.*Recorded are .*valid_loss_best",
        ),
    ],
)
def test_what_is_no_callback_or_cannot_work_is_refused(kind, callbacks, error, message):
    with pytest.raises(error, match=message):
        make(kind, *callbacks).fit(X, Y)


@pytest.mark.parametrize("callbacks", ["PrintLog", theirs.PrintLog(), 3])
def test_callbacks_come_in_a_list(callbacks):
    est = plain_regressor(matcher=EnergyMatcher(callbacks=callbacks))
    with pytest.raises(TypeError, match="matcher__callbacks must be a list"):
        est.fit(X, Y)


@pytest.mark.parametrize("name", ["best", "checkpoint", "rate", "held_out"])
def test_users_may_choose_any_name(name, tmp_path):
    est = make("energy", (name, Logger())).set_params(checkpoint=tmp_path)
    assert len(est.fit(X, Y).matcher_.callbacks_[0].rows) == 3


@NETS
@pytest.mark.parametrize(
    ("callback", "advice"),
    [
        (theirs.EarlyStopping(), "monitor='train_loss'"),
        (theirs.Checkpoint(), "monitor='train_loss_best'"),
        (theirs.Checkpoint(monitor="valid_multiscale_score_best"), "monitor='train_loss_best'"),
        (theirs.LRScheduler("ReduceLROnPlateau", "valid_loss"), "monitor='train_loss'"),
        (theirs.WandbLogger(None), "save_model=False"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_without_held_out_rows_there_is_nothing_to_monitor(kind, callback, advice):
    message = rf"callbacks\[0\] of stage \d .*needs 'valid_\w+', but no rows are held out.*{advice}"
    for rows, fraction in ((FEW, 0.1), (60, 0.0)):
        est = make(kind, callback).set_params(validation_fraction=fraction)
        with pytest.raises(ValueError, match=message):
            est.fit(X[:rows], Y[:rows])


def test_without_held_out_rows_the_training_loss_can_be_monitored(tmp_path):
    saved = theirs.Checkpoint("train_loss_best", dirname=str(tmp_path))
    make("energy", theirs.EarlyStopping("train_loss"), saved).fit(X[:FEW], Y[:FEW])
    assert (tmp_path / "params.pt").exists()


def test_a_score_of_the_users_own_can_be_monitored():
    class Norm(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("valid_norm", float(len(net.history)))

    est = make("energy", Norm(), theirs.EarlyStopping("valid_norm", patience=1))
    assert len(est.fit(X[:FEW], Y[:FEW]).history_["matcher"]["train_loss"]) == 2


def test_the_automatic_autoencoder_hands_callbacks_on():
    mine = Logger()
    y = np.random.default_rng(0).normal(size=(60, 12))
    est = plain_regressor(3, "energy", random_state=0).set_params(
        matcher__max_steps=5, autoencoder__max_epochs=2, autoencoder__callbacks=[mine]
    )
    est.fit(np.zeros((60, 1)), y)
    assert len(mine.rows) == 2
    assert est.autoencoder_.callbacks_ == [mine]
