"""Threads that draw while another refits get the old fit's draws or the new one's, bit for bit."""

import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from helpers import plain_regressor
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator, SamplingEnsemble, make_sampling_pipeline
from sklsdm.owner import without_advice
from sklsdm.public_calls import is_learnt, take_over

N_THREADS = 3


def data(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return scale * random.normal(size=(40, 2)), scale * random.normal(size=(40, 3))


pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")
ONE, OTHER = data(0), data(1, scale=100.0)  # in other units, so that no mixture of fits fits either


def regressor(**params):
    est = plain_regressor(matcher="energy", autoencoder="pca", random_state=0, **params)
    return est.set_params(matcher__max_steps=5)


@contextmanager
def quick_switches():
    """Threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def all_draws(model, X):
    """The draws of one model by every way to get them, as bytes."""
    return {
        "sample": model.sample(X, 2, random_state=0).tobytes(),
        "predict": model.predict(X, n_draws=4).tobytes(),
        "score": np.float64(model.score(ONE[0], ONE[1])).tobytes(),
    }


def draw_meanwhile(work, draw, allowed):
    """Draw in several threads while `work` runs; returns what was drawn beside `allowed`."""
    strange, errors, count = [], [], [0] * N_THREADS
    done = threading.Event()

    def keep_drawing(place):
        try:
            while not done.is_set() or count[place] < 3:
                found = draw()
                strange.extend(key for key in found if found[key] not in allowed[key])
                count[place] += 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=keep_drawing, args=(n,)) for n in range(N_THREADS)]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return strange


def allowed_by(*drawn):
    """For each way to draw, what the given fits draw."""
    allowed = {key: {each[key] for each in drawn} for key in drawn[0]}
    assert all(len(values) == len(drawn) for values in allowed.values())
    return allowed


def learnt(model):
    return {name: value for name, value in vars(model).items() if is_learnt(name)}


@pytest.mark.parametrize("kind", ["regressor", "ensemble"])
def test_a_change_of_fits_is_seen_whole(kind):
    """Changes from one fit to the other, as `fit` makes them, as often as draws start."""

    def make():
        return regressor() if kind == "regressor" else SamplingEnsemble(regressor(), n_estimators=2)

    X = ONE[0]
    one, other = make().fit(*ONE), make().fit(*OTHER)
    fits = learnt(one), learnt(other)

    def change():
        for turn in range(400):
            take_over(one, fits[turn % 2])
            time.sleep(1e-4)

    allowed = allowed_by(all_draws(one, X), all_draws(other, X))
    with quick_switches():
        assert draw_meanwhile(change, lambda: all_draws(one, X), allowed) == []


def test_refits_while_others_draw():
    est, X = regressor().fit(*OTHER), ONE[0]
    other = all_draws(est, X)
    allowed = allowed_by(all_draws(est.fit(*ONE), X), other)

    def refit():
        for _ in range(4):
            est.fit(*OTHER)
            est.fit(*ONE)

    with quick_switches():
        assert draw_meanwhile(refit, lambda: all_draws(est, X), allowed) == []


def test_refits_of_a_pipeline_while_others_draw():
    """The transformers change together with the estimator."""
    X = ONE[0]
    pipe = make_sampling_pipeline(StandardScaler(), regressor(scale_X=False))
    est = pipe[-1]
    other = all_draws(pipe.fit(*OTHER), X)
    allowed = allowed_by(all_draws(pipe.fit(*ONE), X), other)

    def refit():
        for _ in range(4):
            pipe.fit(*OTHER)
            pipe.fit(*ONE)

    with quick_switches():
        assert draw_meanwhile(refit, lambda: all_draws(pipe, X), allowed) == []
    assert pipe[-1] is est  # refitted in place, as in every Pipeline


class Raises(Callback):
    """Ends training with an error of its own."""

    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_transformers_belong_to_the_fit_that_was_kept(error):
    """After Ctrl-C in stage 2 the new fit is kept, after an error the old one."""
    pipe = make_sampling_pipeline(StandardScaler(), regressor(scale_X=False)).fit(*ONE)
    old = all_draws(pipe, ONE[0])
    means = {0.0: pipe[0].mean_, 1.0: StandardScaler().fit(OTHER[0]).mean_}
    pipe.set_params(lsdmregressor__matcher__callbacks=[Raises(error)])
    with pytest.raises(error):
        pipe.fit(*OTHER)
    kept_new = error is KeyboardInterrupt
    assert pipe[-1].interrupted_ == kept_new
    np.testing.assert_array_equal(pipe[0].mean_, means[float(kept_new)])
    assert (all_draws(pipe, ONE[0]) == old) is not kept_new


@pytest.mark.slow
def test_generator_refits_while_others_draw():
    model = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=5)

    def draw():
        return {"sample": model.sample(4, random_state=0).tobytes()}

    model.fit(OTHER[1])
    other = draw()
    model.fit(ONE[1])
    allowed = allowed_by(draw(), other)

    def refit():
        for _ in range(4):
            model.fit(OTHER[1])
            model.fit(ONE[1])

    assert draw_meanwhile(refit, draw, allowed) == []


@pytest.mark.filterwarnings("always::sklsdm.NotImprovedWarning")
def test_silence_is_of_one_thread(recwarn):
    """The search keeps its trials quiet, but not fits in other threads."""
    with without_advice():
        regressor().fit(*ONE)
        assert len(recwarn) == 0
        thread = threading.Thread(target=regressor().fit, args=ONE)
        thread.start()
        thread.join()
    assert len(recwarn) == 1
