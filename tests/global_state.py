"""Everything that belongs to the whole process, before and after every public call.

    python tests/global_state.py FOLDER_FOR_CHECKPOINTS

prints one line for each public call that changed something, how many calls were made, and then
which changes were seen of those in `PLANTED`. It runs in a process of its own, so that what is
imported at the first call counts too.
"""

import copy
import gc
import json
import locale
import logging
import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import time
import warnings
from contextlib import nullcontext, suppress

import matplotlib
import numpy as np
import sklearn
import torch
from joblib import Parallel, delayed
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from threadpoolctl import ThreadpoolController

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressor, LSDMRegressorCV, SamplingEnsemble

AUTOCAST = ("cpu", "cuda", "mps")
FAILING = (", bad", ", raising", ", interrupted")  # ends of the names of calls that raise
LIBRARIES = ThreadpoolController()  # those loaded by now: OpenMP and BLAS
EXPECTED = (ValueError, ZeroDivisionError, KeyboardInterrupt)


def state():
    """What a library may change behind its caller's back, by name, as values to compare."""
    return {
        "random": random.getstate(),
        "numpy.random": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "torch random state": torch.get_rng_state().numpy().tobytes(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "cuDNN": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "torch anomaly detection": torch.is_anomaly_enabled(),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "torch autocast": [torch.is_autocast_enabled(device) for device in AUTOCAST],
        "torch smallest numbers": float(torch.tensor([1e-40], device="cpu") * 1.0) > 0,
        "thread limits": [library["num_threads"] for library in LIBRARIES.info()],
        "os.environ": dict(os.environ),
        "working directory": os.getcwd(),
        "warnings.filters": list(warnings.filters),
        "numpy errors": (np.geterr(), np.geterrcall()),
        "numpy printing": np.get_printoptions(),
        "scikit-learn config": sklearn.get_config(),
        "matplotlib": dict(matplotlib.rcParams),
        "matplotlib figures": list(sys.modules["matplotlib.pyplot"].get_fignums())
        if "matplotlib.pyplot" in sys.modules
        else [],
        "logging": (logging.root.level, logging.root.handlers[:], logging.root.disabled),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook, sys.gettrace()),
        "sys.path": list(sys.path),
        "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold()),
        "locale": locale.setlocale(locale.LC_ALL),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "open files": sorted(opened()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": multiprocessing.active_children(),
    }


def opened():
    """The files that this process holds open, as far as the system tells."""
    found = []
    for number in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing itself was open, and is not any more
            os.fstat(int(number))
            found.append(number)
    return found


def changes(before, after):
    """Names of what differs."""
    return [name for name in before if before[name] != after[name]]


class Raises(Callback):
    """A user's callback that fails."""

    def on_epoch_end(self, net, **kwargs):
        raise ZeroDivisionError


class Interrupts(Callback):
    """Ctrl-C at the end of the first epoch."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def calls(folder):
    """Pairs of a name and a function for every public call, in an order in which they work."""
    rng = np.random.default_rng(0)
    X, y, more = rng.normal(size=(40, 2)), rng.normal(size=(40, 3)), rng.normal(size=(60, 3))
    images = rng.integers(0, 256, size=(40, 8, 8)).astype(np.uint8)
    small = {"condition_encoder": "flatten", "unpaired": "match", "random_state": 0}
    budget = {"matcher__max_steps": 5, "matcher__widths": (32, 32)}
    one_fit = {"matcher__noise_scale": 1.0}  # whose scale "every default" chooses
    est = LSDMRegressor(matcher="energy", **small).set_params(**budget, **one_fit)
    yield "LSDMRegressor.fit", lambda: est.fit(X, y, more)
    yield "LSDMRegressor.fit, no seed", lambda: est.set_params(random_state=None).fit(X, y)
    for name in ("sample", "sample_latent", "predict", "predict_quantiles", "predict_interval"):
        yield f"LSDMRegressor.{name}", lambda name=name: getattr(est, name)(X)
    yield "LSDMRegressor.predict, std", lambda: est.predict(X, return_std=True)
    yield "LSDMRegressor.score", lambda: est.score(X, y)
    yield "LSDMRegressor.encode", lambda: est.encode(y)
    yield "LSDMRegressor.decode", lambda: est.decode(est.encode(y))
    yield "LSDMRegressor.reconstruct", lambda: est.reconstruct(y)
    yield "repr", lambda: repr(est)
    yield "clone", lambda: sklearn.base.clone(est)
    yield "set_params, bad", lambda: est.set_params(matcher__nope=3)
    yield "fit, bad", lambda: est.fit(X, y[:3])
    yield "sample, bad", lambda: est.sample(X[:, :1])
    yield "fit, raising", lambda: fit_with(est, Raises(), X, y)
    yield "fit, interrupted", lambda: fit_with(est, Interrupts(), X, y)
    yield "fit, checkpoint", lambda: sklearn.base.clone(est).set_params(checkpoint=folder).fit(X, y)
    yield "fit, verbose", lambda: sklearn.base.clone(est).set_params(verbose=1).fit(X, y)
    for matcher in sklsdm.matchers.MATCHERS:
        part = LSDMRegressor(matcher=matcher, **small).set_params(**budget)
        if one_fit.keys() <= part.get_params().keys():
            part.set_params(**one_fit)
        yield f"matcher {matcher}: fit", lambda part=part: part.fit(X, y, more)
        yield f"matcher {matcher}: sample", lambda part=part: part.sample(X)
    for name in sklsdm.autoencoders.AUTOENCODERS:
        part = LSDMRegressor(matcher="energy", autoencoder=name, **small)
        part.set_params(**budget, **one_fit)
        if "max_epochs" in sklsdm.autoencoders.AUTOENCODERS[name]().get_params():
            part.set_params(autoencoder__max_epochs=1)
        target = images if name in ("conv", "feature-map") else y
        yield f"autoencoder {name}: fit", lambda part=part, t=target: part.fit(X, t)
        yield f"autoencoder {name}: sample", lambda part=part: part.sample(X)
        yield f"autoencoder {name}: pickle", lambda part=part: pickle.loads(pickle.dumps(part))
        yield f"autoencoder {name}: deepcopy", lambda part=part: copy.deepcopy(part)
    chosen = LSDMRegressor(random_state=0).set_params(**budget)
    yield "every default: fit", lambda: chosen.fit(X, y, more)
    pooled = SamplingEnsemble(est, n_estimators=2, random_state=0)
    yield "SamplingEnsemble.fit", lambda: pooled.fit(X, y)
    for name in ("sample", "predict", "predict_quantiles", "predict_interval"):
        yield f"SamplingEnsemble.{name}", lambda name=name: getattr(pooled, name)(X)
    yield "SamplingEnsemble.score", lambda: pooled.score(X, y)
    grid = {"matcher": ["energy", "mdn"], "matcher__max_steps": [5]}
    search = LSDMRegressorCV(est, candidates=grid, n_estimators=1, random_state=0)
    yield "LSDMRegressorCV.fit", lambda: search.fit(X, y)
    yield "candidates", lambda: sklsdm.candidates(X, y)
    pipeline = sklsdm.make_sampling_pipeline(StandardScaler(), est)
    yield "SamplingPipeline.fit", lambda: pipeline.fit(X, y)
    for name in ("sample", "predict"):
        yield f"SamplingPipeline.{name}", lambda name=name: getattr(pipeline, name)(X)
    yield "SamplingPipeline.score", lambda: pipeline.score(X, y)
    yield "sklsdm.sample", lambda: sklsdm.sample(pipeline, X)
    model = LSDMGenerator(matcher="energy", random_state=0).set_params(**budget)
    yield "LSDMGenerator.fit", lambda: model.fit(y)
    yield "LSDMGenerator.sample", lambda: model.sample(5)
    yield "LSDMGenerator.score", lambda: model.score(y)
    for scorer in ("neg_energy_score", "neg_crps", "neg_sliced_wasserstein", "neg_coverage_error"):
        score = getattr(sklsdm.scorers, scorer)
        yield f"scorers.{scorer}", lambda score=score: score(est, X, y)
    for name in ("energy_score", "crps", "variogram_score"):
        metric = getattr(sklsdm.metrics, name)
        yield f"metrics.{name}", lambda metric=metric: metric(y, est.sample(X, 4))
    for name in ("energy_distance", "sliced_wasserstein", "mmd"):
        metric = getattr(sklsdm.metrics, name)
        yield f"metrics.{name}", lambda metric=metric: metric(y, more)
    for name in sklsdm.datasets.__all__:
        if name.startswith("make_"):
            make, task = getattr(sklsdm.datasets, name), ["T1"] if name == "make_gcds" else []
            yield f"datasets.{name}", lambda make=make, task=task: make(*task, 30)


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


PLANTED = {
    "random": random.random,
    "numpy.random": np.random.rand,
    "torch random state": lambda: torch.rand(1),
    "torch default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch gradients": lambda: torch.set_grad_enabled(False),
    "torch threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch deterministic": lambda: torch.use_deterministic_algorithms(True),
    "torch autocast": lambda: torch.autocast("cpu").__enter__(),
    "torch default device": lambda: torch.set_default_device("meta"),
    "thread limits": lambda: LIBRARIES.limit(limits=3),
    "os.environ": lambda: os.environ.update(LEFT="1"),
    "working directory": lambda: os.chdir(os.sep),
    "warnings.filters": lambda: warnings.simplefilter("error"),
    "numpy errors": lambda: np.seterr(all="raise"),
    "numpy printing": lambda: np.set_printoptions(precision=3),
    "scikit-learn config": lambda: sklearn.set_config(assume_finite=True),
    "matplotlib": lambda: matplotlib.rcParams.update({"lines.linewidth": 9}),
    "logging": lambda: logging.root.addHandler(logging.NullHandler()),
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "sys.path": lambda: sys.path.append("left"),
    "open files": lambda: os.open(os.devnull, os.O_RDONLY),
    "threads": leave_a_thread,
}


def fit_with(est, callback, X, y):
    """Fit a clone whose matcher has this callback."""
    sklearn.base.clone(est).set_params(matcher__callbacks=[callback]).fit(X, y)


def report(**row):
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(row) + "\n")


def main(folder):
    """Make every call and print what it changed."""
    n_calls = 0
    Parallel()(delayed(abs)(n) for n in range(2))  # joblib itself settles the start method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, call in calls(folder):
            before = state()
            with suppress(*EXPECTED) if name.endswith(FAILING) else nullcontext():
                call()
            changed = changes(before, state())
            n_calls += 1
            if changed:
                report(call=name, changed=changed)
    report(n_calls=n_calls)
    for name, change in PLANTED.items():
        before = state()
        change()
        report(planted=name, changed=changes(before, state()))


if __name__ == "__main__":
    main(sys.argv[1])
