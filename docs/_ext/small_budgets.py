"""Trainings cut to a few steps, so that pages and gallery can be run to see that they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import joblib

import sklsdm.encoders.boosting
import sklsdm.encoders.gaussian_process
import sklsdm.encoders.matern
import sklsdm.encoders.trees
import sklsdm.fitting.labelling
import sklsdm.fitting.sight
import sklsdm.metrics.classifier
from sklsdm.autoencoders import ConvAutoencoder, FeatureMapAutoencoder, feature_map
from sklsdm.autoencoders.sharpening import sharpen
from sklsdm.autoencoders.trained import TrainedAutoencoder
from sklsdm.matchers import BaseMatcher


@contextmanager
def small_budgets(steps: int = 20, epochs: int = 1) -> Iterator[None]:
    """No matcher takes more than `steps`, no autoencoder more than `epochs`, whatever is asked.

    An epoch of an autoencoder has `steps` steps where the rows are few, forests have 20 trees, and
    the kernels of a Gaussian process are chosen by 30 pairs in 3 steps.
    Everything runs in this process, since others would not know of the cut.
    """
    budget, net = BaseMatcher.budget, TrainedAutoencoder._net

    def short_budget(self: BaseMatcher, n_rows: int) -> int:
        return min(steps, budget(self, n_rows))

    def short_net(self: TrainedAutoencoder, *args: Any, **kwargs: Any) -> Any:
        return net(self, *args, **kwargs).set_params(max_epochs=min(epochs, self.max_epochs))

    def short_sharpening(*args: Any, n_epochs: int, **kwargs: Any) -> Any:
        return sharpen(*args, n_epochs=min(epochs, n_epochs), **kwargs)

    with ExitStack() as cuts:
        cuts.enter_context(patch.object(feature_map, "sharpen", short_sharpening))
        cuts.enter_context(patch.object(BaseMatcher, "budget", short_budget))
        cuts.enter_context(patch.object(TrainedAutoencoder, "_net", short_net))
        for kind in (TrainedAutoencoder, ConvAutoencoder, FeatureMapAutoencoder):
            cuts.enter_context(patch.object(kind, "_min_steps", lambda self, form: steps))
        cuts.enter_context(patch.object(sklsdm.encoders.trees, "_TREES", (20, 20)))
        cuts.enter_context(patch.object(sklsdm.encoders.boosting, "_MOST_TREES", 3))
        cuts.enter_context(patch.object(sklsdm.encoders.gaussian_process, "_MOST_TO_TUNE", 30))
        cuts.enter_context(patch.object(sklsdm.encoders.gaussian_process, "_FOLDS", 2))
        cuts.enter_context(patch.object(sklsdm.encoders.matern, "_MOST_STEPS", 3))
        cuts.enter_context(patch.object(sklsdm.metrics.classifier, "N_TREES", 50))
        for module in (sklsdm.fitting.labelling, sklsdm.fitting.sight):
            cuts.enter_context(patch.object(module, "_STEPS", steps))
        cuts.enter_context(joblib.parallel_config("sequential"))
        yield
