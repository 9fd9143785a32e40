"""Steps that are recorded and replayed train as steps taken one by one do.

A CPU records nothing. There the recording is a stand-in that takes the recorded step again, on the
recording's own tensors: what the recorder does around it is the same.
"""

import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import (
    ALL_MATCHERS,
    plain_regressor,
    record_on_the_cpu,
    shorten_epochs,
    two_sided,
)
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback

from sklsdm.matchers import WGANMatcher
from sklsdm.matchers.adversarial import AdversarialObjective
from sklsdm.matchers.energy import EnergyObjective
from sklsdm.modules import ConditionalGenerator
from sklsdm.nets import Adam, recording
from sklsdm.nets.recording import Recording
from sklsdm.nets.waiting import CountWaiting

EPOCH_STEPS = 20


@pytest.fixture
def records(monkeypatch):
    """As `record_on_the_cpu`, in short epochs."""
    shorten_epochs(monkeypatch, EPOCH_STEPS)
    return record_on_the_cpu(monkeypatch)


def fitted(matcher, unpaired="latent", **params):
    X, y = two_sided(60)
    est = plain_regressor(matcher=matcher, unpaired=unpaired, random_state=0, **params)
    est.set_params(matcher__max_steps=20, matcher__widths=(8,), validation_fraction=0.0)
    if matcher == "wgan":
        est.set_params(matcher__start="linear")
    if matcher == "transport":
        est.set_params(matcher__plan_size=16)
    return est.fit(X[:40], y[:40], y[40:])


def draws(est):
    return est.sample(two_sided(60)[0][:5], 6, random_state=0)


@ALL_MATCHERS
@pytest.mark.parametrize("unpaired", ["latent", "match"])
def test_matchers_train_alike(matcher, unpaired, records, monkeypatch):
    replayed = draws(fitted(matcher, unpaired))
    assert sum(records) == 17  # of 20 steps
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, draws(fitted(matcher, unpaired)), atol=2e-4)


@pytest.mark.parametrize(
    "params",
    [
        {"autoencoder": "mlp"},
        {"autoencoder": "mlp", "autoencoder__lipschitz": 2.0},
        {"autoencoder": "vae"},
        {"autoencoder": "dpa"},
    ],
)
def test_latent_spaces_train_alike(params, records, monkeypatch):
    def codes():
        random = np.random.default_rng(0)
        y = random.normal(size=(200, 5)) @ random.normal(size=(5, 5))
        est = plain_regressor(2, matcher="energy", random_state=0)
        est.set_params(matcher__max_steps=1, **params).set_params(autoencoder__max_epochs=2)
        return est.fit(y[:50, :1], y[:50], y[50:]).encode(y)

    replayed = codes()
    assert sum(records) > EPOCH_STEPS
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, codes(), atol=2e-4)


def test_images_train_alike(records, monkeypatch):
    def codes():
        images = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
        labels = np.eye(2)[np.arange(60) % 2]
        est = plain_regressor(matcher="wgan", autoencoder="feature-map", random_state=0)
        est.set_params(matcher__max_steps=6, matcher__channels=8, autoencoder__max_epochs=1)
        return est.fit(labels[:30], images[:30], images[30:]).sample(labels, random_state=0)

    replayed = codes()
    assert records == [EPOCH_STEPS - 3, 3]  # of both stages
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, codes(), atol=2e-3)


# ------------------------------------------------------------------ what changes between epochs
N_EPOCHS = 3


class AtEpoch(Callback):
    """Calls `change(net)` at the end of the first epoch."""

    def __init__(self, change):
        self.change = change

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 1:
            self.change(net)


def fitted_with(*callbacks):
    X, y = two_sided(60)
    est = plain_regressor(matcher="wgan", random_state=0, validation_fraction=0.0)
    est.set_params(matcher__max_steps=N_EPOCHS * EPOCH_STEPS, matcher__widths=(8,))
    est.set_params(matcher__start="linear")
    return est.set_params(matcher__callbacks=list(callbacks)).fit(X, y)


def halve(net):
    for optimizer in net.optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] /= 2


def spoil(net):
    next(net.module_.parameters()).data.fill_(np.nan)


def freeze(net):
    next(net.critic_.parameters()).requires_grad_(False)


def weigh(net):
    net.criterion_.energy_weight *= 2


def penalise(net):
    net.criterion_.penalty.weight *= 10


def hook(net):
    net.module_.register_forward_hook(lambda module, inputs, output: 1.1 * output)


@pytest.mark.parametrize(
    ("change", "n_recordings"),
    [(halve, 1), (spoil, 2), (freeze, 2), (weigh, 2), (penalise, 2), (hook, 1)],
)
def test_changes_between_epochs_are_seen(change, n_recordings, records, monkeypatch):
    replayed = draws(fitted_with(AtEpoch(change)))
    assert len(records) == n_recordings
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, draws(fitted_with(AtEpoch(change))), atol=2e-2)


def test_hooks_on_gradients_see_every_step(records):
    class Count(Callback):
        n_seen = 0

        def on_grad_computed(self, net, **kwargs):
            Count.n_seen += 1

    fitted_with(Count())
    assert Count.n_seen == 2 * N_EPOCHS * EPOCH_STEPS  # critic and generator
    assert records == []


# ------------------------------------------------------------------ what is not recorded
def test_a_criterion_that_does_not_say_so(records, monkeypatch):
    monkeypatch.setattr(EnergyObjective, "recordable", False)
    fitted("energy")
    assert records == []


def test_modules_of_a_user(records, monkeypatch):
    class Own(ConditionalGenerator):
        pass

    monkeypatch.setattr("sklsdm.matchers.generators.ConditionalGenerator", Own)
    fitted("energy")
    assert records == []


def test_losses_of_a_user(records, monkeypatch):
    class Own(WGANMatcher):
        def _losses(self):
            critic, generator = super()._losses()
            return lambda real, drawn: critic(real, drawn), generator

    class Inherits(EnergyObjective):
        pass

    class Says(EnergyObjective):
        recordable = True

    fitted(Own(start="linear"))
    monkeypatch.setattr("sklsdm.matchers.energy.EnergyObjective", Inherits)
    fitted("energy")
    assert records == []
    monkeypatch.setattr("sklsdm.matchers.energy.EnergyObjective", Says)
    fitted("energy")
    assert records == [17]


def test_what_says_that_it_can_be_recorded():
    class Slots:
        __slots__ = ()

    class Says:
        recordable = True

    silent = (Slots(), abs, lambda module, batch: 0, partial(max, 1), type("Own", (Says,), {})())
    assert not any(map(recording.is_recordable, silent))
    assert recording.is_recordable(Says())
    assert recording.is_recordable(EnergyObjective(2, 0.0))


def test_few_steps(records, monkeypatch):
    monkeypatch.setattr(recording, "_FEWEST_STEPS", 100)
    fitted("energy")  # 20 steps
    assert records == []


def refuse(compute, device, random):
    raise RuntimeError("operation not permitted when stream is capturing")


def break_off(compute, device, random):
    """As where memory runs out in the generator's half of a step."""

    def loss(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.MonkeyPatch.context() as within:
        within.setattr(AdversarialObjective, "generator_loss", loss)
        compute()


def test_a_recording_that_is_broken_off_leaves_both_players_trained(records, monkeypatch, caplog):
    monkeypatch.setattr(recording, "record", break_off)
    with caplog.at_level(logging.INFO, logger="sklsdm"):
        est = fitted("wgan")
    assert caplog.text.count("one by one") == 1
    assert est.matcher_.n_steps_ == 20


def test_a_step_that_a_graph_cannot_hold(records, monkeypatch, caplog):
    monkeypatch.setattr(recording, "record", refuse)
    with caplog.at_level(logging.INFO, logger="sklsdm"):
        found = draws(fitted("wgan"))
    assert caplog.text.count("one by one") == 1
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_array_equal(found, draws(fitted("wgan")))


USUAL = EnergyObjective.__call__


def waits(objective, generator, batch):
    loss = USUAL(objective, generator, batch)
    return loss if loss.item() < 1e9 else loss.detach()


def test_a_step_that_waits(records, monkeypatch, caplog):
    monkeypatch.setattr(EnergyObjective, "__call__", waits)
    with caplog.at_level(logging.INFO, logger="sklsdm"):
        fitted("energy")
    assert "_local_scalar_dense" in caplog.text
    assert records == []


def test_a_batch_of_another_shape(records):
    net = Adam([torch.nn.Parameter(torch.zeros(2))])
    recorded = Recording(SimpleNamespace(**small_net(net)), [torch.ones(2)], lambda step: {})
    assert recorded.suits([torch.zeros(2)])
    assert not recorded.suits([torch.zeros(3)])
    assert not recorded.suits([torch.zeros(2), torch.zeros(2)])


def small_net(optimizer):
    known = {"optimizers": {"optimizer": optimizer}}
    return known | {"random": None, "device": "cpu"}


# ------------------------------------------------------------------ on a GPU
@pytest.mark.gpu
@ALL_MATCHERS
@pytest.mark.parametrize("unpaired", ["latent", "match"])
def test_a_gpu_trains_alike(matcher, unpaired, monkeypatch):
    def on_cuda():
        return draws(fitted(matcher, unpaired, device="cuda"))

    monkeypatch.setattr(recording, "_FEWEST_STEPS", 1)
    seen, real = [], recording.record
    monkeypatch.setattr(recording, "record", lambda *args: seen.append(1) or real(*args))
    replayed = on_cuda()
    assert len(seen) == 1
    assert_array_equal(replayed, on_cuda())
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, on_cuda(), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("autoencoder", "params"),
    [
        ("mlp", {}),
        ("vae", {}),
        ("dpa", {}),
        ("conv", {}),
        ("feature-map", {}),
        ("feature-map", {"autoencoder__critic_weight": 0.025, "matcher__label_weight": 0.1}),
        ("feature-map", {"unpaired": "pair"}),
    ],
)
def test_a_gpu_learns_images_alike(autoencoder, params, monkeypatch):
    def on_cuda():
        images = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
        labels = np.eye(2)[np.arange(60) % 2]
        est = plain_regressor(matcher="wgan", autoencoder=autoencoder, random_state=0)
        est.set_params(matcher__max_steps=10, autoencoder__max_epochs=1, device="cuda", **params)
        return est.fit(labels[:30], images[:30], images[30:]).sample(labels, random_state=0)

    monkeypatch.setattr(recording, "_FEWEST_STEPS", 1)
    replayed = on_cuda()
    monkeypatch.setattr(recording, "_DEVICES", ())
    assert_allclose(replayed, on_cuda(), atol=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("seen", [True, False])
def test_a_gpu_goes_on_after_a_step_that_waits(seen, monkeypatch, caplog):
    class SeesNothing(CountWaiting):
        def __exit__(self, *error):
            super().__exit__(*error)
            self.found.clear()

    monkeypatch.setattr(recording, "_FEWEST_STEPS", 1)
    with monkeypatch.context() as within, caplog.at_level(logging.INFO, logger="sklsdm"):
        within.setattr(EnergyObjective, "__call__", waits)
        if not seen:  # before recording: then recording is broken off
            within.setattr(recording, "CountWaiting", SeesNothing)
        found = draws(fitted("energy", device="cuda"))
    assert caplog.text.count("one by one") == 1
    torch.cuda.empty_cache()
    torch.randn(3, device="cuda")
    assert_allclose(found, draws(fitted("energy", device="cuda")), atol=1e-3)
