"""In no step and no batch of draws the CPU waits for a GPU, as torch's dispatcher sees it.

Two steps do solve an assignment on the CPU (`functional.assignment.assign`), which is not counted:
that of `flow` with coupling="conditional-ot", and that of `transport` with unpaired="match".
"""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers import ALL_MATCHERS, plain_regressor, two_sided

from sklsdm.nets import TrainingNet
from sklsdm.nets.waiting import CountWaiting


@pytest.mark.parametrize(
    "use",
    [
        lambda rows: rows.sum().item(),
        lambda rows: rows[rows > 0],
        lambda rows: rows[rows.argmax()],
        lambda rows: rows.unique(),
        lambda rows: rows.unique(dim=0),
        lambda rows: rows.nonzero(),
        lambda rows: bool(rows.sum() > 0),
    ],
)
def test_the_counter_sees(use):
    with CountWaiting() as counter:
        use(torch.arange(3.0))
    assert counter.found.total() > 0


@pytest.fixture
def epochs(monkeypatch):
    """For each training epoch, how often the CPU asked, and how many losses the epoch recorded."""
    seen = []
    real = TrainingNet.run_single_epoch

    def counted(net, iterator, training, prefix, step_fn, **fit_params):
        with CountWaiting() as counter, monkeypatch.context() as within:
            # A list of a tensor's numbers is not seen by the dispatcher.
            within.setattr(torch.Tensor, "tolist", lambda tensor: pytest.fail("tolist() in a step"))
            real(net, iterator, training, prefix, step_fn, **fit_params)
        n_losses = sum(name.endswith("loss") for name in net.history[-1] if name.startswith(prefix))
        seen.append((counter.found, n_losses if iterator is not None else 0))

    monkeypatch.setattr(TrainingNet, "run_single_epoch", counted)
    return seen


def check_epochs(epochs):
    """Losses are read once, at the end of an epoch; nothing else is."""
    assert epochs
    for found, n_losses in epochs:
        assert found == Counter({"_local_scalar_dense": n_losses} if n_losses else {})


def check_draws(est, X):
    with CountWaiting() as counter:
        est.sample(X[:4], 6, batch_size=8, random_state=0)
    assert counter.found == Counter()


@ALL_MATCHERS
@pytest.mark.parametrize("unpaired", ["latent", "match"])
def test_steps_and_draws_never_wait(matcher, unpaired, epochs):
    X, y = two_sided(60)
    est = plain_regressor(matcher=matcher, unpaired=unpaired, random_state=0)
    est.set_params(matcher__max_steps=3, matcher__widths=(8,))
    if matcher == "transport":
        est.set_params(matcher__plan_size=16)
    est.fit(X[:30], y[:30], y[30:])
    check_epochs(epochs)
    check_draws(est, X)


@pytest.mark.parametrize(
    ("matcher", "options"),
    [
        ("diffusion", {"sampler": "heun"}),
        ("diffusion", {"sampler": "ancestral"}),
        ("diffusion", {"sampler": "ddim"}),
        ("flow", {"distil": True}),
        ("wgan", {"loss": "r3gan"}),
        ("wgan", {"critic": "groupsort"}),
        ("transport", {"solver": "map", "plan_size": 16}),
    ],
)
def test_other_settings_never_wait(matcher, options, epochs):
    X, y = two_sided(40)
    est = plain_regressor(matcher=matcher, random_state=0)
    est.set_params(matcher__max_steps=3, matcher__widths=(8,))
    est.set_params(**{f"matcher__{name}": value for name, value in options.items()}).fit(X, y)
    check_epochs(epochs)
    check_draws(est, X)


@pytest.mark.parametrize(("matcher", "options"), [("diffusion", {"n_steps": 2}), ("wgan", {})])
def test_code_images_never_wait(epochs, matcher, options):
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    labels = np.eye(2)[np.arange(40) % 2]
    est = plain_regressor(matcher=matcher, autoencoder="feature-map", random_state=0)
    est.set_params(matcher__max_steps=2, matcher__channels=8)
    est.set_params(**{f"matcher__{name}": value for name, value in options.items()})
    est.set_params(autoencoder__max_epochs=1).fit(labels[:20], images[:20], images[20:])
    check_epochs(epochs)
    check_draws(est, labels)
