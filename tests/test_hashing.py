"""A fit is found again by its contents: what may end in other draws has another name."""

import io
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from torch import nn

from sklsdm.matchers import EnergyMatcher
from sklsdm.storage import fit_folder
from sklsdm.storage.hashing import content_hash


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 2).eval()


def long_range(end):
    return (np.zeros(5000), np.r_[np.ones(2500), end, np.ones(2499)])


def scaled(factor):
    return lambda y: y * factor


class Shift(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by


DIFFERENT = {
    "weights": (linear(0), linear(1)),
    "a pair's weights": ((linear(0), linear(5)), (linear(0), linear(6))),
    "a module's settings": (Shift(1.0), Shift(2.0)),
    "dropout": (nn.Dropout(0.1), nn.Dropout(0.2)),
    "modes": (nn.Dropout(0.1), nn.Dropout(0.1).eval()),
    "long arrays": (long_range(2.0), long_range(3.0)),
    "lambdas": (lambda y: y + 1, lambda y: y + 2),
    "what a function encloses": (scaled(2), scaled(3)),
    "partials": (partial(max, 1), partial(max, 2)),
    "states": (np.random.RandomState(0), np.random.RandomState(1)),
    "generators": (np.random.default_rng(0), np.random.default_rng(1)),
    "types": (1, 1.0),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "parts": (EnergyMatcher(), EnergyMatcher(lr=0.5)),
    "order": ([1, 2], [2, 1]),
    "nesting": ([[1], 2], [[1, 2]]),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_different_contents_differ(case):
    first, second = DIFFERENT[case]
    assert content_hash(first) != content_hash(second)


@pytest.mark.parametrize(
    "make",
    [
        lambda: linear(3),
        lambda: long_range(2.0),
        lambda: scaled(2),
        lambda: np.random.RandomState(4),
        lambda: np.random.default_rng(4),
        lambda: plain_regressor(matcher=EnergyMatcher(widths=(8,))).get_params(),
        lambda: {"b": 1, "a": {2, 3}},
    ],
)
def test_equal_contents_are_equal(make):
    assert content_hash(make()) == content_hash(make())


def test_a_list_that_holds_itself():
    loop = [1]
    loop.append(loop)
    assert len(content_hash(loop)) == 64


def test_another_process_finds_the_same_name():
    script = (
        "import torch; from torch import nn; from sklsdm.storage.hashing import content_hash;"
        "torch.manual_seed(0); m = nn.Sequential(nn.Linear(3, 2), nn.Tanh());"
        "print(content_hash(m, {'x': {'a', 'b', 'c'}}, lambda y: y + 1))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    with redirect_stdout(io.StringIO()) as here, torch.random.fork_rng():
        exec(script, {"__name__": "__main__"})
    assert there == here.getvalue()
    assert len(there) == 65


def test_versions_of_the_package_do_not_meet(monkeypatch, tmp_path):
    before = fit_folder.fit_path(tmp_path, {"lr": 1}, [None])
    monkeypatch.setattr(fit_folder, "__version__", "99.0")
    assert fit_folder.fit_path(tmp_path, {"lr": 1}, [None]) != before


def test_what_does_not_change_the_result_is_not_in_the_name(tmp_path):
    plain = fit_folder.fit_path(tmp_path, {"lr": 1, "verbose": 0, "checkpoint": "a"}, [])
    assert fit_folder.fit_path(tmp_path, {"lr": 1, "verbose": 1, "checkpoint": "b"}, []) == plain


def test_a_fit_does_not_go_on_from_that_of_other_weights(tmp_path):
    """A killed fit with one pair of modules leaves its state; one with another starts afresh."""
    from skorch.callbacks import Callback

    class Kill(Callback):
        armed = True

        def on_epoch_end(self, net, **kwargs):
            if self.armed and len(net.history) == 2:
                raise RuntimeError("killed")

    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 2)), random.normal(size=(60, 3))

    def estimator(seed, checkpoint=None):
        pair = (linear(seed), nn.Linear(2, 3).eval())
        with torch.no_grad():
            pair[1].weight.copy_(pair[0].weight.T)
        matcher = EnergyMatcher(max_steps=300, callbacks=[Kill()])
        return plain_regressor(
            matcher=matcher,
            autoencoder=pair,
            random_state=0,
            checkpoint=checkpoint,
            validation_fraction=0.0,
        )

    with pytest.raises(RuntimeError, match="killed"):
        estimator(0, tmp_path).fit(X, y)
    Kill.armed = False
    fresh = estimator(1).fit(X, y).sample(X[:4], 3, random_state=0)
    other = estimator(1, tmp_path).fit(X, y).sample(X[:4], 3, random_state=0)
    np.testing.assert_array_equal(other, fresh)
