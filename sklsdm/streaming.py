"""Streams of responses without conditions: stage 1 goes on block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklsdm.conditioned import ConditionedEstimator
from sklsdm.fitting.holding_out import hold_out_rows
from sklsdm.inputs.extremes import warn_of_extremes
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.unpaired import check_block
from sklsdm.parameters import learnt
from sklsdm.public_calls import learnt_by, take_over
from sklsdm.warm_start import STREAMED


class StreamingEstimator(ConditionedEstimator):
    """An estimator whose stage 1 also learns from a stream of responses without conditions."""

    if TYPE_CHECKING:  # parameters of the estimator
        unpaired: str = "auto"
        y_range: Any = None
        exact_values: bool = True

    n_streamed_: int = learnt(
        "Number of responses that `fit_unpaired` has learnt from since the last `fit`."
    )

    def fit_unpaired(self, Y_unpaired: Any) -> Self:
        """Let stage 1 go on with a block of responses without conditions; needs `warm_start=True`.

        It may be called any number of times, before the first `fit` as well as after one: the
        first call, or the first `fit`, learns the units and the latent dimension, and all later
        ones go on from there. So the first block should be like those to come. Each call trains for
        up to `autoencoder__max_epochs` passes over its block.

        Stage 2 has learnt the codes of the encoder that it was fitted with. So `sample` and all
        other methods keep the stage 1 of the last `fit` (without one, they raise
        `NotFittedError`). The next `fit` begins with the stage 1 of the stream, and trains stage 2
        on its codes. If that call has no `Y_unpaired`, it leaves stage 1 as it is. Stage 2 sees no
        response of the stream: pass some as `Y_unpaired`, if it is to use them.

        Parameters
        ----------
        Y_unpaired : array-like, path, list of paths, Dask array, Dataset or Unpaired
            Responses, shaped as `y` of `fit` after the first axis; anything that `Y_unpaired` of
            `fit` may be.

        Returns
        -------
        Self
            This estimator. If the call raises an error, it stays as it was before.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; `warm_start=False`, with which the next `fit` would forget the
            stream; `unpaired="none"`; an autoencoder that is not trained by steps, such as the
            identity that "auto" is for up to 50 outputs.
        DivergenceError
            Training became non-finite, also in retries at lower learning rates.
        KeyboardInterrupt
            On Ctrl-C.

        Examples
        --------
        >>> import numpy as np
        >>> from sklsdm import LSDMRegressor
        >>> rng = np.random.default_rng(0)
        >>> curves = np.sin(rng.uniform(0, 6, (300, 1)) + np.linspace(0, 3, 60))
        >>> est = LSDMRegressor(matcher="energy", warm_start=True, random_state=0)
        >>> est = est.set_params(autoencoder__max_epochs=1, matcher__max_steps=20)
        >>> for block in np.split(curves, 3):
        ...     est = est.fit_unpaired(block)
        >>> est.n_streamed_
        300
        >>> est.fit(curves[:50, :2], curves[:50]).sample(curves[:4, :2]).shape
        (4, 1, 60)
        """
        if not self.warm_start:
            raise ValueError(
                "fit_unpaired needs warm_start=True: without it the next fit would forget what "
                "was learnt here."
            )
        if self.unpaired == "none":
            raise ValueError("unpaired='none' uses no unpaired responses; fit_unpaired needs some.")
        streamed: dict[str, Any] = {}
        self._learn_in_clone(
            lambda fresh, seed: streamed.update(fresh._learn_block(Y_unpaired, seed))
        )
        take_over(self, learnt_by(self) | streamed)
        return self

    def _learn_block(self, Y_unpaired: Any, seed: int) -> dict[str, Any]:
        """Let stage 1 go on with a block; returns the attributes that the stream sets."""
        form = getattr(self, "_response_format_", None)
        rows, names = check_block(Y_unpaired, form, self._response_names())
        no_pairs = np.empty((0, *rows.shape[1:]), dtype=rows.dtype)
        responses = Responses(no_pairs, rows, self.y_range, form, exact_values=self.exact_values)
        std = responses.format.standardiser.scale if form is None else None  # that of earlier data
        warn_of_extremes({"Y_unpaired": rows}, std)
        run = self._run(seed, rows)
        held_out = hold_out_rows(np.arange(0), responses, self.validation_fraction, run.seed)
        space = self._fit_latent_space(responses, held_out, run).space
        if not space.autoencoder.is_trained:
            raise ValueError(
                f"fit_unpaired has nothing to train in autoencoder={self.autoencoder!r}, which is "
                f"{type(space.autoencoder).__name__} here; use one that is trained by steps, such "
                f"as 'mlp', or pass the responses to fit as Y_unpaired."
            )
        if run.checkpoint is not None:
            run.checkpoint.remove()
        found = {
            STREAMED["autoencoder_"]: space.autoencoder,
            STREAMED["_latent_standardiser_"]: space.standardiser,
            STREAMED["_response_format_"]: space.form,
            "_read_once_": self._read_once_,
            "n_streamed_": getattr(self, "n_streamed_", 0) + len(rows),
        }
        return found if names is None else found | {"target_names_in_": names}
