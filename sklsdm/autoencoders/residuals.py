"""Deterministic autoencoders whose draws get back what a code does not hold, such as noise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from sklsdm.autoencoders.base import BaseAutoencoder
from sklsdm.blocks import spread_rows
from sklsdm.functional.patches import neighbour_correlation, random_patches
from sklsdm.functional.scores import energy_distance
from sklsdm.inputs.responses import Responses
from sklsdm.modules import Residuals
from sklsdm.parameters import flag, learnt, parameter
from sklsdm.randomness import RowStream, row_stream
from sklsdm.run import Run

_MOST_ROWS, _MOST_BYTES = 2000, 2**24  # of residuals that are kept; they go into pickles
_MOST_GROWTH = 10.0  # of residuals of responses that were learnt from
_ROWS_PER_GROUP = 20  # on average, among which a draw's residual is chosen
_PATCH, _N_PATCHES = 3, 2000  # side of a patch, and how many are compared ...
_MOST_LOOKED_AT = 200  # ... of so many images
_MOST_CORRELATED = 0.35  # residuals of neighbouring pixels that are noise (docs/lessons.md)
_NEARER, _NEARER_OF_FEW = 2, 10  # times as near come patches by noise; of pixels of few values
_LEAST_FAR = 0.002  # of the size of patches of few values, below which nearer is chance
_FEWEST_HELD_OUT = 20  # responses, from which on their residuals tell how large others should be


class ResidualAutoencoder(BaseAutoencoder):
    """Base of autoencoders that add residuals to draws."""

    residuals: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Add to each draw the residual y − D(E(y)) of a response whose code is near, chosen at
        random among some 20: what a code of `latent_dim` numbers does not hold, such as the noise
        of a spectrum, is then drawn and not left out. Residuals of up to 2,000 responses are kept,
        on average as large as those of held-out ones. Images get them only where they are noise:
        where they hardly go on from pixel to pixel, and small patches of rebuilt images come twice
        as near to those of held-out ones by them, by energy distance (ten times where pixels take
        few values, so that the borders of masks and label maps stay smooth). Fewer than 20
        responses have none. `decode` and `reconstruct` add nothing.""",
    )
    residuals_: Residuals = learnt("The residuals, if there are any, as a module.")

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> BaseAutoencoder:
        super().fit(responses, latent_dim, held_out, run)
        if self.residuals and latent_dim < responses.width:
            found = self._find_residuals(responses, held_out, run)
            if found is not None:
                self.residuals_ = found
                self.decoder_noise_dim_ = 1
        return self

    def _find_residuals(
        self, responses: Responses, held_out: NDArray[np.intp], run: Run
    ) -> Residuals | None:
        """The residuals that draws get; None where they get none.

        A fit that goes on from another keeps that one's residuals where it would have fewer.
        """
        most = min(len(responses), _MOST_ROWS, _MOST_BYTES // (4 * responses.width))
        earlier = self._earlier_residuals()
        if earlier is not None and most < len(earlier.rows):
            return earlier.to(run.device)
        if most < _ROWS_PER_GROUP:
            return None
        order = row_stream(run.seed, RowStream.RESIDUALS).permutation(len(responses))
        found = self._residuals_of(responses, np.sort(order[:most]), held_out, run)
        if responses.format.is_image and not self._are_noise(found, responses, held_out, run):
            return None
        return found

    @torch.no_grad()
    def _are_noise(
        self, residuals: Residuals, responses: Responses, held_out: NDArray[np.intp], run: Run
    ) -> bool:
        """Whether residuals are noise, which brings patches of rebuilt images nearer to real ones.

        Noise hardly goes on from pixel to pixel: what does is structure, such as an edge in another
        place, and a draw does not get that of other images. Where pixels take few values, noise
        must account for nearly all of the distance: the borders of masks would be ragged.
        """
        rows = held_out if len(held_out) >= _FEWEST_HELD_OUT else np.arange(len(responses))
        target = responses.take(rows[spread_rows(len(rows), _MOST_LOOKED_AT)]).to(run.device)
        codes = self.encode_block(target, run.device)
        rebuilt = self.decode_block(codes, run.device)
        random = np.random.default_rng(0)
        noise = torch.from_numpy(random.normal(size=(len(codes), 1))).to(codes)
        shape = responses.format.image_shape
        if neighbour_correlation((target - rebuilt).view(-1, *shape)) > _MOST_CORRELATED:
            return False
        size = min(_PATCH, *shape[1:])

        def patches(rows: Tensor, seed: int) -> Tensor:
            images = responses.format.restore(rows).cpu().double().reshape(-1, *shape)
            return random_patches(images, size, _N_PATCHES, np.random.default_rng(seed))

        real = patches(target, 1)
        plain = float(energy_distance(patches(rebuilt, 2), real))
        drawn = float(energy_distance(patches(rebuilt + residuals(codes, noise), 2), real))
        if any(repeated.are_all for repeated in responses.format.repeated):
            least = _LEAST_FAR * float(real.norm(dim=1).mean())
            return max(drawn, least) < plain / _NEARER_OF_FEW
        return drawn < plain / _NEARER

    def _earlier_residuals(self) -> Residuals | None:
        """Those of the fit that this one goes on from; None without one, or if that has none."""
        start = getattr(self, "_start_of_training", None)
        return None if start is None else getattr(start.earlier, "residuals_", None)

    @property
    def adds_residuals(self) -> bool:
        return self.decoder_noise_dim_ > 0

    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        found = super().decode(latent)
        if noise is None or self.decoder_noise_dim_ == 0:
            return found
        return found + self.residuals_(latent, noise)

    @torch.no_grad()
    def _residuals_of(
        self, responses: Responses, rows: NDArray[np.intp], held_out: NDArray[np.intp], run: Run
    ) -> Residuals:
        """The residuals of some responses, in groups of neighbours among their codes."""
        target = responses.take(rows).to(run.device)
        codes = self.encode_block(target, run.device)
        missed = (target - self.decode_block(codes, run.device)).cpu()
        is_held = torch.from_numpy(np.isin(rows, held_out))
        missed -= missed.mean(dim=0)
        if _FEWEST_HELD_OUT <= is_held.sum() < len(rows):  # training has made the others smaller
            seen, held = (missed[part].square().mean() for part in (~is_held, is_held))
            if seen > 0:
                missed[~is_held] *= (held / seen).sqrt().clamp(1.0, _MOST_GROWTH)
        codes = codes.cpu()
        spread = codes.std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        scaled = (codes / spread).numpy().astype(np.float64)
        n_groups = min(len(missed) // _ROWS_PER_GROUP, len(np.unique(scaled, axis=0)))
        means = KMeans(n_groups, n_init=1, random_state=run.seed).fit(scaled)
        count = np.bincount(means.labels_, minlength=n_groups)
        found = Residuals(*missed.shape, *means.cluster_centers_.shape)
        found.load_state_dict(
            {
                "rows": missed[np.argsort(means.labels_, kind="stable")],
                "centers": torch.from_numpy(means.cluster_centers_),
                "spread": spread,
                "first": torch.from_numpy(count.cumsum() - count),
                "count": torch.from_numpy(count),
            }
        )
        return found.to(run.device).eval()
