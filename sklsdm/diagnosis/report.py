"""The diagnosis of a fit: a page to read, and its numbers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

from sklsdm.diagnosis.advice import Findings, advice_on
from sklsdm.diagnosis.base import as_plain, entry

_WIDTH = 96


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Findings):
    """What `diagnose` has found; `print` it for a page that ends in advice.

    Attributes
    ----------
    n_pairs, n_draws : int
        Pairs that were looked at, and draws for each.
    share_seen : float
        Share of the responses that equal a training response: such pairs were used in `fit`.
    settings : Settings
        What the estimator was fitted with.
    risk : RiskBound
        Errors of the two stages, the decoder's slope, and the risk bound.
    calibration : Calibration
        Coverage and ranks.
    following : Following
        Whether the draws follow x.
    memorisation : Memorisation or None
        Draws beside training responses; None with `store_reference=False`.
    modes : Modes
        Whether every part of the law is drawn.
    shift : sklsdm.shift.Shift or None
        Paired against unpaired responses; None where there are none.
    weak_stage : int or None
        The stage to improve first.
    advice : list of str
        What to change, the most important first.
    """

    n_draws: int
    advice: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "advice", advice_on(self))

    def to_dict(self) -> dict[str, Any]:
        """All numbers and verdicts as dicts, lists, numbers and strings, for `json.dumps`.

        The names are those of the attributes: `found["following"]["verdict"]` is
        `diagnosis.following.verdict`. `found["calibration"]["fault"]` is
        `diagnosis.calibration.fault()`.
        """
        found = as_plain(self)
        found["calibration"]["fault"] = self.calibration.fault()
        return found

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.settings.model} on {self.n_pairs} pairs; print it>"

    def __str__(self) -> str:
        settings = self.settings
        pooled = f", {settings.n_fits} fits pooled" if settings.n_fits > 1 else ""
        lines = [
            f"Diagnosis of {settings.model} on {self.n_pairs} pairs, {self.n_draws} draws each",
            *textwrap.wrap(
                f"fitted on {settings.n_paired} pairs{pooled}: {settings.autoencoder} codes of "
                f"dimension {settings.latent_dim} for responses of dimension {settings.n_outputs}, "
                f"matcher {settings.matcher}, conditions {settings.condition_encoder}",
                _WIDTH,
            ),
        ]
        faulty = {None: "neither shows a fault", 1: "stage 1", 2: "stage 2"}
        first = entry("improve first", faulty[self.weak_stage])
        kept = "not judged: store_reference=False kept no training responses"
        sections = [
            ("The two stages (units: standard deviations)", [*self.risk.lines(), first]),
            ("Does the law follow x?", self.following.lines()),
            ("Calibration", self.calibration.lines()),
            (
                "Memorisation",
                [f"  {kept}"] if self.memorisation is None else self.memorisation.lines(),
            ),
            ("Missing modes", self.modes.lines()),
        ]
        if self.shift is not None:
            lines_of_shift = textwrap.wrap(
                str(self.shift), _WIDTH, initial_indent="  ", subsequent_indent="  "
            )
            sections.append(("Unpaired responses", lines_of_shift))
        for title, found in sections:
            lines += ["", title, *found]
        lines += ["", "Advice"]
        for number, text in enumerate(self.advice, 1):
            lines += textwrap.wrap(
                text,
                _WIDTH,
                initial_indent=f"  {number}. ",
                subsequent_indent="     ",
                break_on_hyphens=False,
            )
        return "\n".join(lines)
