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


@pytest.fixture
def small_forests(monkeypatch):
    """20 trees in place of 200, small boosters, a Gaussian process that is hardly tuned.

    For tests that do not look at what the trees predict.
    """
    from helpers import shrink_forests

    shrink_forests(monkeypatch)


@pytest.fixture(scope="module")
def small_forests_everywhere():
    """The same in all of a file, also in fits that its tests share."""
    from helpers import shrink_forests

    with pytest.MonkeyPatch.context() as patch:
        shrink_forests(patch)
        yield


# What fits look at, in tests and for users: draws in the end, patches of rebuilt images.
_LOOKS = {
    "sklsdm.matchers.base._LOOKED_AT_IN_THE_END": (1, 16),
    "sklsdm.autoencoders.residuals._N_PATCHES": (500, 2000),
}


def _set_looks(place):
    with pytest.MonkeyPatch.context() as patch:
        for name, sizes in _LOOKS.items():
            patch.setattr(name, sizes[place])
        yield


@pytest.fixture(scope="session", autouse=True)
def few_looks():
    """A fit looks at fewer draws in the end, and at fewer patches of rebuilt images.

    That is a tenth of the time of short fits. It changes no draw, but for images whose residuals
    may be noise.
    """
    yield from _set_looks(0)


@pytest.fixture(scope="module")
def all_looks(few_looks):
    """As many as for users, for tests of what is seen in them."""
    yield from _set_looks(1)


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
