"""TrainingDisplay: losses and held-out scores of both stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sklsdm.displays.base import Array, one_fit, panels, text_colour
from sklsdm.parts import TrainedPart

__all__ = ["TrainingDisplay"]

_LABELS = {
    "train_loss": "training loss",
    "start_train_loss": "loss of the start",
    "train_critic_loss": "critic's loss",
    "valid_loss": "held-out loss",
    "sharpening_loss": "training loss",
    "sharpening_critic_loss": "critic's loss",
}
_FACTOR_FOR_LOG = 30.0  # of the largest to the smallest value, from which the axis is logarithmic


@dataclass(frozen=True)
class Marks:
    """The states of one stage that were scored apart: the start, and the one that is kept."""

    start: tuple[float, float] | None  # held-out score and its standard error
    chosen: tuple[float, float] | None
    chosen_step: int


@dataclass(frozen=True)
class Panel:
    """Curves over the training steps that share a unit."""

    title: str
    ylabel: str
    steps: Array  # (n_epochs,)
    curves: Mapping[str, Array]
    marks: Marks | None = None


class TrainingDisplay:
    """Losses and held-out scores of both stages over the training steps.

    One panel shows stage 1, where it was trained (`autoencoder="pca"` is not), two show stage 2:
    its losses (those of the training before, where nothing came after), and the score on held-out
    pairs by which the state to keep was chosen. The start
    and the chosen state are marked, with their standard errors. A score that does not get below
    that of the start means that nothing was learnt.

    Use :meth:`from_estimator`; the constructor takes the panels.

    Parameters
    ----------
    content : sequence of Panel
        What each panel shows.

    Attributes
    ----------
    ax_ : ndarray of shape (n_panels,) of matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds them.

    Examples
    --------
    >>> from sklsdm import LSDMRegressor, TrainingDisplay
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(100, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", random_state=0).set_params(matcher__max_steps=50)
    >>> display = TrainingDisplay.from_estimator(est.fit(arms.X, arms.y))
    >>> [ax.get_title() for ax in display.ax_]
    ['Stage 2: losses', 'Stage 2: held-out pairs']
    """

    ax_: Array
    figure_: Any

    def __init__(self, content: Sequence[Panel]) -> None:
        self.content = content

    @classmethod
    def from_estimator(cls, estimator: Any, *, member: int = 0, ax: Any = None) -> Self:
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted estimator of this package, or anything that wraps one.
        member : int, default=0
            Which fit of a :class:`SamplingEnsemble` or :class:`LSDMRegressorCV` is shown.
        ax : sequence of matplotlib Axes, optional
            One for each panel; None makes a figure.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        TypeError, ValueError
            There is no estimator of this package inside, `member` is no fit of the ensemble, the
            number of Axes is not that of the panels, or no stage was trained by steps.
        NotFittedError
            The estimator is not fitted.
        """
        fit = one_fit(estimator, member)
        content = [
            *_panels_of(1, fit.autoencoder_, fit.history_["autoencoder"]),
            *_panels_of(2, fit.matcher_, fit.history_["matcher"]),
        ]
        if not content:
            raise ValueError("Neither stage of this estimator was trained by steps.")
        return cls(content).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot all panels.

        Parameters
        ----------
        ax : sequence of matplotlib Axes, optional
            One for each panel; None makes a figure.

        Returns
        -------
        TrainingDisplay
            This display, with `ax_` and `figure_`.
        """
        axes = panels(ax, len(self.content))
        for one, shown in zip(axes, self.content, strict=True):
            _plot_panel(one, shown)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self


def _panels_of(stage: int, part: Any, history: Mapping[str, Array]) -> list[Panel]:
    """The panels of one stage; none where it was not trained by steps."""
    n_before = len(history.get("start_train_loss", ()))  # epochs of a training that went before
    n_epochs = n_before + len(history.get("train_loss", ()))
    if not isinstance(part, TrainedPart) or n_epochs == 0:
        return []
    every = part.n_steps_ / n_epochs * np.arange(1, n_epochs + 1)
    steps = every[n_before:]
    marks = Marks(_pair(part.start_score_), _pair(part.best_score_), part.best_step_)
    losses = {k: v for k, v in history.items() if k in ("train_loss", "train_critic_loss")}
    scores = [history[name] for name in ("start_valid_loss", "valid_loss") if name in history]
    if not losses:  # what went before was all
        losses, steps = {"start_train_loss": history["start_train_loss"]}, every
    if stage == 1:
        curves = losses | ({"valid_loss": scores[0]} if scores else {})
        shown = {_LABELS[name]: values for name, values in curves.items()}
        found = [Panel("Stage 1: autoencoder", "loss", steps, shown, marks)]
        again = {_LABELS[k]: v for k, v in history.items() if k.startswith("sharpening_")}
        if again:  # its epochs have as many steps
            steps = every[0] * np.arange(1, len(history["sharpening_loss"]) + 1)
            found.append(Panel("Stage 1: sharpening", "loss", steps, again))
        return found
    shown = {_LABELS[name]: values for name, values in losses.items()}
    found = [Panel("Stage 2: losses", "loss", steps, shown)]
    if scores:
        named = [
            k.removeprefix("start_").removeprefix("valid_")
            for k in history
            if k.endswith("_score") and not k.startswith("distil_")
        ]
        name = named[0].replace("_", " ") if named else "held-out loss"
        curves = {name: np.concatenate(scores)}
        found.append(Panel("Stage 2: held-out pairs", name, every, curves, marks))
    return found


def _pair(score: Sequence[float] | None) -> tuple[float, float] | None:
    return None if score is None else (score[0], score[1])


def _plot_panel(ax: Any, shown: Panel) -> None:
    for place, (label, values) in enumerate(shown.curves.items()):
        dots = "." if len(values) < 40 else None
        ax.plot(shown.steps[: len(values)], values, marker=dots, color=f"C{place}", label=label)
    drawn = list(shown.curves.values())
    if shown.marks is not None:
        colour = text_colour()
        for name, state, step, marker in (
            ("start", shown.marks.start, 0, "o"),
            ("chosen state", shown.marks.chosen, shown.marks.chosen_step, "*"),
        ):
            if state is None:
                continue
            ax.errorbar(
                [step],
                [state[0]],
                yerr=[state[1]],
                fmt=marker,
                markersize=12 if marker == "*" else 6,
                markerfacecolor=colour if marker == "*" else "none",
                color=colour,
                capsize=3,
                zorder=3,
                label=name,
            )
            drawn.append(np.array([state[0]]))
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > _FACTOR_FOR_LOG * values.min():
        ax.set_yscale("log")
    ax.set(title=shown.title, xlabel="training steps", ylabel=shown.ylabel)
    ax.legend()
