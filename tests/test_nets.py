"""The training core: averages, best state, rates, divergence, snapshots, users' hooks."""

import math

import numpy as np
import pytest
import torch
from helpers import seeded
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sklsdm.exceptions import DivergenceError
from sklsdm.nets import (
    AdversarialNet,
    HeldOutScore,
    KeepBest,
    SingleNet,
    by_group,
    history_arrays,
    is_as_good,
    one_thread,
)
from sklsdm.nets.divergence import DivergenceGuard
from sklsdm.nets.rates import CosineRate
from sklsdm.run import Run, Stream, resolve_device
from sklsdm.stages import Stage

STAGE = Stage("stage 9", "stage-9.state", "Lower the ninth lr")


class Point(nn.Module):
    """A single parameter vector."""

    def __init__(self, start):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(start))


class Pull:
    """‖value − target‖² / 2 with the target as batch: plain gradient descent is known exactly."""

    def __call__(self, module, target):
        return (module.value - target).square().sum() / 2


class Duel:
    """The critic runs after the batch, the generator after the critic."""

    def critic_loss(self, generator, critic, batch):
        assert all(p.requires_grad for p in critic.parameters())
        return (critic.value - batch - generator.value.detach()).square().sum() / 2

    def generator_loss(self, generator, critic, batch):
        assert not any(p.requires_grad for p in critic.parameters())
        return (generator.value - critic.value).square().sum() / 2


class Targets:
    """Epochs of `n_steps` steps of random targets, drawn from the net's own generator."""

    def __init__(self, random, n_steps=5, per_step=1):
        self.random = random
        self.n_steps = n_steps
        self.per_step = per_step

    def __len__(self):
        return self.n_steps

    def __iter__(self):
        for _ in range(self.n_steps):
            yield [torch.randn(2, generator=self.random) for _ in range(self.per_step)]


def single(*callbacks, start=(4.0, -2.0), optimizer=torch.optim.SGD, **settings):
    settings = {"lr": 0.1, "max_epochs": 4, "verbose": 0, "random": seeded(), **settings}
    return SingleNet(
        Point(start), criterion=Pull, optimizer=optimizer, callbacks=list(callbacks), **settings
    )


def duel(*callbacks, **settings):
    settings = {"lr": 0.1, "max_epochs": 4, "verbose": 0, "random": seeded(), **settings}
    return AdversarialNet(
        Point((4.0, -2.0)),
        Point((0.0, 0.0)),
        criterion=Duel,
        optimizer=torch.optim.Adam,
        critic_optimizer=torch.optim.Adam,
        critic_optimizer__lr=0.2,
        callbacks=list(callbacks),
        **settings,
    )


BOTH = pytest.mark.parametrize(("make", "per_step"), [(single, 1), (duel, 3)], ids=["one", "two"])


def trained(make, per_step, *callbacks, **settings):
    net = make(*callbacks, **settings)
    net.fit(Targets(net.random, per_step=per_step))
    return net


class Trace(Callback):
    """Writes down the value after each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.values = []

    def on_epoch_end(self, net, **kwargs):
        self.values.append(net.module_.value.detach().clone())


class RaiseAt(Callback):
    """Raises at the end of an epoch, counted from 0."""

    def __init__(self, epoch, error):
        self.epoch = epoch
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) - 1 == self.epoch:
            raise self.error


class SpoilAt(Callback):
    """Turns a gradient into NaN at one step, once, or at every step from there on."""

    def __init__(self, step, once=True):
        self.step = step
        self.once = once

    def on_train_begin(self, net, **kwargs):
        self.n_steps_ = 0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        hit = self.n_steps_ == self.step if self.once else self.n_steps_ >= self.step
        if hit:
            for _, parameter in named_parameters:
                parameter.grad.fill_(math.nan)
        self.n_steps_ += 1


# ------------------------------------------------------------------ steps
def test_one_module_descends_its_gradient():
    net = trained(single, 1, max_epochs=2)
    random, value, losses = seeded(), np.array([4.0, -2.0]), []
    for _ in range(2):
        for (target,) in Targets(random):
            losses.append(0.5 * np.square(value - target.numpy()).sum())
            value = value - 0.1 * (value - target.numpy())
    assert_allclose(net.module_.value.detach(), value, rtol=1e-5)
    assert_allclose(net.history[:, "train_loss"], np.reshape(losses, (2, 5)).mean(axis=1), 1e-5)
    assert net.history[:, "train_batch_count"] == [5, 5]


def test_two_players_take_turns():
    """Two critic steps, then one of the generator, each with its own optimizer and rate."""
    net = duel(max_epochs=1)
    net.set_params(optimizer=torch.optim.SGD, critic_optimizer=torch.optim.SGD)
    net.fit(Targets(net.random, n_steps=4, per_step=3))
    random, value, critic = seeded(), np.array([4.0, -2.0]), np.zeros(2)
    for first, second, _ in Targets(random, n_steps=4, per_step=3):
        for batch in (first, second):
            critic = critic - 0.2 * (critic - batch.numpy() - value)
        value = value - 0.1 * (value - critic)
    assert_allclose(net.module_.value.detach(), value, rtol=1e-5)
    assert_allclose(net.critic_.value.detach(), critic, rtol=1e-5)
    assert set(history_arrays(net.history)) == {"train_loss", "train_critic_loss"}
    assert all(p.requires_grad for p in net.critic_.parameters())


def test_moving_average():
    """Warm-up (a plain mean at first), then the decay asked for; the module itself is put back."""

    class Steps(Callback):
        def on_train_begin(self, net, **kwargs):
            self.values = []

        def on_batch_end(self, net, **kwargs):
            self.values.append(net.module_.value.detach().clone())

    steps = Steps()
    net = trained(single, 1, steps, ema_decay=0.8, max_epochs=20)
    expected = torch.tensor([4.0, -2.0])
    for count, value in enumerate(steps.values, start=1):
        decay = min(0.8, count / (10 + count))
        expected = decay * expected + (1 - decay) * value
    assert_allclose(net.averaged_[0].detach(), expected, rtol=1e-5)
    own = net.module_.value.detach().clone()
    with net.averaged() as module:
        assert_array_equal(module.value.detach(), net.averaged_[0])
    assert_array_equal(net.module_.value.detach(), own)
    assert (own != net.averaged_[0]).all()
    with pytest.raises(RuntimeError), net.averaged():
        raise RuntimeError
    assert_array_equal(net.module_.value.detach(), own)


@BOTH
def test_snapshot_continues_to_the_bit(make, per_step):
    """Adam's moments, the average and the random state are part of it."""
    net = trained(make, per_step, ema_decay=0.9)
    state = net.snapshot()
    ends = []
    for _ in range(2):
        net.restore(state)
        net.fit_loop(Targets(net.random, per_step=per_step), epochs=3)
        modules = list(net.modules.values())
        ends.append([p.detach().clone() for m in modules for p in m.parameters()] + net.averaged_)
    for first, second in zip(*ends, strict=True):
        assert_array_equal(first, second)
    net.restore(state)
    assert any((a != b).any() for a, b in zip(net.averaged_, ends[0][-1:], strict=True))


# ------------------------------------------------------------------ our callbacks
def test_cosine_rate_moves_every_optimizer():
    class Rates(Callback):
        def on_train_begin(self, net, **kwargs):
            self.seen = []

        def on_batch_begin(self, net, **kwargs):
            groups = net.optimizer_.param_groups + net.critic_optimizer_.param_groups
            self.seen.append([group["lr"] for group in groups])

    rates = Rates()
    trained(duel, 3, CosineRate(), rates)
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4))
    assert_allclose(rates.seen[::5], np.outer(expected, [0.1, 0.2]), rtol=1e-6)


def scripted(values, groups=None):
    """A held-out score that follows a script: rows, or one number, from the start on."""
    left = iter(values)
    return HeldOutScore(
        "valid_score", lambda module: torch.as_tensor(next(left)).reshape(-1), groups
    )


def test_best_state_is_kept():
    trace = Trace()
    held_out = scripted([9.0, 3.0, 1.0, 2.0, 1.5])
    net = trained(single, 1, trace, held_out, KeepBest(held_out))
    assert_array_equal(net.module_.value.detach(), trace.values[1])
    assert_array_equal(history_arrays(net.history)["valid_score"], [3, 1, 2, 1.5])


def test_start_is_kept_where_training_only_harms():
    held_out = scripted([0.5, 3.0, 1.0, 2.0, 1.5])
    net = trained(single, 1, held_out, KeepBest(held_out))
    assert_array_equal(net.module_.value.detach(), [4, -2])


def test_of_states_that_held_out_rows_cannot_tell_apart_the_latest_is_kept():
    """The best is the second epoch; a standard error of the third's excess is .1, its mean .05."""
    best = torch.tensor([1.0, 2.0, 3.0, 4.0])
    third = best + torch.tensor([-0.15, 0.25, -0.15, 0.25])
    trace, held_out = Trace(), scripted([best + 1, best + 0.5, best, third, best + 0.2])
    net = trained(single, 1, trace, held_out, KeepBest(held_out, 2, tolerance=1.0))
    assert_array_equal(net.module_.value.detach(), trace.values[2])
    assert len(net.history) == 4  # one epoch after it was worse


def test_with_doubt_the_start_gives_way_only_to_what_is_clearly_better():
    """A standard error of the difference from the start is .1; the best state has -.05 or -.25."""
    start = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for gain, kept in ((0.05, False), (0.25, True)):
        better = start - gain + torch.tensor([-0.2, 0.2, -0.2, 0.2]) * 0.75**0.5
        trace, held_out = Trace(), scripted([start, better, start + 1, start + 1, start + 1])
        net = trained(single, 1, trace, held_out, KeepBest(held_out, doubt=1.0))
        assert_array_equal(net.module_.value.detach(), trace.values[0] if kept else [4, -2])
        assert (net.choice_.step > 0) == kept
        assert_allclose(net.choice_.start[0], 2.5)


def test_groups_of_rows_count_as_one_row_each():
    """Fifty rows say that the second epoch is better; of two groups, one does and one does not."""
    groups = torch.tensor([4, 9]).repeat_interleave(25)
    start = torch.linspace(0, 1, 50)
    second = start - torch.tensor([0.3, 0.1]).repeat_interleave(25)
    assert_allclose(by_group(second, groups).mean(), second.mean())
    for held_groups, kept in ((None, True), (groups, False)):
        held_out = scripted([start, second, start + 1, start + 1, start + 1], held_groups)
        net = trained(single, 1, held_out, KeepBest(held_out, doubt=2.0))
        assert (net.choice_.step > 0) == kept


@pytest.mark.parametrize("n_rows", [2, 3, 6, 30, 300])
def test_a_standard_error_of_few_rows_is_uncertain_itself(n_rows):
    """Of equal candidates one is found worse, by two standard errors, in 2.3 % of cases."""
    random = torch.Generator().manual_seed(n_rows)
    excess = torch.randn((2000, n_rows), generator=random)
    worse = [not is_as_good(row, torch.zeros(n_rows), 2.0) for row in excess]
    assert 0.013 < np.mean(worse) < 0.034


def test_best_state_is_that_of_the_average():
    seen = []

    def score(module):
        seen.append(module.value.detach().clone())
        return torch.tensor([-float(len(seen))])

    held_out = HeldOutScore("valid_score", score)
    net = trained(single, 1, held_out, KeepBest(held_out), ema_decay=0.9)
    assert_array_equal(net.module_.value.detach(), seen[-1])
    assert_array_equal(net.module_.value.detach(), net.averaged_[0])


def test_patience_counts_epochs_without_improvement():
    held_out = scripted([9.0, 3.0, 2.0, 2.5, 1.99, 2.2, 2.2, 2.2, 0.0, 0.0, 0.0])
    trace, keep = Trace(), KeepBest(held_out, patience=3)
    net = trained(single, 1, trace, held_out, keep, max_epochs=10)
    assert len(net.history) == 7  # three epochs after 1.99
    assert not net.interrupted_
    assert_array_equal(net.module_.value.detach(), trace.values[3])


def test_without_a_score_the_last_average_is_kept():
    net = trained(single, 1, KeepBest(), ema_decay=0.9)
    assert_array_equal(net.module_.value.detach(), net.averaged_[0])


# ------------------------------------------------------------------ divergence
@BOTH
@pytest.mark.parametrize("step", [7, 4], ids=["inside an epoch", "at an epoch's last step"])
def test_one_bad_step_is_rolled_back(make, per_step, step):
    guard = DivergenceGuard(STAGE)
    steps = step * per_step + per_step - 1
    net = trained(make, per_step, SpoilAt(steps), CosineRate(), guard)
    assert guard.n_retries_ == 1
    assert net.is_finite()
    assert np.isfinite(net.history[-1, "train_loss"])
    optimizers = net.optimizers.values()
    rates = [optimizer.param_groups[0]["initial_lr"] for optimizer in optimizers]
    assert_allclose(rates, [0.05, 0.1][: len(rates)])


def test_rolling_back_repeats_the_epoch_from_its_start():
    """The epoch after the bad one starts where that one did, with the same batches."""
    guard, trace = DivergenceGuard(STAGE), Trace()
    trained(single, 1, SpoilAt(7), guard, trace)
    untroubled = Trace()
    trained(single, 1, untroubled)
    assert_array_equal(trace.values[0], untroubled.values[0])
    assert_array_equal(trace.values[1], trace.values[0])
    assert torch.isfinite(trace.values[2]).all()


def test_lasting_divergence_is_an_error():
    guard = DivergenceGuard(STAGE)
    message = r"stage 9: .*step 25.*nan.*3 retries.*\(now lr=0\.013\).*Lower the ninth lr"
    with pytest.raises(DivergenceError, match=message):
        trained(single, 1, SpoilAt(5, once=False), guard, max_epochs=9)


def test_divergence_that_outlasts_the_budget_is_an_error():
    with pytest.raises(DivergenceError, match=r"stage 9: .*1 retry from"):
        trained(single, 1, SpoilAt(0, once=False), DivergenceGuard(STAGE), max_epochs=1)


# ------------------------------------------------------------------ interrupts and users' hooks
@BOTH
def test_interrupt_is_told_from_an_early_stop(make, per_step):
    net = trained(make, per_step, RaiseAt(1, KeyboardInterrupt()))
    assert net.interrupted_
    assert len(net.history) == 2

    class Flat(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("valid_loss", 1.0)

    net = trained(
        make, per_step, Flat(), EarlyStopping(patience=2, sink=lambda text: None), max_epochs=9
    )
    assert not net.interrupted_
    assert len(net.history) == 3


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        trained(single, 1, RaiseAt(1, ZeroDivisionError()))


@BOTH
def test_users_hooks_are_called(make, per_step):
    class Counts(Callback):
        def on_train_begin(self, net, **kwargs):
            self.n = {}

        def count(self, name):
            self.n[name] = self.n.get(name, 0) + 1

        def on_batch_begin(self, net, batch, training, **kwargs):
            self.count("begin")

        def on_batch_end(self, net, batch, training, loss, **kwargs):
            assert loss.ndim == 0
            self.count("end")

        def on_grad_computed(self, net, named_parameters, **kwargs):
            ((_, parameter),) = named_parameters
            self.count("own" if parameter is net.module_.value else "critic")

    counts = Counts()
    trained(make, per_step, counts)
    expected = {"begin": 20, "end": 20, "own": 20}
    assert counts.n == (expected | {"critic": 40} if per_step > 1 else expected)


def test_gradients_can_be_changed_before_the_step():
    class Zero(Callback):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            for _, parameter in named_parameters:
                parameter.grad.zero_()

    assert_array_equal(trained(single, 1, Zero()).module_.value.detach(), [4, -2])


# ------------------------------------------------------------------ runs
def test_streams_of_a_run_differ_and_repeat():
    run = Run(torch.device("cpu"), 3)
    draws = [torch.rand(5, generator=run.stream(stream)).tolist() for stream in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    other = Run(torch.device("cpu"), 4).stream(Stream(0))
    assert torch.rand(5, generator=other).tolist() != draws[0]


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_one_thread_is_put_back():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError), one_thread():
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
