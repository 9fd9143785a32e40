"""Stage 1 of a fit: it begins a latent space, goes on with an earlier one, or leaves it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import check_integer, warn_user
from sklsdm.autoencoders import FEW_OUTPUTS, BaseAutoencoder, intrinsic_dimension
from sklsdm.fitting.latent_space import Coded, LatentSpace
from sklsdm.inputs.responses import Responses
from sklsdm.run import Run
from sklsdm.starting import started

_PAIRS_PER_DIMENSION = 15  # of a latent space that has more dimensions than the pairs tell


def begin(
    autoencoder: BaseAutoencoder,
    latent_dim: int | str,
    asked: str,
    responses: Responses,
    held_out: NDArray[np.intp],
    run: Run,
) -> Coded:
    """Fit a new latent space on all rows but `held_out`; returns it with the codes of all rows.

    `latent_dim` is the user's. `asked` is the user's `autoencoder` in words, for messages.
    """
    autoencoder.check_format(responses.format)
    chosen = _choose_latent_dim(autoencoder, latent_dim, asked, responses, run.seed)
    autoencoder.fit(responses, chosen, held_out, run)
    if latent_dim != "auto" and autoencoder.latent_dim_ != chosen:
        raise _other_dimension(latent_dim, asked, autoencoder.latent_dim_)
    return Coded(*LatentSpace.learn(autoencoder, responses, run.device), held_out)


def go_on(
    before: LatentSpace,
    asked: BaseAutoencoder,
    responses: Responses,
    held_out: NDArray[np.intp],
    run: Run,
) -> Coded:
    """The latent space after training has gone on with these responses, and their codes in it.

    A space that is not trained by steps stays as it is.
    """
    if not before.autoencoder.is_trained:
        return stay(before, responses, held_out)
    autoencoder = asked.like(before.autoencoder)
    with started(autoencoder, before.autoencoder, "autoencoder__"):
        autoencoder.fit(responses, before.autoencoder.latent_dim_, held_out, run)
    return Coded(*LatentSpace.learn(autoencoder, responses, run.device, before), held_out)


def stay(before: LatentSpace, responses: Responses, held_out: NDArray[np.intp]) -> Coded:
    """The latent space as it is, with the codes of other responses."""
    return Coded(before, before.codes(responses), held_out)


def _choose_latent_dim(
    autoencoder: BaseAutoencoder,
    latent_dim: int | str,
    asked: str,
    responses: Responses,
    seed: int,
) -> int:
    """The latent dimension to ask of the autoencoder, by `latent_dim` and the responses."""
    width = responses.width
    natural = autoencoder.natural_dim(responses.format)
    if natural is not None:
        if latent_dim not in ("auto", natural):
            raise _other_dimension(latent_dim, asked, natural)
        return natural
    most = max(1, min(width, len(responses) - 1))
    if latent_dim == "auto":
        return min(most, width if width <= FEW_OUTPUTS else _ample_dim(responses, seed))
    wanted = check_integer("latent_dim", latent_dim, 1, width, f" (y has {width} outputs)")
    if wanted > most:
        warn_user(
            f"latent_dim={wanted} is too large for {len(responses)} responses; {most} is used."
        )
    return min(wanted, most)


def _ample_dim(responses: Responses, seed: int) -> int:
    """One and a half times the intrinsic dimension of the responses.

    With unpaired responses it may be more than stage 2 can learn from the pairs. So for vectors it
    is what the paired ones tell, or a fifteenth of the pairs, if that is more (docs/lessons.md).
    """
    n_rows, n_pairs = len(responses), responses.n_paired
    of_all = math.ceil(1.5 * intrinsic_dimension(responses, seed, n_rows))
    if responses.format.is_image or n_pairs in (0, n_rows):
        return of_all
    of_pairs = math.ceil(1.5 * intrinsic_dimension(responses, seed, n_pairs))
    return max(of_pairs, min(of_all, n_pairs // _PAIRS_PER_DIMENSION))


def _other_dimension(latent_dim: int | str, asked: str, found: int) -> ValueError:
    """The error for a `latent_dim` that is not `found`, the autoencoder's own dimension."""
    return ValueError(
        f"latent_dim={latent_dim!r} does not fit autoencoder={asked}, whose latent space has "
        f"dimension {found}; use latent_dim='auto', or autoencoder='auto', 'pca' or 'mlp'."
    )
