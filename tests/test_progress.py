"""What `verbose` shows: bars on a terminal, lines elsewhere, nothing at 0."""

import io
import logging
import re
from contextlib import contextmanager, redirect_stderr

import numpy as np
import pytest
from helpers import plain_regressor
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator, LSDMRegressor, SamplingEnsemble, progress
from sklsdm.autoencoders import MLPAutoencoder
from sklsdm.matchers import EnergyMatcher, WGANMatcher
from sklsdm.progress import Progress

RNG = np.random.default_rng(0)
# Twenty epochs of one step: the held-out pairs often see no progress.
pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning")

X = RNG.normal(size=(40, 2))
Y = X + RNG.normal(size=(40, 2))


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 1)


@contextmanager
def screen():
    """Context with standard error as a terminal; pytest undoes such a change between fixtures."""
    with redirect_stderr(Screen()) as stream:
        yield stream


def make(max_steps=20, callbacks=None, **settings):
    matcher = EnergyMatcher(
        max_steps=max_steps, widths=(8,), callbacks=callbacks, n_iter_no_change=None
    )
    return plain_regressor(matcher=matcher, random_state=0, **settings)


def open_bars():
    return [bar for bar in progress._bars()._instances if not bar.disable]


class Fails(Callback):
    """An error in the third epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise ZeroDivisionError


class Interrupts(Callback):
    """Ctrl-C in the third epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


# ------------------------------------------------------------------ one estimator
@pytest.mark.parametrize("verbose", [0, False])
def test_nothing_is_shown_without_verbose(capfd, verbose):
    make(verbose=verbose).fit(X, Y)
    assert capfd.readouterr() == ("", "")


def test_a_log_file_gets_at_most_ten_lines_for_a_stage(capfd):
    make(verbose=1, autoencoder=MLPAutoencoder(max_epochs=3), latent_dim=2).fit(X, Y)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\r" not in err
    first = [line for line in err.splitlines() if line.startswith("stage 1 (autoencoder): ")]
    second = [line for line in err.splitlines() if line.startswith("stage 2 (matching): ")]
    assert len(first) == 3
    assert len(second) == 10
    assert re.fullmatch(
        r"stage 2 \(matching\): epoch 2/20, loss=[\d.]+, valid_multiscale_score=[\d.]+, "
        r"\d\d:\d\d left",
        second[0],
    )
    assert re.fullmatch(r".*epoch 20/20, loss=[\d.]+, valid_multiscale_score=[\d.]+", second[-1])


@pytest.mark.parametrize("kind", [Screen, io.StringIO])
def test_two_is_a_line_for_each_epoch(kind):
    with redirect_stderr(kind()) as stream:
        matcher = WGANMatcher(max_steps=4, n_critic=1, n_iter_no_change=None)
        LSDMGenerator(matcher=matcher, verbose=2).fit(Y)
    shown = stream.getvalue()
    for epoch in range(1, 5):
        line = rf"^stage 2 \(matching\): epoch {epoch}/4, loss=.*critic_loss="
        assert re.search(line, shown, re.M)
    assert "|" not in shown


def test_a_terminal_gets_a_bar_for_each_stage(capfd):
    with screen() as stream:
        make(verbose=1).fit(X, Y)
    assert re.search(r"stage 2 \(matching\): 100%\|.*20/20 \[.*loss=", stream.getvalue())
    assert open_bars() == []
    assert capfd.readouterr() == ("", "")


def test_a_stage_that_stops_early_says_so():
    est = make(verbose=1, max_steps=300).set_params(matcher__n_iter_no_change=1)
    with screen() as stream:
        est.fit(X, Y)
        done = len(est.history_["matcher"]["train_loss"])
        assert done < 300
        assert "stage 2 (matching), stopped early: " in stream.getvalue()
        est.set_params(verbose=2).fit(X, Y)
    assert f"stage 2 (matching): stopped early after epoch {done}/300" in stream.getvalue()


@pytest.mark.parametrize(
    ("callback", "error"), [(Fails, ZeroDivisionError), (Interrupts, KeyboardInterrupt)]
)
def test_the_bar_is_closed_when_fit_raises(callback, error):
    with screen() as stream, pytest.raises(error):
        make(verbose=1, callbacks=[callback()]).fit(X, Y)
    assert open_bars() == []
    assert "2/20" in stream.getvalue()
    assert "stopped early" not in stream.getvalue()


def test_the_bar_of_a_resumed_fit_goes_on_where_it_was(tmp_path, monkeypatch):
    est = make(verbose=1, checkpoint=tmp_path, callbacks=[Fails()])
    with pytest.raises(ZeroDivisionError):
        est.fit(X, Y)
    monkeypatch.setattr(Fails, "on_epoch_end", Callback.on_epoch_end)
    with screen() as stream:
        est.fit(X, Y)
    assert " 1/20 " not in stream.getvalue()
    assert " 20/20 " in stream.getvalue()


def test_what_is_shown_does_not_change_the_result():
    draws = [make(verbose=v).fit(X, Y).sample(X, random_state=0) for v in (0, 1, 2)]
    assert_array_equal(draws[0], draws[1])
    assert_array_equal(draws[0], draws[2])


class Explodes(Callback):
    """A network that is not finite after the second epoch."""

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 2:
            next(net.module_.parameters()).data.fill_(np.nan)


def test_other_news_go_to_the_log(caplog, capfd):
    with caplog.at_level(logging.WARNING, logger="sklsdm"):
        make(callbacks=[Explodes()]).fit(X, Y)
    assert "training diverged; back to the last good epoch" in caplog.text
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ workers
def test_worker_processes_write_lines_even_to_a_terminal(monkeypatch):
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "the parent")
    with screen() as stream:
        make(verbose=1).fit(X, Y)
    assert "\r" not in stream.getvalue()
    assert "stage 2 (matching): epoch 20/20" in stream.getvalue()


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_worker_processes_of_joblib_are_known(backend):
    is_worker = "__import__('multiprocessing').parent_process() is not None"
    assert all(Parallel(n_jobs=2, backend=backend)(delayed(eval)(is_worker) for _ in range(2)))
    assert not eval(is_worker)


def test_threads_have_bars_side_by_side():
    with screen() as stream:
        Parallel(n_jobs=2, backend="threading")(
            delayed(make(verbose=1).fit)(X, Y) for _ in range(2)
        )
    assert open_bars() == []
    assert len(re.findall(r" 20/20 \[", stream.getvalue())) >= 2


# ------------------------------------------------------------------ several fits
@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 3), (2, 3)])
def test_an_ensemble_tells_of_its_fits(capfd, verbose, n_lines):
    SamplingEnsemble(make(), n_estimators=3, random_state=0, verbose=verbose).fit(X, Y)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == n_lines
    assert all(line.startswith("SamplingEnsemble: fit ") for line in lines)


def test_an_ensemble_has_a_bar_above_those_of_its_fits():
    with screen() as stream:
        SamplingEnsemble(make(verbose=1), n_estimators=2, random_state=0, verbose=1).fit(X, Y)
    assert re.search(r"SamplingEnsemble: 100%\|.*2/2 ", stream.getvalue())
    assert re.search(r"stage 2 \(matching\): 100%", stream.getvalue())
    assert open_bars() == []


def test_the_bar_of_an_ensemble_is_closed_when_a_fit_raises():
    ensemble = SamplingEnsemble(make(callbacks=[Fails()]), n_estimators=2, verbose=1)
    with screen(), pytest.raises(ZeroDivisionError):
        ensemble.fit(X, Y)
    assert open_bars() == []


# ------------------------------------------------------------------ the loop itself
@pytest.mark.parametrize("total", [1, 3, 10, 11, 25, 1000])
def test_lines_end_with_the_last_round(capfd, total):
    with Progress("loop", total, "round", 1) as loop:
        for _ in range(total):
            loop.advance()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == min(total, 10)
    assert lines[-1] == f"loop: round {total}/{total}"


def test_notebooks_get_bars():
    kind = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    with redirect_stderr(kind()) as stream, Progress("loop", 2, "round", 1) as loop:
        loop.advance()
    assert " 1/2 " in stream.getvalue()


def test_no_standard_error_at_all(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    make(verbose=2).fit(X, Y)


def test_verbose_is_checked():
    with pytest.raises(ValueError, match="verbose must be at least 0"):
        LSDMRegressor(verbose=-1).fit(X, Y)
    with pytest.raises(ValueError, match="verbose must be at least 0"):
        SamplingEnsemble(make(), verbose=-1).fit(X, Y)
