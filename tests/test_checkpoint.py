"""A killed fit goes on from its checkpoint and ends where an unbroken one does."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator, LSDMRegressor


class KillAt(Callback):
    """Kill a process of its own at the start of an epoch, as the kernel would: no clean-up."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch and "KILL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)


def make_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    return x, np.c_[x, x**2, np.sin(x), rng.normal(size=(60, 6))], rng.normal(size=(200, 12))


def make_model(matcher, folder, random_state=0):
    model = LSDMRegressor(
        3, matcher, autoencoder="mlp", random_state=random_state, checkpoint=folder
    )
    return model.set_params(autoencoder__max_epochs=4, matcher__max_steps=400)


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_checkpoint import KillAt, make_data, make_model
    model = make_model({matcher!r}, {folder!r}, random_state={random_state!r})
    model.set_params({part}__callbacks=[KillAt({epoch})])
    model.fit(*make_data())
"""


def run_and_kill(folder, part, epoch, matcher="wgan", random_state=0):
    script = SCRIPT.format(
        tests=os.path.dirname(__file__),
        matcher=matcher,
        folder=str(folder),
        part=part,
        epoch=epoch,
        random_state=random_state,
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        env=os.environ | {"KILL": "1"},
    )
    assert done.returncode == -signal.SIGKILL
    (state,) = folder.iterdir()
    return sorted(path.name for path in state.iterdir())


def resume(folder, part, epoch, matcher="wgan", random_state=0):
    model = make_model(matcher, folder, random_state=random_state)
    return model.set_params(**{f"{part}__callbacks": [KillAt(epoch)]}).fit(*make_data())


@pytest.mark.parametrize("matcher", ["wgan", "energy"])
@pytest.mark.parametrize(
    ("part", "epoch", "left"),
    [
        ("autoencoder", 3, ["seed.json", "stage-1.pt"]),
        ("matcher", 3, ["match", "seed.json", "stage-1.pt"]),
    ],
)
def test_killed_fit_ends_as_an_unbroken_one(tmp_path, matcher, part, epoch, left):
    assert run_and_kill(tmp_path, part, epoch, matcher) == left
    resumed = resume(tmp_path, part, epoch, matcher)
    whole = make_model(matcher, None).fit(*make_data())
    x = make_data()[0][:5]
    assert_array_equal(resumed.sample(x, 3, random_state=0), whole.sample(x, 3, random_state=0))
    for stage, losses in whole.history_.items():
        for name, values in losses.items():
            assert_array_equal(resumed.history_[stage][name], values)
    assert list(tmp_path.iterdir()) == []  # a finished fit leaves nothing behind


def test_drawn_seed_is_remembered(tmp_path):
    run_and_kill(tmp_path, "matcher", 3, "energy", random_state=None)
    (state,) = tmp_path.iterdir()
    kept = (state / "seed.json").read_text()
    resumed = resume(tmp_path, "matcher", 3, "energy", random_state=None)
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
