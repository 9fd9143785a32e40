"""What test files share: random numbers, problems with a known law, slow marks, damaged files."""

import os
import pickle

import numpy as np
import pytest
import torch

from sklsdm import LSDMRegressor
from sklsdm.autoencoders import ConvAutoencoder, FeatureMapAutoencoder
from sklsdm.autoencoders.trained import TrainedAutoencoder
from sklsdm.functional.scores import energy_distance
from sklsdm.matchers import MATCHERS, MatchingData
from sklsdm.nets import recording
from sklsdm.run import Run

CPU = torch.device("cpu")
RUN = Run(CPU, 0)

ALL_MATCHERS = pytest.mark.parametrize("matcher", list(MATCHERS))


SMALL_NETWORKS = {"matcher__widths": (32, 32), "matcher__critic_widths": (32, 32)}
ONE_FIT = {"matcher__noise_scale": 1.0}  # of few pairs, where "auto" makes four more


def plain_regressor(*args, **params):
    """An LSDMRegressor that chooses neither its encoder nor its use of unpaired responses.

    Each choice costs many short fits, and most tests are about something else. The networks of a
    matcher that is given by name are small, and its noise is not scaled.
    """
    est = LSDMRegressor(*args, **{"condition_encoder": "flatten", "unpaired": "match", **params})
    return small(est, SMALL_NETWORKS | ONE_FIT) if isinstance(est.matcher, str) else est


def small(est, settings=SMALL_NETWORKS):
    """An estimator with small networks in stage 2, whose steps take a third of the time."""
    known = est.get_params()
    return est.set_params(**{name: settings[name] for name in settings if name in known})


def shorten_epochs(monkeypatch, n_steps):
    """Give epochs of both stages, of few rows, this many steps."""
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", n_steps)
    for kind in (TrainedAutoencoder, ConvAutoencoder, FeatureMapAutoencoder):
        monkeypatch.setattr(kind, "_min_steps", lambda self, form: n_steps)


def shrink_forests(monkeypatch):
    """Give encoders 20 trees in place of 200, small boosters, a process that is hardly tuned."""
    monkeypatch.setattr("sklsdm.encoders.trees._TREES", (20, 20))
    monkeypatch.setattr("sklsdm.encoders.boosting._MOST_TREES", 3)
    monkeypatch.setattr("sklsdm.encoders.boosting._MANY_FOLDS", 2)
    monkeypatch.setattr("sklsdm.encoders.gaussian_process._MOST_TO_TUNE", 30)
    monkeypatch.setattr("sklsdm.encoders.gaussian_process._FOLDS", 2)
    monkeypatch.setattr("sklsdm.encoders.matern._MOST_STEPS", 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    """Standard normal numbers, in double precision where formulas are compared."""
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def rows(n, k, seed=0):
    """n rows of k standard normal numbers, in the precision that networks take."""
    return normal(n, k, seed=seed, dtype=torch.float32)


def slow_but(fast, names):
    """The names as pytest parameters: those not in `fast` are marked slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def matching_data(condition, latent, codes=None, n_held=0):
    """What a matcher's fit takes. The first `n_held` pairs are held out; condition may be None."""
    if condition is None:
        condition = latent.new_empty((len(latent), 0))
    condition, latent = condition.float(), latent.float()
    return MatchingData(
        condition=condition[n_held:],
        latent=latent[n_held:],
        held_condition=condition[:n_held],
        held_latent=latent[:n_held],
        codes=None if codes is None else codes.float(),
        image_shape=None,
    )


# ------------------------------------------------------------------ y = x ± 1
def two_sided(n=600, seed=0, slope=1.0):
    """y = slope * x ± 1 with a little noise: y given x has two modes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x, slope * x[:, 0] + rng.choice([-1, 1], n) + 0.1 * rng.normal(size=n)


def assert_draws_are_two_sided(est, X, most_between=0.2):
    """The draws of an estimator follow the law of `two_sided`.

    At most the share `most_between` of them lies between the two sides. It is .38 under the
    Gaussian of the same spread, where training starts.
    """
    residual = est.sample(X, 20, random_state=0) - X
    assert abs(residual.mean()) < 0.2
    assert 0.8 < residual.std() < 1.2
    assert (np.abs(residual) < 0.5).mean() < most_between


# ------------------------------------------------------------------ two crescents
def crescents_distance(matcher, with_codes):
    """Energy distance, summed over two crescents, of a matcher's draws from fresh points.

    It is fitted to 30 pairs of a point and its crescent, with five more held out. With `with_codes`
    it also sees about 1,000 points without their crescent.
    """
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 3000)
    angle = rng.uniform(0, np.pi, 3000)
    points = np.stack([side * (np.sin(angle) * 1.5 + 0.3), np.cos(angle) * 1.5], axis=1)
    points += 0.1 * rng.normal(size=points.shape)
    latent = torch.from_numpy((points - points.mean(axis=0)) / points.std(axis=0))
    condition = torch.from_numpy(side[:, None])
    codes = latent[:1030] if with_codes else None
    matcher.fit(matching_data(condition[:35], latent[:35], codes, n_held=5), RUN)
    draws = matcher.draw(condition[1000:].float(), rows(2000, matcher.noise_dim_, seed=1)).double()
    fresh = side[1000:]
    return sum(
        energy_distance(draws[fresh == s], latent[1000:][fresh == s]).item() for s in (-1.0, 1.0)
    )


# ------------------------------------------------------------------ files that were damaged
def flip(share):
    """Damage: one bit of a file, so far from its beginning, is another."""

    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(share * (len(content) - 1))] ^= 16
        path.write_bytes(content)

    return damage


def cut(share):
    """Damage: only this share of a file is left."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _fill(share):
    def damage(path):
        content = path.read_bytes()
        kept = int(share * len(content))
        path.write_bytes(content[:kept] + bytes(len(content) - kept))

    return damage


def _pickle(path):
    path.write_bytes(pickle.dumps({"seed": 0}))


# What can happen to a file; each takes its path.
DAMAGES = {
    **{f"bit at {share}": flip(share) for share in (0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)},
    **{f"cut to {share}": cut(share) for share in (0, 0.001, 0.01, 0.5, 0.99)},
    "zeros": _fill(0.0),
    "half zeros": _fill(0.5),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "text": lambda path: path.write_text("seed: 0"),
    "torch": lambda path: torch.save({"net": torch.zeros(2)}, path),
    "pickle": _pickle,
}


def _replace_by(make):
    def damage(path):
        moved = path.with_name("moved")
        path.rename(moved)
        make(path, moved)

    return damage


# What can lie in the place of a file; each takes its path.
NO_ORDINARY_FILES = {
    "folder": _replace_by(lambda path, moved: path.mkdir()),
    "full folder": _replace_by(lambda path, moved: (path / "inside").mkdir(parents=True)),
    "link": _replace_by(lambda path, moved: path.symlink_to(moved)),
    "link to nothing": _replace_by(lambda path, moved: path.symlink_to("nowhere")),
    "link to itself": _replace_by(lambda path, moved: path.symlink_to(path)),
    "pipe": _replace_by(lambda path, moved: os.mkfifo(path)),
}


def record_on_the_cpu(monkeypatch):
    """Let nets on the CPU record their steps; returns how often each recording was replayed."""
    replays = []

    def stand_in(compute, device, random):
        results, place = {}, len(replays)
        replays.append(0)

        def launch():
            replays[place] += 1
            results.update(compute())

        return launch, results

    monkeypatch.setattr(recording, "_DEVICES", ("cpu",))
    monkeypatch.setattr(recording, "_FEWEST_STEPS", 1)
    monkeypatch.setattr(recording, "record", stand_in)
    return replays


def _laws_with_rules() -> dict[str, np.ndarray]:
    """Responses that follow a rule exactly, by what it says."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(120, 4))
    amounts = np.exp(numbers)
    is_none = random.random(120) < 0.4
    shop = random.integers(0, 6, 120)
    ends = numbers[:, [0, 0]] + random.gamma(0.3, size=(120, 1)) * [0, 1]
    return {
        "amounts": amounts[:, :2],
        "whole numbers": np.rint(100 * numbers[:, :2]),
        "a sum of parts": amounts / amounts.sum(axis=1, keepdims=True),
        "percents": random.multinomial(100, [0.2, 0.3, 0.5], 120).astype(float),
        "a total": np.c_[numbers[:, :2], numbers[:, :2].sum(axis=1)],
        "an order": ends,
        "rankings": np.argsort(numbers, axis=1).astype(float),
        "no claim, no amount": np.where(
            is_none[:, None], 0.0, np.c_[random.poisson(1, 120) + 1, amounts[:, 0]]
        ),
        "a whole row": np.where(is_none[:, None], [0.3, -0.2, 5.0], numbers[:, :3]),
        "places of shops": np.c_[numbers[shop, :2], shop + 0.1 * numbers[:, 3]],
        "images of counts": random.poisson(9, size=(120, 4, 4)).astype(float),
        "pixels of a margin": np.pad(random.normal(size=(120, 4, 4)), ((0, 0), (1, 1), (1, 1))),
    }


LAWS_WITH_RULES = _laws_with_rules()
