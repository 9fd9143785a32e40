"""An estimator that owns a matcher and an autoencoder, each given by name or as an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from sklsdm._validation import check_choice, warn_user
from sklsdm.autoencoders import AUTOENCODERS, BaseAutoencoder, wrap
from sklsdm.draws.out_of_memory import is_out_of_memory
from sklsdm.encoders import ENCODERS, BaseConditionEncoder
from sklsdm.exceptions import DivergenceWarning, NotImprovedWarning
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.matchers import MATCHERS, BaseMatcher
from sklsdm.nets import FARTHEST, clone_to_fit
from sklsdm.parameters import (
    Declared,
    any_integer,
    anything,
    or_auto,
    parameter,
    unless_it_fails,
    use_plain_numbers,
)

_FOR_FEW_ROWS = ("diffusion", "mdn")  # matchers that learn from few rows
_LARGE = 10_000  # integers beyond that may be why memory is not enough ...
_COUNTS_OF_TIME = ("max_steps", "max_epochs")  # ... but these take time alone


class PartKind(NamedTuple):
    """What may stand for a part: names, objects of a class, and other things in words."""

    table: Mapping[str, type]
    base: type
    others: str = ""
    convert: Callable[[Any], Any] = lambda value: value  # other things into objects


class PartsOwner(Declared):
    """An estimator with parts, such as its matcher, whose parameters are nested.

    This also works for a part given by name, such as "wgan": `get_params(deep=True)` lists its
    parameters, and `set_params(matcher__n_critic=3)` replaces the name by an object.
    """

    _parts: ClassVar[Mapping[str, PartKind]] = {
        "matcher": PartKind(MATCHERS, BaseMatcher),
        "autoencoder": PartKind(
            AUTOENCODERS,
            BaseAutoencoder,
            ", a transformer, a pair (encoder, decoder) of torch modules, or one module with "
            "encode and decode",
            wrap,
        ),
    }

    latent_dim: int | str = parameter(
        default="auto",
        rule=or_auto(any_integer()),
        doc="""Dimension of the latent space. "auto" is the number of outputs if there are at most
        eight, or if they are their own codes (`autoencoder`); else 1.5 times the intrinsic
        dimension of all responses (Levina & Bickel 2004), both rounded up. For vectors unpaired
        responses add no dimensions beyond a fifteenth of the number of pairs. An integer is at
        most the number of outputs. One that is not below the number of responses is reduced, with
        a warning.""",
        kw_only=False,
    )
    matcher: str | BaseMatcher = parameter(
        default="wgan",
        rule=anything("str or matcher object"),
        doc=f"""Method of stage 2: {", ".join(f'"{name}"' for name in MATCHERS)}, or a matcher
        object; see `sklsdm.matchers`. Its parameters can be set as `matcher__<name>`, even if the
        matcher is given by name.""",
        kw_only=False,
    )
    autoencoder: Any = parameter(
        default="auto",
        rule=anything("str, autoencoder object, transformer or pair of modules"),
        doc="""Stage 1: "mlp", "conv" (images), "feature-map" (images, whose codes are small images
        too), "vae", "dpa" (stochastic decoder), "pca", "identity", or "auto": the identity for up
        to 50 outputs, convolutions for images from 16×16 pixels ("feature-map" where
        `latent_dim` is "auto", for 250 or more with the matcher "wgan", for 5,000 with "diffusion"
        and "flow", else "conv"), else an MLP. Also any scikit-learn transformer with
        `inverse_transform`, or a pair ``(encoder, decoder)`` of torch modules, which then fix the
        latent dimension; see `sklsdm.autoencoders`.""",
    )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator; `deep` adds those of its parts, even if given by name."""
        params = super().get_params(deep=deep)
        if deep:
            for part, kind in self._parts.items():
                value = getattr(self, part)
                if isinstance(value, str) and value in kind.table:
                    nested = kind.table[value]().get_params()
                    params |= {f"{part}__{key}": nested[key] for key in nested}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; `<part>__<name>` replaces a part given by name by an object.

        After an error this estimator and its parts are what they were before the call.
        """
        with unless_it_fails(self, params):
            super().set_params(**{part: params.pop(part) for part in self._parts if part in params})
            for part, kind in self._parts.items():
                value = getattr(self, part)
                if isinstance(value, str) and any(key.startswith(f"{part}__") for key in params):
                    setattr(self, part, kind.table[check_choice(part, value, kind.table)]())
            return super().set_params(**params)

    def _new_part(self, part: str) -> Any:
        """A new, unfitted part with the parameters of this estimator's."""
        fresh = clone_to_fit(self._given_part(part))
        use_plain_numbers(fresh)
        return fresh

    def _given_part(self, part: str) -> Any:
        """The part that was given, as an object."""
        value = getattr(self, part)
        table, base, others, convert = self._parts[part]
        if isinstance(value, str):
            return table[check_choice(part, value, table)]()
        value = convert(value)
        if not isinstance(value, base):
            names = ", ".join(repr(name) for name in sorted(table))
            raise TypeError(
                f"{part} must be one of {names} or a {base.__name__} object{others}, got {value!r}."
            )
        return value


_SILENT = ContextVar("_SILENT", default=False)


@contextmanager
def without_advice() -> Iterator[None]:
    """Context in which :func:`advise` is silent, in the calling thread.

    Filters of `warnings` belong to all threads, so two threads could leave one behind.
    """
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def advise(message: str, category: type[Warning]) -> None:
    """Warn of what a fit has found out about its data or itself."""
    if not _SILENT.get():
        warn_user(message, category)


def warn_if_not_improved(matcher: BaseMatcher, encoder: BaseConditionEncoder | None) -> None:
    """Warn if no state of a matcher's training was better than its start.

    `encoder` is that of the conditions; None where there are none.
    """
    if matcher.start_score_ is None or matcher.best_step_ > 0:
        return
    mean, error = matcher.start_score_
    start, rows = "ridge regression with Gaussian noise", "pairs"
    if encoder is None:
        start, rows = "a Gaussian law", "rows"
    if isinstance(encoder, ENCODERS["trees"]):
        start = (
            "ridge regression on x and on what the condition encoder predicts, with Gaussian noise"
        )
    fits = f" That is right where {start} describes the responses; diagnose() tells."
    network = getattr(matcher, "network_", None)
    if network is not None and not hasattr(network, "set_linear"):  # see `start_linear`
        start, fits = "a network that has learnt nothing", ""
    tried = "diffusion" if getattr(matcher, "diffusion_steps_", 0) else None
    others = [
        name for name in _FOR_FEW_ROWS if name != tried and type(matcher) is not MATCHERS[name]
    ]
    learn = "learn" if len(others) > 1 else "learns"
    ways = [
        f"another matcher ({' or '.join(map(repr, others))} {learn} from few {rows})",
        "a lower matcher__lr",
    ]
    if encoder is not None and type(encoder) is not ENCODERS["trees"]:
        ways.append("condition_encoder='trees' for tables")
    advise(
        f"Stage 2 learnt nothing that the held-out {rows} could confirm: no later state was better "
        f"than the start, {start} (held-out score {mean:.3g} ± {error:.1g}, lower is better), and "
        f"so the draws come from the start.{fits} Otherwise try {', '.join(ways)}, or more {rows}.",
        NotImprovedWarning,
    )


@contextmanager
def largest_settings_in_errors(estimator: PartsOwner) -> Iterator[None]:
    """Turn an error for lack of memory into one that names the settings which may be its cause."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        large = {
            name: value
            for name, value in estimator.get_params().items()
            if not name.endswith(_COUNTS_OF_TIME)
            and any(isinstance(n, int | np.integer) and n > _LARGE for n in _members(value))
        }
        if not large or not (is_out_of_memory(error) or "overflow" in str(error)):
            raise
        named = ", ".join(f"{name}={value!r}" for name, value in large.items())
        raise ValueError(f"fit needs more memory than there is; lower {named}.") from error


def _members(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def warn_if_constant(form: ResponseFormat) -> None:
    """Warn of outputs of which all responses have the same value."""
    is_constant = form.standardiser.constant
    constant = np.flatnonzero(is_constant)
    if len(constant) > 0:
        what = f"Columns {constant[:10].tolist()}"
        if form.is_image:
            n_channels = form.image_shape[0]
            channels = np.unique(constant * n_channels // len(is_constant)).tolist()
            what = "The images" if is_constant.all() else f"Channels {channels}"
        warn_user(f"{what} of the responses are constant; every draw repeats the constant.")


def warn_of_far_draws(matcher: BaseMatcher) -> None:
    """Warn if some of the draws that were looked at when training had ended were far off."""
    if matcher.far_share_ == 0:
        return
    warn_user(
        f"{matcher.far_share_:.2g} of the draws that were looked at after stage 2 are not finite, "
        f"or lie more than {FARTHEST:g} times as far out as the responses do: means and scores are "
        f"worthless with such draws. Lower matcher__lr, and look for extreme values in X and in "
        f"the responses (heavy-tailed ones are easier to learn as logarithms); y_range clips "
        f"draws.",
        DivergenceWarning,
    )
