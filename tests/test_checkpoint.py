"""A killed fit goes on from its checkpoint and ends where an unbroken one does."""

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

from sklsdm import LSDMGenerator

EPOCHS = {
    "sklsdm.matchers.base.EPOCH_STEPS": 10,
    "sklsdm.autoencoders.trained.TrainedAutoencoder._min_steps": lambda self: 10,
}


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    for name, value in EPOCHS.items():
        monkeypatch.setattr(name, value)


class Killed(BaseException):
    """Nothing catches it: what a fit has written is what a killed process leaves behind."""


class KillAt(Callback):
    """End a fit at the start of an epoch. A process of its own is killed, as the kernel would."""

    armed = True  # no setting: a resumed fit has the settings of the one that was killed

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if self.armed and len(net.history) == self.epoch:
            if "KILL" in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed


def make_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    return x, np.c_[x, x**2, np.sin(x), rng.normal(size=(60, 6))], rng.normal(size=(200, 12))


def make_model(matcher, folder, random_state=0):
    model = plain_regressor(
        3, matcher, autoencoder="mlp", random_state=random_state, checkpoint=folder
    )
    return model.set_params(autoencoder__max_epochs=3, matcher__max_steps=30)


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    import pytest
    from test_checkpoint import EPOCHS, KillAt, make_data, make_model
    for name, value in EPOCHS.items():
        pytest.MonkeyPatch().setattr(name, value)
    model = make_model({matcher!r}, {folder!r})
    model.set_params({part}__callbacks=[KillAt({epoch})])
    model.fit(*make_data())
"""


def left_in(folder):
    (state,) = folder.iterdir()
    return sorted(path.name for path in state.iterdir())


def run_and_kill(folder, part, epoch, matcher):
    script = SCRIPT.format(
        tests=os.path.dirname(__file__), matcher=matcher, folder=str(folder), part=part, epoch=epoch
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        env=os.environ | {"KILL": "1"},
    )
    assert done.returncode == -signal.SIGKILL


def run_and_break_off(folder, part, epoch, matcher, random_state=0):
    model = make_model(matcher, folder, random_state)
    model.set_params(**{f"{part}__callbacks": [KillAt(epoch)]})
    with pytest.raises(Killed):
        model.fit(*make_data())


def resume(folder, part, epoch, matcher, random_state=0):
    model = make_model(matcher, folder, random_state)
    model.set_params(**{f"{part}__callbacks": [KillAt(epoch)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KillAt, "armed", False)
        return model.fit(*make_data())


@functools.cache
def unbroken(matcher):
    return make_model(matcher, None).fit(*make_data())


def assert_ends_as_an_unbroken_one(folder, part, epoch, matcher):
    resumed, whole = resume(folder, part, epoch, matcher), unbroken(matcher)
    x = make_data()[0][:5]
    assert_array_equal(resumed.sample(x, 3, random_state=0), whole.sample(x, 3, random_state=0))
    for stage, losses in whole.history_.items():
        for name, values in losses.items():
            assert_array_equal(resumed.history_[stage][name], values)
    assert list(folder.iterdir()) == []  # a finished fit leaves nothing behind


PARTS = {
    "autoencoder": (2, ["seed.json", "stage-1.pt"]),
    "matcher": (2, ["seed.json", "stage-1.pt", "stage-2.pt"]),
}


@pytest.mark.parametrize(
    ("part", "matcher"),
    [
        ("matcher", "wgan"),
        pytest.param("matcher", "energy", marks=pytest.mark.slow),
        pytest.param("autoencoder", "wgan", marks=pytest.mark.slow),
        pytest.param("autoencoder", "energy", marks=pytest.mark.slow),
    ],
)
def test_killed_fit_ends_as_an_unbroken_one(tmp_path, part, matcher):
    epoch, left = PARTS[part]
    run_and_kill(tmp_path, part, epoch, matcher)
    assert left_in(tmp_path) == left
    assert_ends_as_an_unbroken_one(tmp_path, part, epoch, matcher)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("matcher", ["wgan", "energy"])
def test_broken_off_fit_ends_as_an_unbroken_one(tmp_path, part, matcher):
    """As above without another process, which takes seconds to start."""
    epoch, left = PARTS[part]
    run_and_break_off(tmp_path, part, epoch, matcher)
    assert left_in(tmp_path) == left
    assert_ends_as_an_unbroken_one(tmp_path, part, epoch, matcher)


def test_drawn_seed_is_remembered(tmp_path):
    run_and_break_off(tmp_path, "matcher", 2, "energy", random_state=None)
    (state,) = tmp_path.iterdir()
    kept = (state / "seed.json").read_text()
    resumed = resume(tmp_path, "matcher", 2, "energy", random_state=None)
    seed = int(kept.split(":")[1].rstrip("} \n"))
    whole = make_model("energy", None, random_state=seed).fit(*make_data())
    x = make_data()[0][:5]
    assert_array_equal(resumed.sample(x, 3, random_state=0), whole.sample(x, 3, random_state=0))


def test_other_data_or_settings_have_folders_of_their_own(tmp_path):
    class Stop(Callback):
        def on_epoch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    x, y, more = make_data()
    for model, data in (
        (make_model("energy", tmp_path), (x, y)),
        (make_model("energy", tmp_path), (x, y + 1)),
        (make_model("energy", tmp_path), (x, y, more)),
        (make_model("energy", tmp_path).set_params(matcher__lr=2e-3), (x, y)),
        (make_model("energy", tmp_path).set_params(verbose=1), (x, y)),  # the first one's
    ):
        with pytest.raises(KeyboardInterrupt):
            model.set_params(matcher__callbacks=[Stop()]).fit(*data)
    assert len(list(tmp_path.iterdir())) == 4


def test_generator_takes_a_checkpoint_too(tmp_path):
    data = make_data()[2]
    model = LSDMGenerator(3, "energy", random_state=0, checkpoint=tmp_path)
    model.set_params(matcher__max_steps=50, autoencoder__max_epochs=2).fit(data)
    assert list(tmp_path.iterdir()) == []
