"""Latent spaces that users bring: scikit-learn transformers and pairs of torch modules."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from sklsdm._validation import shape_text
from sklsdm.autoencoders.base import BaseAutoencoder, TrainedAutoencoder, training_rows
from sklsdm.nets.run import Run
from sklsdm.responses import ResponseFormat, Responses

_PROBE_ROWS = 2


class TransformerCoder:
    """A fitted transformer that takes and gives tensors."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def encode(self, target: Tensor) -> Tensor:
        return _like(self.transformer.transform(_array(target)), target)

    def decode(self, latent: Tensor) -> Tensor:
        return _like(self.transformer.inverse_transform(_array(latent)), latent)


def _array(rows: Tensor) -> NDArray[np.float64]:
    return rows.detach().cpu().double().numpy()


def _like(values: Any, rows: Tensor) -> Tensor:
    dense = values.toarray() if hasattr(values, "toarray") else values
    return torch.as_tensor(np.asarray(dense), dtype=rows.dtype, device=rows.device)


class TransformerAutoencoder(BaseAutoencoder):
    """A scikit-learn transformer with `inverse_transform`, fitted on all responses.

    An estimator takes the transformer itself, ``autoencoder=FastICA(5)``, and wraps it so. It
    sees standardised rows, flat where the responses are images. Its own dimension is the latent
    dimension.

    When to use: a decomposition that fits your field (ICA, kernel PCA, dictionaries, a Pipeline).
    Cost: its own; all responses lie in memory as float64 while it is fitted, and drawing runs
    on the CPU.

    Parameters
    ----------
    transformer : scikit-learn transformer
        Has `fit`, `transform` and `inverse_transform`. It is cloned, never fitted itself.
    """

    _asked: int | str = "auto"

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def validate(self) -> None:
        name = type(self.transformer).__name__
        missing = [
            method
            for method in ("fit", "transform", "inverse_transform")
            if not hasattr(self.transformer, method)
        ]
        if missing:
            raise ValueError(
                f"autoencoder={name} has no {', no '.join(missing)}; a transformer serves as "
                f"autoencoder only with fit, transform and inverse_transform (for KernelPCA: "
                f"fit_inverse_transform=True)."
            )

    def choose(self, form: ResponseFormat, latent_dim: int | str) -> TransformerAutoencoder:
        self._asked = latent_dim
        return self

    def natural_dim(self, form: ResponseFormat) -> int | None:
        n_components = getattr(self.transformer, "n_components", None)
        return int(n_components) if isinstance(n_components, int | np.integer) else None

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> TransformerAutoencoder:
        rows = responses.take(training_rows(responses, held_out))
        fitted = clone(self.transformer).fit(_array(rows))
        self.coder_ = TransformerCoder(fitted)
        self.latent_dim_ = self._probe(rows[:_PROBE_ROWS])
        if self._asked not in ("auto", self.latent_dim_):
            raise ValueError(_conflict(self._asked, self.transformer, self.latent_dim_))
        self.history_ = {}
        return self

    def _probe(self, rows: Tensor) -> int:
        """The dimension of the codes, after a way there and back."""
        name = type(self.transformer).__name__
        codes = self.coder_.encode(rows)
        if codes.ndim != 2 or len(codes) != len(rows):
            raise ValueError(
                f"autoencoder={name}: transform must give codes of shape (n, k), but {len(rows)} "
                f"responses gave shape {tuple(codes.shape)}."
            )
        try:
            back = self.coder_.decode(codes)
        except (NotFittedError, NotImplementedError) as error:
            raise ValueError(
                f"autoencoder={name}: inverse_transform does not work ({error})"
            ) from error
        if back.shape != rows.shape:
            raise ValueError(
                f"autoencoder={name}: inverse_transform must give back rows of shape "
                f"{shape_text('n', rows.shape[1:])} like y, but gives "
                f"{shape_text('n', back.shape[1:])}."
            )
        return codes.shape[1]


class TorchCoder(nn.Module):
    """A user's encoder and decoder between flat rows, with images shaped as (n, c, h, w)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, form: ResponseFormat) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = form.image_shape if form.is_image else (form.width,)
        self.output_shapes = {self.input_shape}
        if form.is_image:
            self.output_shapes.add(form.shape)

    def encode(self, target: Tensor) -> Tensor:
        codes = self.encoder(target.reshape(-1, *self.input_shape))
        if not isinstance(codes, Tensor) or codes.ndim != 2 or len(codes) != len(target):
            raise ValueError(
                f"The encoder must give codes of shape (n, k), but {_came(target.shape[0])} of "
                f"shape {self.input_shape} gave {_described(codes)}; does it end in nn.Flatten()?"
            )
        return codes

    def decode(self, latent: Tensor) -> Tensor:
        rows = self.decoder(latent)
        fits = isinstance(rows, Tensor) and len(rows) == len(latent)
        if not fits or tuple(rows.shape[1:]) not in self.output_shapes:
            wanted = " or ".join(shape_text("n", shape) for shape in sorted(self.output_shapes))
            raise ValueError(
                f"The decoder's output must have y's shape, {wanted}, but "
                f"{_came(len(latent), 'code')} gave {_described(rows)}."
            )
        return rows.flatten(1)

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))


@contextmanager
def _errors_of(part: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Say of an error inside a user's module what it was given."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"The {part} cannot read rows of shape {shape_text('n', shape)}: {error}"
        ) from error


def _came(count: int, what: str = "response") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)}"
    return f"a {type(value).__name__} (a tensor is wanted)"


class TorchAutoencoder(TrainedAutoencoder):
    """A pair of torch modules: a frozen one used as it is, or one trained further.

    An estimator also takes the plain pair, ``autoencoder=(encoder, decoder)``, which stays
    frozen. The modules see standardised responses: rows (n, q), or images (n, c, h, w) where y
    is an image, with c = 1 for y of shape (n, h, w); vectors have each column brought to mean 0
    and variance 1, images are shifted and scaled by one number each. The encoder gives codes
    (n, k), the decoder the shape that the encoder was given. Yours are copied, never changed or
    moved.

    When to use: an autoencoder trained elsewhere on more data, or an architecture of your own.
    Cost: its own passes.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        The pair.
    frozen : bool, default=True
        Keep both as they are; they must be in evaluation mode (`encoder.eval()`), since dropout
        and batch norm in training mode would make codes random. False trains copies of both
        further by reconstruction error, and keeps the state that is best on held-out responses.
    max_epochs : int, default=20
        Most passes over the responses where not frozen (at least 50 steps each).
    lr : float, default=3e-4
        Initial rate of AdamW; falls to zero along half a cosine.
    batch_size : int, default=128
        Responses in one step.
    weight_decay : float, default=0.0
        Of AdamW (per step: lr times this).
    n_iter_no_change : int or None, default=5
        Stop after so many epochs without a lower error on held-out responses; None never stops.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    Notes
    -----
    Dropout in modules that are trained further draws from PyTorch's global random state: it is
    theirs, and outside what `random_state` covers.
    """

    def __init__(
        self,
        encoder: Any,
        decoder: Any,
        *,
        frozen: bool = True,
        max_epochs: int = 20,
        lr: float = 3e-4,
        batch_size: int = 128,
        weight_decay: float = 0.0,
        n_iter_no_change: int | None = 5,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.frozen = frozen
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        for name in ("encoder", "decoder"):
            module = getattr(self, name)
            if not isinstance(module, nn.Module):
                raise TypeError(
                    f"autoencoder__{name} must be a torch.nn.Module, got {module!r} "
                    f"({type(module).__name__})."
                )
            if self.frozen and any(part.training for part in module.modules()):
                raise ValueError(
                    f"The frozen {name} is in training mode, in which dropout and batch norm make "
                    f"codes random; call {name}.eval() before the fit, or pass "
                    f"TorchAutoencoder(encoder, decoder, frozen=False) to train it further."
                )
        super().validate()

    def natural_dim(self, form: ResponseFormat) -> int:
        coder = self._module(form, 0, torch.Generator()).eval()
        parameter = next(coder.parameters(), torch.empty(0))
        with torch.no_grad():
            with _errors_of("encoder", coder.input_shape):
                codes = coder.encode(parameter.new_zeros((_PROBE_ROWS, form.width)).float())
            with _errors_of("decoder", codes.shape[1:]):
                coder.decode(codes)
        return codes.shape[1]

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> TorchAutoencoder:
        if not self.frozen:
            super().fit(responses, latent_dim, held_out, run)
            return self
        coder = self._module(responses.format, latent_dim, torch.Generator())
        self.coder_ = coder.requires_grad_(False).to(run.device)
        self.latent_dim_ = latent_dim
        self.history_ = {}
        return self

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> TorchCoder:
        return TorchCoder(copy.deepcopy(self.encoder), copy.deepcopy(self.decoder), form)

    def _start(
        self, coder: TorchCoder, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> None:
        """As it came."""


def wrap(value: Any) -> Any:
    """The autoencoder that a transformer or a pair of modules stands for; others as they are."""
    if isinstance(value, BaseAutoencoder | str | type):
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        return TorchAutoencoder(*value)
    if hasattr(value, "fit") and hasattr(value, "get_params"):
        return TransformerAutoencoder(value)
    return value


def _conflict(asked: int | str, transformer: Any, found: int) -> str:
    return (
        f"latent_dim={asked!r} does not fit autoencoder={transformer!r}, whose latent space has "
        f"dimension {found}; use latent_dim='auto'."
    )
