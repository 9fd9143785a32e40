"""Several threads, and several fits, that share an estimator or a folder."""

import threading

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_array_equal

from sklsdm.autoencoders import base as autoencoders
from sklsdm.matchers import base as matchers


def data(n=60):
    random = np.random.default_rng(0)
    return random.normal(size=(n, 2)), random.normal(size=(n, 3))


def energy(**params):
    est = plain_regressor(matcher="energy", random_state=0, **params)
    return est.set_params(matcher__max_steps=200)


def at_once(work, n_threads=3):
    """What `work` gives in each of several threads; an error in one is raised here."""
    found, errors = [None] * n_threads, []

    def run(place):
        try:
            found[place] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def test_drawing_measures_nothing_on_the_shared_network(monkeypatch):
    """Layers were once measured by hooks while drawing, and saw the batches of other threads."""
    X, y = data()
    est = energy().fit(X, y)
    alone = est.sample(X, 40, random_state=0)

    def refuse(*args):
        raise AssertionError("measured while drawing")

    monkeypatch.setattr(matchers, "widest_output", refuse)
    monkeypatch.setattr(autoencoders, "widest_output", refuse)
    for draws in at_once(lambda: est.sample(X, 40, random_state=0)):
        assert_array_equal(draws, alone)
    est.encode(y)
    est.decode(est.encode(y))


@pytest.mark.parametrize("random_state", [0, None])
def test_equal_fits_at_once_with_one_checkpoint_folder(tmp_path, random_state):
    X, y = data()

    def fit():
        return energy(checkpoint=tmp_path).set_params(random_state=random_state).fit(X, y)

    draws = [est.sample(X, 3, random_state=0) for est in at_once(fit)]
    if random_state == 0:
        alone = energy().fit(X, y).sample(X, 3, random_state=0)
        for each in draws:
            assert_array_equal(each, alone)
    assert np.isfinite(draws).all()
    assert list(tmp_path.rglob("*.part")) == []


def test_a_refit_takes_effect_at_once():
    """Between an old fit and a new one there is no moment without one."""
    X, y = data()
    est = energy().fit(X, y)
    before = est.__dict__
    est.fit(X, y + 1)
    assert est.__dict__ is not before  # replaced, not emptied and filled
    assert hasattr(est, "matcher_")
