"""A killed fit goes on from its checkpoint and ends where an unbroken one does."""

import errno
import functools
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import torch
from helpers import DAMAGES, NO_ORDINARY_FILES, plain_regressor, slow_but
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator
from sklsdm.storage.files import write_checked

EPOCHS = {
    "sklsdm.matchers.base.EPOCH_STEPS": 10,
    "sklsdm.autoencoders.trained.TrainedAutoencoder._min_steps": lambda self, form: 10,
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


OLD = ("", ".previous")  # the latest state of a training, and the one before it


def left_in(folder):
    """Names in the only folder there; the states of a diffusion to start from do not count."""
    (state,) = folder.iterdir()
    return sorted(
        path.name for path in state.iterdir() if not path.name.startswith("diffusion.state")
    )


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
    assert list(folder.iterdir()) == []  # a finished fit leaves nothing behind
    assert_learnt_the_same(resumed, whole)


def assert_learnt_the_same(fitted, whole):
    """Draws, all losses and all weights are equal."""
    x = make_data()[0][:5]
    assert_array_equal(fitted.sample(x, 3, random_state=0), whole.sample(x, 3, random_state=0))
    for stage, losses in whole.history_.items():
        for name, values in losses.items():
            assert_array_equal(fitted.history_[stage][name], values)
    for found, weights in zip(
        fitted.matcher_.network_.parameters(), whole.matcher_.network_.parameters(), strict=True
    ):
        assert torch.equal(found, weights)


PARTS = {  # the epoch in which it is killed, and the files of the epochs before
    "autoencoder": (2, ["seed.state", "stage-1.state"]),
    "matcher": (3, ["seed.state"] + [f"stage-{k}.state{old}" for k in (1, 2) for old in OLD]),
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
    seed = int((state / "seed.state").read_text().splitlines()[-1])
    resumed = resume(tmp_path, "matcher", 2, "energy", random_state=None)
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


@pytest.mark.parametrize("make", [list, np.asarray, np.float32, torch.from_numpy])
def test_validation_pairs_of_any_kind(tmp_path, make):
    """Equal ones have one folder, whatever they are kept in."""
    x, y, more = make_data()
    X_val, y_val = x[:20].astype(np.float32).astype(float), y[:20]
    model = make_model("energy", tmp_path).set_params(matcher__callbacks=[KillAt(2)])
    with pytest.raises(Killed):
        model.fit(x, y, more, X_val=X_val, y_val=y_val)
    with pytest.raises(Killed):
        model.fit(x, y, more, X_val=make(X_val), y_val=y_val)
    assert len(list(tmp_path.iterdir())) == 1


def test_validation_pairs_that_are_refused_leave_no_folder(tmp_path):
    x, y, more = make_data()
    with pytest.raises(ValueError, match="X_val"):
        make_model("energy", tmp_path).fit(x, y, more, X_val=x[:, :1], y_val=y)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ damaged files
@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """What a fit leaves that was killed in its last epoch."""
    folder = tmp_path_factory.mktemp("broken")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in EPOCHS.items():
            patch.setattr(name, value)
        run_and_break_off(folder, "matcher", 3, "energy")
    return folder


@pytest.fixture
def folder(broken_off, tmp_path):
    """A copy of it, with a file of somebody else in it."""
    shutil.copytree(broken_off, tmp_path / "copy")
    (state,) = (tmp_path / "copy").iterdir()
    (state / "notes.txt").write_text("mine")
    return tmp_path / "copy"


def assert_goes_on(folder, *damaged):
    """The fit ends as an unbroken one, names each damaged file and keeps it under another name."""
    (state,) = folder.iterdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        resumed = resume(folder, "matcher", 3, "energy")
    assert_learnt_the_same(resumed, unbroken("energy"))
    texts = [str(warning.message) for warning in caught]
    named = sorted(text.split()[3] for text in texts if text.startswith("The checkpoint file"))
    assert named == sorted(str(state / name) for name in damaged)
    assert left_in(folder) == sorted(["notes.txt", *(f"{name}.damaged" for name in damaged)])


FILES = PARTS["matcher"][1]
LATEST = [name for name in FILES if name.endswith(".state")]


@pytest.mark.parametrize("name", slow_but(["stage-1.state", "stage-2.state"], LATEST))
@pytest.mark.parametrize(
    "damage", slow_but(["bit at 0.9", "cut to 0.5", "full folder"], DAMAGES | NO_ORDINARY_FILES)
)
def test_a_fit_goes_on_without_a_damaged_file(folder, name, damage):
    (state,) = folder.iterdir()
    (DAMAGES | NO_ORDINARY_FILES)[damage](state / name)
    (state / "moved").unlink(missing_ok=True)
    assert_goes_on(folder, name)


def test_a_fit_starts_afresh_where_all_files_are_damaged(folder):
    (state,) = folder.iterdir()
    for name in FILES:
        (state / name).write_bytes(b"")
    assert_goes_on(folder, *FILES)


class Evil:
    def __reduce__(self):
        return open, ("was_here", "w")


CONTENTS = {
    "code": Evil(),
    "nothing": {},
    "other names": {"net": {"modules": {}}},
    "half a state": {"net": {"random": None, "modules": {}, "optimizers": {}}, "history": 3},
}


@pytest.mark.parametrize("content", CONTENTS)
def test_contents_that_are_no_state(folder, content, monkeypatch):
    """Their checksum is right, so somebody made them on purpose. None of their code runs."""
    (state,) = folder.iterdir()
    monkeypatch.chdir(folder.parent)
    saved = io.BytesIO()
    torch.save(CONTENTS[content], saved)
    head = (state / "stage-2.state").read_bytes().partition(b"\n")[0].decode()
    seed = head.rpartition(" ")[2]
    label = f"{state.name} stage-2.state of seed {seed}"
    write_checked(state / "stage-2.state", label, saved.getvalue())
    assert_goes_on(folder, "stage-2.state")
    assert not (folder.parent / "was_here").exists()


# ------------------------------------------------------------------ where nothing can be written
def test_a_fit_goes_on_where_the_disk_is_full(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    model = make_model("energy", tmp_path)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        model.fit(*make_data())
    assert_learnt_the_same(model, unbroken("energy"))
    assert sum("could not be stored" in str(warning.message) for warning in caught) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_fit_goes_on_where_there_can_be_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    model = make_model("energy", tmp_path / "file" / "below")
    with pytest.warns(
        UserWarning, match="could not be stored in checkpoint=.*file/below"
    ) as caught:
        model.fit(*make_data())
    assert_learnt_the_same(model, unbroken("energy"))
    assert sum("could not be stored" in str(warning.message) for warning in caught) == 1


# ------------------------------------------------------------------ equal fits at the same time
class FitInside(Callback):
    """Fit the same in the same folder, from the beginning to the end, in each epoch."""

    armed = False

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_end(self, net, **kwargs):
        if FitInside.armed:
            FitInside.armed = False
            resumable(self.folder).fit(*make_data())
            assert list(self.folder.iterdir()) == []  # it ended, and removed what was there
            FitInside.armed = True


def resumable(folder):
    return make_model("energy", folder).set_params(matcher__callbacks=[FitInside(folder)])


def test_an_equal_fit_that_ends_first_takes_nothing_away(tmp_path, monkeypatch):
    monkeypatch.setattr(FitInside, "armed", True)
    model = resumable(tmp_path).fit(*make_data())
    assert_learnt_the_same(model, unbroken("energy"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def context(monkeypatch):
    """Of processes that start at once: they are copies of one that has imported this file."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__), prepend=os.pathsep)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_checkpoint"])
    return context


def fit_often(folder, barrier, n_trials, found):
    """In a process of its own: fit in step with another one; report what came of each."""
    for name, value in EPOCHS.items():
        pytest.MonkeyPatch().setattr(name, value)
    for _ in range(n_trials):
        barrier.wait()
        try:
            model = make_model("energy", folder).fit(*make_data())
            assert_learnt_the_same(model, unbroken("energy"))
            found.put("equal")
        except BaseException as error:
            found.put(repr(error))


@pytest.mark.slow
def test_two_processes_with_one_folder(tmp_path, context):
    barrier, found = context.Barrier(2), context.Queue()
    arguments = (tmp_path, barrier, 20, found)
    both = [context.Process(target=fit_often, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    assert [found.get(timeout=200) for _ in range(40)] == ["equal"] * 40
    for process in both:
        process.join()
    assert list(tmp_path.iterdir()) == []


def make_long_model(folder):
    return make_model("wgan", folder).set_params(matcher__max_steps=400)


def fit_long(folder, starts):
    for name, value in EPOCHS.items():
        pytest.MonkeyPatch().setattr(name, value)
    starts.set()
    make_long_model(folder).fit(*make_data())


@pytest.mark.slow
def test_kills_at_any_time(tmp_path, context):
    """Ten kills, wherever the fit is: in a step, while it writes, between the stages."""
    for seconds in np.random.default_rng(0).uniform(0.02, 1.0, size=10):
        starts = context.Event()
        process = context.Process(target=fit_long, args=(tmp_path, starts))
        process.start()
        starts.wait()
        time.sleep(seconds)
        process.kill()
        process.join()
    resumed = make_long_model(tmp_path).fit(*make_data())
    assert_learnt_the_same(resumed, make_long_model(None).fit(*make_data()))
    assert list(tmp_path.iterdir()) == []
