"""What a raising callback and SIGTERM leave behind: a usable estimator, and a state to resume."""

import copy
import functools
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = np.column_stack([X, X**2]) + 0.1 * RNG.normal(size=(40, 4))
HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
)
PARTS = ("autoencoder", "matcher")
EPOCHS = {
    "sklsdm.matchers.base.EPOCH_STEPS": 10,
    "sklsdm.autoencoders.trained.TrainedAutoencoder._min_steps": lambda self, form: 10,
}


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    for name, value in EPOCHS.items():
        monkeypatch.setattr(name, value)


class Misfortune(Exception):
    """What a user's callback raises."""


class RaiseIn(Callback):
    """Raises in one hook, from the second epoch on where the hook is called in every epoch."""

    armed = True  # no setting: a resumed fit has the settings of the one that was broken off

    def __init__(self, hook):
        self.hook = hook

    def _called(self, hook, net):
        if self.armed and hook == self.hook and ("train" in hook or len(net.history) > 1):
            raise Misfortune(hook)

    def on_train_begin(self, net, **kwargs):
        self._called("on_train_begin", net)

    def on_epoch_begin(self, net, **kwargs):
        self._called("on_epoch_begin", net)

    def on_batch_begin(self, net, **kwargs):
        self._called("on_batch_begin", net)

    def on_grad_computed(self, net, **kwargs):
        self._called("on_grad_computed", net)

    def on_batch_end(self, net, **kwargs):
        self._called("on_batch_end", net)

    def on_epoch_end(self, net, **kwargs):
        self._called("on_epoch_end", net)

    def on_train_end(self, net, **kwargs):
        self._called("on_train_end", net)


class TermAt(Callback):
    """Sends SIGTERM to the process at the start of the third epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2 and "SEND_SIGTERM" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)


def model(matcher="wgan", folder=None, **params):
    est = plain_regressor(
        2, matcher, autoencoder="mlp", random_state=0, checkpoint=folder, validation_fraction=0.2
    )
    return est.set_params(autoencoder__max_epochs=3, matcher__max_steps=30, **params)


@functools.cache
def fitted():
    """An unbroken fit."""
    return model().fit(X, Y)


def draws(est):
    return est.sample(X[:5], 3, random_state=0)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_callback_raises_travels_on(hook, part):
    """The user gets the very exception; the earlier fit draws as before."""
    est = copy.deepcopy(fitted())
    before, history = draws(est), est.history_
    est.set_params(**{f"{part}__callbacks": [RaiseIn(hook)]})
    with pytest.raises(Misfortune, match=f"^{hook}$"):
        est.fit(X, 2 * Y)
    assert_array_equal(draws(est), before)
    assert est.history_ is history


def test_the_same_estimator_can_be_fitted_again():
    est = model(matcher__callbacks=[RaiseIn("on_grad_computed")])
    with pytest.raises(Misfortune):
        est.fit(X, Y)
    assert_array_equal(draws(est.set_params(matcher__callbacks=None).fit(X, Y)), draws(fitted()))


def test_an_unfitted_estimator_stays_unfitted():
    est = model(matcher__callbacks=[RaiseIn("on_epoch_end")])
    with pytest.raises(Misfortune):
        est.fit(X, Y)
    assert [name for name in vars(est) if name.endswith("_")] == []


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("hook", ["on_grad_computed", "on_epoch_end"])
def test_after_a_raising_callback_a_checkpoint_resumes(hook, part, tmp_path, monkeypatch):
    """With a callback that no longer raises, the fit ends where an unbroken one does."""
    settings = {f"{part}__callbacks": [RaiseIn(hook)]}
    with pytest.raises(Misfortune):
        model(folder=tmp_path, **settings).fit(X, Y)
    (state,) = tmp_path.iterdir()
    stage = 2 if part == "matcher" else 1
    assert (state / f"stage-{stage}.state").exists()
    monkeypatch.setattr(RaiseIn, "armed", False)
    resumed = model(folder=tmp_path, **settings).fit(X, Y)
    assert_array_equal(draws(resumed), draws(fitted()))
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    import pytest
    from test_broken_off import EPOCHS, TermAt, X, Y, model
    for name, value in EPOCHS.items():
        pytest.MonkeyPatch().setattr(name, value)
    model(folder={folder!r}, matcher__callbacks=[TermAt()]).fit(X, Y)
"""


def test_sigterm_ends_the_process_and_a_checkpoint_resumes(tmp_path):
    script = SCRIPT.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        env=os.environ | {"SEND_SIGTERM": "1"},
    )
    assert done.returncode == -signal.SIGTERM
    (state,) = tmp_path.iterdir()
    assert (state / "stage-2.state").exists()
    assert list(state.glob("*.part")) == []
    resumed = model(folder=tmp_path, matcher__callbacks=[TermAt()]).fit(X, Y)
    whole = fitted()
    assert_array_equal(draws(resumed), draws(whole))
    for name, values in whole.matcher_.history_.items():
        assert_array_equal(resumed.matcher_.history_[name], values)
    assert list(tmp_path.iterdir()) == []
