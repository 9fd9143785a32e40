"""What the estimators share: named parts with nested parameters, both stages, drawing."""

from __future__ import annotations

import math
import numbers
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, qmc
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklsdm._validation import check_choice, check_integer, check_numeric, shape_text
from sklsdm.autoencoders import (
    AUTOENCODERS,
    FEW_OUTPUTS,
    BaseAutoencoder,
    intrinsic_dimension,
    wrap,
)
from sklsdm.batches import NoiseStream
from sklsdm.matchers import MATCHERS, BaseMatcher, MatchingData
from sklsdm.nets import clone_to_fit
from sklsdm.nets.run import Run, resolve_device
from sklsdm.responses import BLOCK_ROWS, ResponseFormat, Responses, Standardiser
from sklsdm.resume import remembered_seed, resume_folder

_CHUNK_NUMBERS = 1 << 21
_WIDEST_HIDDEN = 128


class LatentSpaceEstimator(BaseEstimator):
    """Stage 1, stage 2 and drawing; the subclasses say what a condition is and validate.

    A part given by name ("wgan") has its parameters listed by `get_params(deep=True)` all the
    same, and `set_params(matcher__n_critic=3)` turns the name into its object.
    """

    _parts: Mapping[str, Mapping[str, type]] = {"matcher": MATCHERS, "autoencoder": AUTOENCODERS}

    latent_dim: int | str
    matcher: str | BaseMatcher
    autoencoder: str | BaseAutoencoder
    device: str
    random_state: int | np.random.RandomState | None
    verbose: int
    checkpoint: str | Path | None

    autoencoder_: BaseAutoencoder
    matcher_: BaseMatcher
    latent_dim_: int
    device_: str
    history_: dict[str, dict[str, NDArray[np.float64]]]
    interrupted_: bool
    _response_format_: ResponseFormat
    _latent_standardiser_: Standardiser

    # ------------------------------------------------------------------ parameters
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator; `deep` adds those of its parts, named ones included."""
        params = super().get_params(deep=deep)
        if deep:
            for part, table in self._parts.items():
                value = getattr(self, part)
                if isinstance(value, str) and value in table:
                    nested = table[value]().get_params()
                    params |= {f"{part}__{key}": nested[key] for key in nested}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; `<part>__<name>` turns a part given by name into its object."""
        parts = {part: params.pop(part) for part in self._parts if part in params}
        super().set_params(**parts)
        for part, table in self._parts.items():
            value = getattr(self, part)
            nested = any(key.startswith(f"{part}__") for key in params)
            if nested and isinstance(value, str) and value in table:
                setattr(self, part, table[value]())
        super().set_params(**params)
        return self

    def _part(self, part: str) -> Any:
        """A fresh copy of the matcher or autoencoder asked for."""
        value = getattr(self, part)
        table = self._parts[part]
        if isinstance(value, str):
            return table[check_choice(part, value, table)]()
        base: type = BaseMatcher
        others = ""
        if part == "autoencoder":
            base, value = BaseAutoencoder, wrap(value)
            others = ", a transformer or a pair (encoder, decoder) of torch modules"
        if not isinstance(value, base):
            names = ", ".join(repr(name) for name in sorted(table))
            raise TypeError(
                f"{part} must be one of {names} or a {base.__name__} object{others}, got {value!r}."
            )
        return clone_to_fit(value)

    # ------------------------------------------------------------------ fitting
    def _run(self, seed: int, arrays: list[Any]) -> Run:
        """How this fit runs; with a checkpoint folder, as it began in an earlier process."""
        device = resolve_device(self.device)
        if self.checkpoint is None:
            return Run(device, seed, self.verbose)
        folder = resume_folder(self.checkpoint, self.get_params(deep=True), arrays)
        return Run(device, remembered_seed(folder, seed), self.verbose, folder)

    def _finish(self, run: Run) -> None:
        """Note how training ended; a finished fit leaves no checkpoint behind."""
        self.interrupted_ = self.matcher_.interrupted_
        self.history_ = {
            "autoencoder": self.autoencoder_.history_,
            "matcher": self.matcher_.history_,
        }
        if run.checkpoint is not None and not self.interrupted_:
            shutil.rmtree(run.checkpoint)

    def _adopt(self, fresh: LatentSpaceEstimator) -> None:
        """Take over what `fresh` learnt, in place of what was learnt before."""
        for name in [name for name in vars(self) if _is_learnt(name)]:
            delattr(self, name)
        self.__dict__.update({k: v for k, v in vars(fresh).items() if _is_learnt(k)})

    def _fit_latent_space(
        self, responses: Responses, held_out: NDArray[np.intp], run: Run
    ) -> Tensor:
        """Stage 1; returns the standardised codes (n + N, k) of all responses."""
        autoencoder = self._part("autoencoder").choose(responses.format, self.latent_dim)
        latent_dim = self._choose_latent_dim(autoencoder, responses, run.seed)
        self.autoencoder_ = autoencoder.fit(responses, latent_dim, held_out, run)
        self.latent_dim_ = self.autoencoder_.latent_dim_
        self.device_ = str(run.device)
        codes = self.autoencoder_.encode_all(responses, run.device)
        mean = codes.mean(dim=0)
        spread = codes.std(dim=0, correction=0)
        spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        self._latent_standardiser_ = Standardiser(
            mean.double().cpu().numpy(), spread.double().cpu().numpy()
        )
        return (codes - mean) / spread

    def _choose_latent_dim(
        self, autoencoder: BaseAutoencoder, responses: Responses, seed: int
    ) -> int:
        width = responses.width
        natural = autoencoder.natural_dim(responses.format)
        if natural is not None:
            if self.latent_dim not in ("auto", natural):
                raise ValueError(
                    f"latent_dim={self.latent_dim!r} does not fit autoencoder="
                    f"{self.autoencoder!r}, whose latent space has dimension {natural}; use "
                    f"latent_dim='auto', or autoencoder='pca' or 'mlp'."
                )
            return natural
        most = max(1, min(width, len(responses) - 1))
        if self.latent_dim == "auto":
            few = width <= FEW_OUTPUTS
            wanted = width if few else math.ceil(1.5 * intrinsic_dimension(responses, seed))
            return min(most, wanted)
        if isinstance(self.latent_dim, str):
            raise ValueError(f"latent_dim must be an integer or 'auto', got {self.latent_dim!r}.")
        asked = check_integer("latent_dim", self.latent_dim, 1, width, f" (y has {width} outputs)")
        if asked > most:
            warnings.warn(
                f"latent_dim={asked} is more than {len(responses)} responses can span; "
                f"{most} is used.",
                stacklevel=5,
            )
        return min(asked, most)

    def _fit_matcher(self, data: MatchingData, run: Run) -> None:
        """Stage 2."""
        self.matcher_ = self._part("matcher").fit(data, run)

    # ------------------------------------------------------------------ the latent space
    def _fitted_format(self) -> ResponseFormat:
        check_is_fitted(self, "matcher_")
        return self._response_format_

    def encode(self, Y: ArrayLike) -> NDArray[np.float32]:
        """Codes E(y), (n, latent_dim_) float32, of responses shaped as in fit."""
        form = self._fitted_format()
        return self._encode_rows(form.flatten(self._check_rows(Y, "Y")))

    def decode(self, Z: ArrayLike) -> NDArray[Any]:
        """Responses D(z), shaped as in fit after the leading axes, of codes (..., latent_dim_)."""
        form = self._fitted_format()
        codes = check_numeric("Z", Z)
        if codes.ndim < 2 or codes.shape[-1] != self.latent_dim_:
            raise ValueError(
                f"Z must have shape (n, ..., {self.latent_dim_}), the last axis being the latent "
                f"dimension, got {codes.shape}."
            )
        flat = codes.reshape(-1, self.latent_dim_).astype(np.float32)
        rows = self._decode_rows(flat).astype(form.dtype)
        return rows.reshape(*codes.shape[:-1], *form.shape)

    def reconstruct(self, Y: ArrayLike) -> NDArray[Any]:
        """D(E(y)) of responses shaped as in fit, in the shape and units of draws."""
        return self.decode(self.encode(Y))

    def _check_rows(self, value: Any, name: str) -> NDArray[Any]:
        """Responses as finite numbers in the shape and range of those seen in fit."""
        form = self._response_format_
        array = check_numeric(name, value)
        if array.ndim == 2 and array.shape[1] == 1 and form.shape == ():
            array = array[:, 0]
        if array.shape[1:] != form.shape:
            wanted = shape_text("n", form.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {array.shape}.")
        if form.is_bytes and array.dtype != np.uint8 and array.max() > 1:
            raise ValueError(
                f"{name} must be uint8 images as in fit, or floats in [0, 1] as they are drawn; "
                f"got {array.dtype} up to {array.max():g}."
            )
        form.check_range(name, array)
        return array

    # ------------------------------------------------------------------ drawing
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "device_"):
            self.device_ = str(_usable(self.device_))
            self.autoencoder_.to(torch.device(self.device_))
            self.matcher_.to(torch.device(self.device_))

    def _decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        """Responses (b, q), in their own units, of codes (b, k) in the autoencoder's units.

        A stochastic decoder takes `noise`; without it, the responses are its means.
        """
        return self._response_format_.restore(self.autoencoder_.decode(latent, noise))

    @property
    def _noise_dims(self) -> list[int]:
        """Numbers of noise that one draw takes: in the matcher, in the decoder."""
        return [self.matcher_.noise_dim_, self.autoencoder_.decoder_noise_dim_]

    def _draw_latent(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Codes (b, k), in the autoencoder's units, for conditions (b, p) and noise (b, d)."""
        latent = self.matcher_.draw(condition, noise)
        mean, scale = self._latent_standardiser_.tensors(latent)
        return latent * scale + mean

    def _fill(
        self,
        out: NDArray[Any],
        condition: NDArray[np.float32],
        seed: int,
        batch_size: int | str,
        last: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Fill `out` (n, m, ...) with draws passed through `last`, a chunk at a time.

        `last` gets codes and the noise of a stochastic decoder.
        """
        device = torch.device(self.device_)
        n_samples = out.shape[1]
        flat = out.reshape(len(out) * n_samples, -1)
        step = self._chunk(flat.shape[1]) if batch_size == "auto" else int(batch_size)
        noise = NoiseStream(sum(self._noise_dims), seed, device)
        for start in range(0, len(flat), step):
            rows = np.arange(start, min(start + step, len(flat))) // n_samples
            first = rows[0]
            few = torch.from_numpy(condition[first : rows[-1] + 1]).to(device)
            chosen = few[torch.from_numpy(rows - first).to(device)]
            own, decoders = noise.take(len(rows)).split(self._noise_dims, dim=1)
            latent = self._draw_latent(chosen, own)
            flat[start : start + step] = last(latent, decoders).cpu().numpy()

    def _banked_draws(
        self, condition: NDArray[np.float32], n_draws: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Draws (rows, n_draws, q) for blocks of rows, all rows with the same bank of noise.

        The bank is a scrambled Sobol sequence mapped to the normal law: means and quantiles
        over it vary far less than over as many independent draws.
        """
        device = torch.device(self.device_)
        sobol = qmc.Sobol(sum(self._noise_dims), rng=np.random.default_rng(0))
        points = np.clip(sobol.random(n_draws), 1e-6, 1 - 1e-6)
        bank = torch.as_tensor(norm.ppf(points), dtype=torch.float32, device=device)
        step = max(1, self._chunk(self._response_format_.width) // n_draws)
        for start in range(0, len(condition), step):
            block = torch.from_numpy(condition[start : start + step]).to(device)
            repeated = block.repeat_interleave(n_draws, dim=0)
            own, decoders = bank.repeat(len(block), 1).split(self._noise_dims, dim=1)
            rows = self._decode(self._draw_latent(repeated, own), decoders)
            yield slice(start, start + len(block)), rows.view(len(block), n_draws, -1)

    @staticmethod
    def _chunk(width: int) -> int:
        """Draws made at once: what keeps the widest layer within a few MiB."""
        return max(64, _CHUNK_NUMBERS // max(width, _WIDEST_HIDDEN))

    def _encode_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Codes (n, k), in the autoencoder's units, of standardised rows (n, q)."""
        device = torch.device(self.device_)
        blocks = torch.from_numpy(rows).split(BLOCK_ROWS)
        return torch.cat([self.autoencoder_.encode(b.to(device)).cpu() for b in blocks]).numpy()

    def _decode_rows(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Responses (n, q), in their own units, of codes (n, k)."""
        device = torch.device(self.device_)
        blocks = torch.from_numpy(codes).split(BLOCK_ROWS)
        return torch.cat([self._decode(b.to(device)).cpu() for b in blocks]).numpy()


def _is_learnt(name: str) -> bool:
    return name.endswith("_") and not name.startswith("__")


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """A seed from `random_state`; None never reads NumPy's global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if not isinstance(random_state, numbers.Integral):
        raise TypeError(
            f"random_state must be an integer, a numpy.random.RandomState or None, got "
            f"{random_state!r}."
        )
    return check_integer("random_state", random_state, 0, 2**32 - 1)


def _usable(name: str) -> torch.device:
    """The device named, or the CPU where a model trained on CUDA is loaded without one."""
    try:
        return resolve_device(name)
    except ValueError:
        return torch.device("cpu")


def check_out(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The array to fill with draws: `out` where it fits, a new one where it is None."""
    if out is None:
        return allocate(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array or memmap, got {type(out).__name__}.")
    if out.shape != shape or out.dtype.kind != "f" or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be a C-contiguous float array of shape {shape}, got shape {out.shape}, "
            f"dtype {out.dtype}."
        )
    return out


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array for draws, or a clear error where it is larger than this machine's memory."""
    n_bytes = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    limit = _physical_memory()
    if n_bytes > limit:
        raise ValueError(
            f"{'x'.join(map(str, shape))} draws of {dtype} take {n_bytes / 2**30:,.1f} GiB, but "
            f"this machine has {limit / 2**30:,.1f} GiB: ask for a smaller n_samples, or pass "
            f"out=, for example numpy.lib.format.open_memmap('draws.npy', 'w+', dtype='{dtype}', "
            f"shape={shape})."
        )
    return np.empty(shape, dtype)


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 2**63
