"""Autoencoders that users bring: scikit-learn transformers and pairs of torch modules."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklsdm._validation import shape_text
from sklsdm.autoencoders.base import BaseAutoencoder, training_rows
from sklsdm.autoencoders.trained import TrainedAutoencoder
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.parameters import anything, flag, parameter
from sklsdm.reading import NUMBER_KINDS
from sklsdm.run import Run

_PROBE_ROWS = 2  # rows on which the shapes of codes and decoded rows are tried


class TransformerCoder:
    """A fitted transformer as a coder, which takes and gives tensors."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def encode(self, target: Tensor) -> Tensor:
        return self._rows("transform", target)

    def decode(self, latent: Tensor) -> Tensor:
        return self._rows("inverse_transform", latent)

    def _rows(self, method: str, rows: Tensor) -> Tensor:
        given = getattr(self.transformer, method)(_array(rows))
        found = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        if found.dtype.kind not in NUMBER_KINDS:
            hint = "; put real and imaginary parts side by side" if found.dtype.kind == "c" else ""
            raise TypeError(
                f"autoencoder={type(self.transformer).__name__}: {method} must give real numbers, "
                f"got dtype {found.dtype}{hint}."
            )
        return torch.tensor(found, dtype=rows.dtype, device=rows.device)


def _array(rows: Tensor) -> NDArray[np.float64]:
    return rows.detach().cpu().double().numpy()


class TransformerAutoencoder(BaseAutoencoder):
    """A scikit-learn transformer with `inverse_transform`, fitted on all responses.

    An estimator also takes the transformer itself, ``autoencoder=FastICA(5)``, and wraps it in
    this class. The transformer sees standardised rows, flat where the responses are images. The
    dimension of what it gives is the latent dimension.

    When to use: for a decomposition that suits your field (ICA, kernel PCA, dictionaries, a
    Pipeline). Cost: that of the transformer. All responses lie in memory as float64 while it is
    fitted, and draws are decoded on the CPU.
    """

    transformer: Any = parameter(
        rule=anything("scikit-learn transformer"),
        doc="Has `fit`, `transform` and `inverse_transform`. A clone is fitted, never this object.",
        kw_only=False,
    )

    def _check_further(self, prefix: str) -> None:
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

    def natural_dim(self, form: ResponseFormat) -> int | None:
        n_components = getattr(self.transformer, "n_components", None)
        return int(n_components) if isinstance(n_components, int | np.integer) else None

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> TransformerCoder:
        rows = responses.take(training_rows(responses, held_out, fewest=latent_dim + 1))
        fitted = clone(self.transformer)
        fitted.fit(_array(rows))
        coder = TransformerCoder(fitted)
        self.latent_dim_ = self._probe(coder, rows[:_PROBE_ROWS])
        return coder

    def _probe(self, coder: TransformerCoder, rows: Tensor) -> int:
        """The dimension of the codes; raises unless rows can be encoded and decoded again."""
        name = type(self.transformer).__name__
        codes = coder.encode(rows)
        if codes.ndim != 2 or len(codes) != len(rows):
            raise ValueError(
                f"autoencoder={name}: transform must give codes of shape (n, k), but {len(rows)} "
                f"responses gave shape {tuple(codes.shape)}."
            )
        try:
            back = coder.decode(codes)
        except (NotFittedError, NotImplementedError) as error:
            raise ValueError(
                f"autoencoder={name}: inverse_transform does not work ({error})"
            ) from error
        if back.shape != rows.shape:
            raise ValueError(
                f"autoencoder={name}: inverse_transform must give back rows of shape "
                f"{tuple(rows.shape)} like y, but gives {tuple(back.shape)}."
            )
        return codes.shape[1]


class TorchCoder(nn.Module):
    """A user's encoder and decoder, made to take and give flat rows, for images as well.

    The decoder is None where the encoder is one module that has `encode` and `decode`. Both get
    copies, since a first layer that works in place writes into what it is given.
    """

    def __init__(self, encoder: Any, decoder: nn.Module | None, form: ResponseFormat) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = form.image_shape if form.is_image else (form.width,)
        self.output_shapes = {self.input_shape}
        if form.is_image:
            self.output_shapes.add(form.shape)

    def encode(self, target: Tensor) -> Tensor:
        encode = self.encoder.encode if self.decoder is None else self.encoder
        codes = encode(target.clone().reshape(-1, *self.input_shape))
        if not isinstance(codes, Tensor) or codes.ndim != 2 or len(codes) != len(target):
            raise ValueError(
                f"The encoder must give codes of shape (n, k), but {_counted(target.shape[0])} of "
                f"shape {self.input_shape} gave {_kind_of_output(codes)}; does it end in "
                f"nn.Flatten()?"
            )
        return codes

    def decode(self, latent: Tensor) -> Tensor:
        decode = self.encoder.decode if self.decoder is None else self.decoder
        rows = decode(latent.clone())
        fits = isinstance(rows, Tensor) and len(rows) == len(latent)
        if not fits or tuple(rows.shape[1:]) not in self.output_shapes:
            wanted = " or ".join(shape_text("n", shape) for shape in sorted(self.output_shapes))
            raise ValueError(
                f"The decoder's output must have y's shape, {wanted}, but "
                f"{_counted(len(latent), 'code')} gave {_kind_of_output(rows)}."
            )
        return rows.flatten(1)

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))


@contextmanager
def _errors_of(part: str, shape: tuple[int, ...]) -> Iterator[None]:
    """Name the part, and the shape of its input, in an error inside a user's module."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"The {part} cannot read rows of shape {shape_text('n', shape)}: {error}"
        ) from error


def _counted(count: int, what: str = "response") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _kind_of_output(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)}"
    return f"a {type(value).__name__} (a tensor is wanted)"


class TorchAutoencoder(TrainedAutoencoder):
    """A pair of torch modules, encoder and decoder, used as they are or trained further.

    An estimator also takes the plain pair, ``autoencoder=(encoder, decoder)``, which is used as
    it is. The modules see standardised responses: rows (n, q), or images (n, c, h, w) where y
    holds images, with c = 1 for y of shape (n, h, w). Rows have each column brought to mean 0 and
    variance 1; images are shifted by one number and scaled by one. The encoder gives codes (n, k),
    the decoder the shape that the encoder was given. Your modules are copied, never changed nor
    moved to another device.

    When to use: for an autoencoder trained elsewhere on more data, or an architecture of your own.
    Cost: the passes through it.

    Notes
    -----
    Dropout in modules that are trained further draws from PyTorch's global random state, which
    `random_state` does not cover.
    """

    encoder: Any = parameter(
        rule=anything("torch.nn.Module"),
        doc="Gives codes (n, k); or a single module that has both `encode` and `decode`.",
        kw_only=False,
    )
    decoder: Any = parameter(
        default=None,
        rule=anything("torch.nn.Module or None"),
        doc="Gives responses of codes (n, k); None if `encoder` has both `encode` and `decode`.",
        kw_only=False,
    )
    frozen: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Whether both are used as they are. They must then be in evaluation mode
        (`encoder.eval()`), since dropout and batch norm in training mode would make codes random.
        False trains copies of both further by reconstruction error, and keeps the state that is
        best on held-out responses.""",
    )
    max_epochs: int = 20
    lr: float = 3e-4
    weight_decay: float = 0.0
    n_iter_no_change: int | None = 5

    def _check_further(self, prefix: str) -> None:
        if self.frozen and self.callbacks:
            raise ValueError(
                f"{prefix}callbacks are called in training, but frozen modules are not trained; "
                f"set {prefix}frozen=False or leave the callbacks out."
            )
        whole = hasattr(self.encoder, "encode") and hasattr(self.encoder, "decode")
        for name in ("encoder",) if self.decoder is None and whole else ("encoder", "decoder"):
            module = getattr(self, name)
            if not isinstance(module, nn.Module):
                raise TypeError(
                    f"{prefix}{name} must be a torch.nn.Module, got {module!r} "
                    f"({type(module).__name__})."
                )
            if isinstance(module, torch.jit.ScriptModule):
                raise TypeError(
                    f"{prefix}{name} is a TorchScript module, which can be neither copied with its "
                    f"weights nor pickled; pass the torch.nn.Module that it was made of."
                )
            weights = [*module.parameters(), *module.buffers()]
            if any(is_lazy(each) or each.is_meta for each in weights):
                raise ValueError(
                    f"{prefix}{name} has weights without values (a lazy layer, or the device "
                    f"'meta'); call it once, or load its weights, before the fit."
                )
            if self.frozen and any(part.training for part in module.modules()):
                raise ValueError(
                    f"The frozen {name} is in training mode, in which dropout and batch norm make "
                    f"codes random; call {name}.eval() before the fit, or pass "
                    f"TorchAutoencoder(encoder, decoder, frozen=False) to train it further."
                )

    @property
    def is_trained(self) -> bool:
        return not self.frozen

    def natural_dim(self, form: ResponseFormat) -> int:
        coder = self._module(form, 0, torch.Generator()).eval()
        parameter = next(coder.parameters(), torch.empty(0, dtype=torch.float32))
        with torch.no_grad():
            with _errors_of("encoder", coder.input_shape):
                codes = coder.encode(parameter.new_zeros((_PROBE_ROWS, form.width)).float())
            with _errors_of("decoder", codes.shape[1:]):
                coder.decode(codes)
        return codes.shape[1]

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> Any:
        if not self.frozen:
            return super()._fit_coder(responses, latent_dim, held_out, run)
        coder = self._module(responses.format, latent_dim, torch.Generator())
        return coder.requires_grad_(False).to(run.device)

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> TorchCoder:
        return TorchCoder(*copy.deepcopy((self.encoder, self.decoder)), form)


def wrap(value: Any) -> Any:
    """Wrap a transformer or a pair of modules as an autoencoder; leave anything else as it is."""
    if isinstance(value, BaseAutoencoder | str | type):
        return value
    if isinstance(value, nn.Module) and hasattr(value, "encode") and hasattr(value, "decode"):
        return TorchAutoencoder(value)
    if isinstance(value, tuple | list) and len(value) == 2:
        return TorchAutoencoder(*value)
    if hasattr(value, "fit") and hasattr(value, "get_params"):
        return TransformerAutoencoder(value)
    return value
