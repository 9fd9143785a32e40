"""What every test runs under: one thread, no window, no clock in hypothesis."""

import os

# Before torch and numpy are imported: tests run in several processes on few cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

pytest.register_assert_rewrite("helpers")

try:
    import hypothesis
except ImportError:  # a GPU machine may lack it
    pass
else:
    hypothesis.settings.register_profile("sklsdm", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("sklsdm")


def _shrink_forests(monkeypatch):
    monkeypatch.setattr("sklsdm.encoders.trees._TREES", (20, 20))
    monkeypatch.setattr("sklsdm.encoders.boosting._MOST_TREES", 3)
    monkeypatch.setattr("sklsdm.encoders.boosting._MANY_FOLDS", 2)
    monkeypatch.setattr("sklsdm.encoders.gaussian_process._MOST_TO_TUNE", 30)
    monkeypatch.setattr("sklsdm.encoders.gaussian_process._FOLDS", 2)
    monkeypatch.setattr("sklsdm.encoders.matern._MOST_STEPS", 3)


@pytest.fixture
def small_forests(monkeypatch):
    """20 trees in place of 200, small boosters, a Gaussian process that is hardly tuned.

    For tests that do not look at what the trees predict.
    """
    _shrink_forests(monkeypatch)


@pytest.fixture(scope="module")
def small_forests_everywhere():
    """The same in all of a file, also in fits that its tests share."""
    with pytest.MonkeyPatch.context() as patch:
        _shrink_forests(patch)
        yield


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
