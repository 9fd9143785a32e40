"""What to change: which stage, and which parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sklsdm.diagnosis.base import LEVEL
from sklsdm.diagnosis.calibration import Calibration
from sklsdm.diagnosis.following import Following
from sklsdm.diagnosis.memorisation import Memorisation, Modes
from sklsdm.diagnosis.risk import RiskBound
from sklsdm.draws.seen import SEEN, seen_text
from sklsdm.shift import Shift

TOO_FAVOURABLE = "on pairs that it has, all judgements are too favourable"
_LARGE_ERROR = 0.1  # of a stage, in standard deviations of the responses
_STEEP = 3.0  # decoder, by the median norm of its Jacobian
_FEW_PAIRS = 300  # to diagnose with
_FEW_TO_FIT = 300  # pairs, with which overfitting is more likely than too few steps


@dataclass(frozen=True)
class Settings:
    """What the estimator was fitted with, as far as advice depends on it."""

    model: str
    matcher: str
    autoencoder: str
    condition_encoder: str
    latent_dim: int
    n_outputs: int
    n_paired: int
    n_unpaired: int
    validation_fraction: float
    n_fits: int
    prefix: str  # what precedes an LSDMRegressor's parameters in `set_params` of the model
    is_pooled: bool  # whether the model is a SamplingEnsemble
    is_search: bool  # and one that compares candidates


@dataclass(frozen=True, eq=False)
class Findings:
    """All judgements together."""

    n_pairs: int
    share_seen: float
    settings: Settings
    risk: RiskBound
    calibration: Calibration
    following: Following
    memorisation: Memorisation | None
    modes: Modes
    shift: Shift | None

    @property
    def weak_stage(self) -> int | None:
        """The stage to improve first, 1 or 2; None where neither shows a fault.

        It is stage 1 where the reconstruction error is large and larger than what stage 2 adds,
        and else stage 2 where any test of the draws has found a fault.
        """
        if self.risk.stage_1 > _LARGE_ERROR and self.risk.stage_1 >= self.risk.stage_2:
            return 1
        faulty = (
            not self.following.is_right
            or self.following.verdict in ("ignored", "partly")
            or self.calibration.fault() is not None
            or self.modes.missing
            or (self.memorisation is not None and self.memorisation.found)
        )
        return 2 if faulty else None


def advice_on(findings: Findings) -> list[str]:
    """Advice, the most important first."""
    found = [*_about_the_pairs(findings), *_about_stage_1(findings), *_about_stage_2(findings)]
    if findings.settings.is_search and findings.weak_stage is not None:
        found.append(
            "Settings that `candidates` names are changed there: they replace the estimator's."
        )
    if not found or (len(found) == 1 and findings.n_pairs < _FEW_PAIRS):
        found.insert(0, f"No fault was found by tests at the level {LEVEL:.0%}.")
    return found


def _about_the_pairs(findings: Findings) -> Iterator[str]:
    if findings.share_seen >= SEEN:
        yield f"{seen_text(findings.share_seen)}: {TOO_FAVOURABLE}."
    if findings.n_pairs < _FEW_PAIRS:
        yield (
            f"With {findings.n_pairs} pairs only gross faults are seen; from {_FEW_PAIRS} on, and "
            f"better 1,000, smaller ones are too."
        )
    if findings.shift is not None and findings.shift.is_clear:
        at = findings.settings.prefix
        yield (
            f"The unpaired responses do not follow the law of the paired ones. Leave out those of "
            f"another kind, or fit with {at}unpaired='none'; if the pairs were selected by their "
            f"response, draws follow that selection."
        )


def _about_stage_1(findings: Findings) -> Iterator[str]:
    risk, settings = findings.risk, findings.settings
    at = settings.prefix
    if findings.weak_stage == 1:
        changes = []
        if settings.latent_dim < settings.n_outputs:
            now = f"now {settings.latent_dim}, for {settings.n_outputs} outputs"
            changes.append(f"raise {at}latent_dim ({now})")
        if settings.autoencoder in ("pca", "identity"):
            changes.append(f"try {at}autoencoder='mlp', whose codes may be curved")
        else:
            changes.append(f"raise {at}autoencoder__max_epochs, or pass more unpaired responses")
        if not risk.stochastic_decoder:
            changes.append(f"if what is lost is noise, {at}autoencoder='dpa' draws it")
        yield (
            f"Improve stage 1 first: it loses {risk.stage_1:.2f} standard deviations of the "
            f"responses, which no matcher can give back. {_sentence(changes)}"
        )
    if risk.local_slope > _STEEP and risk.stage_2 > _LARGE_ERROR:
        yield (
            f"The decoder magnifies errors of codes {risk.local_slope:.1f} times. Limit its slope "
            f"by {at}autoencoder__lipschitz, take {at}autoencoder='vae', or lower {at}latent_dim."
        )


def _about_stage_2(findings: Findings) -> Iterator[str]:
    settings, following = findings.settings, findings.following
    at = settings.prefix
    if following.verdict in ("ignored", "partly"):
        how = "ignore x" if following.verdict == "ignored" else "follow x only in part"
        ways = [*_ways_to_follow(settings), *_ways_to_fit(findings)]
        yield f"Improve stage 2: the draws {how}. {_sentence(ways)}"
    elif not following.is_right and findings.weak_stage == 2:
        rows = ", ".join(map(str, following.worst_rows[:3]))
        text = (
            f"Improve stage 2: at the same x, draws are told from responses "
            f"({_strength(following.law.auc)}), most easily near rows {rows}."
        )
        ways = _ways_to_fit(findings)
        if following.verdict == "unseen":
            text += " They may ignore x."
            ways = [*_ways_to_follow(settings), *ways, "diagnose on more pairs, up to 2,000"]
        yield f"{text} {_sentence(ways)}"
    if findings.memorisation is not None and findings.memorisation.found:
        yield (
            f"Draws lie nearer to the training responses than fresh responses do: these are "
            f"repeated, or the law is too narrow. Lower {at}matcher__max_steps or "
            f"{at}matcher__widths; {_first_lower(_sentence(_ways_with_few_pairs(settings)))}"
        )
    if findings.modes.missing and findings.weak_stage == 2:
        text = (
            "Some responses have no draw near them (modes.uncovered_rows has examples). See "
            "whether the training pairs hold such responses"
        )
        many = settings.n_paired >= _FEW_TO_FIT and settings.matcher != "diffusion"
        yield f"{text}; if so, try {at}matcher='diffusion'." if many else f"{text}."
    if findings.weak_stage == 2:
        yield from _about_calibration(findings)


def _about_calibration(findings: Findings) -> Iterator[str]:
    calibration, settings = findings.calibration, findings.settings
    fault = calibration.fault()
    if fault == "narrow":
        yield (
            f"The draws are too narrow: intervals hold too few responses. "
            f"{_sentence([_pool(settings)])} Pooled draws spread where the fits disagree. If rows "
            f"of one subject, day or place resemble each other, pass groups to fit. For intervals "
            f"alone, conformalize(X, y) with further pairs gives the coverage that is asked for."
        )
    elif fault == "wide":
        yield (
            f"The draws are too wide, or fill gaps of the law: intervals hold too many responses. "
            f"{_sentence(_ways_to_fit(findings))}"
        )
    elif fault == "biased":
        place = calibration.worst_output
        side = "low" if calibration.pit[:, place].mean() > 0.5 else "high"
        yield (
            f"The draws are too {side} in output {calibration.outputs[place]}. See whether these "
            f"pairs and those of `fit` come from one source. {_sentence(_ways_to_fit(findings))}"
        )
    elif fault == "shape":
        yield (
            "Ranks of responses among draws are not uniform, though the spread is about right: see "
            "the histogram of calibration.pit."
        )


def _ways_to_follow(settings: Settings) -> list[str]:
    """Changes after which draws may follow x."""
    at, ways = settings.prefix, []
    if settings.condition_encoder == "flatten":
        ways.append(
            f"for tables try {at}condition_encoder='periodic' (laws that turn quickly with "
            f"x) or 'trees' (many columns)"
        )
    if settings.matcher != "diffusion":
        ways.append(f"try {at}matcher='diffusion', which learns laws that turn quickly with x")
    return ways


def _ways_to_fit(findings: Findings) -> list[str]:
    """Changes after which draws may be nearer to the law."""
    settings = findings.settings
    if settings.n_paired < _FEW_TO_FIT:
        return _ways_with_few_pairs(settings)
    if findings.calibration.fault() == "narrow":  # more steps would narrow the draws further
        return [
            "pass groups to fit, if rows of one subject, day or place resemble each other, or "
            "some are near copies"
        ]
    other = "pass more candidates" if settings.is_search else "compare matchers by LSDMRegressorCV"
    return [f"raise {settings.prefix}matcher__max_steps, or {other}"]


def _ways_with_few_pairs(settings: Settings) -> list[str]:
    """Changes against overfitting."""
    at, ways = settings.prefix, []
    if settings.validation_fraction == 0:
        ways.append(f"set {at}validation_fraction=0.1, by which training stops before it overfits")
    if settings.n_unpaired == 0:
        ways.append("pass unpaired responses (Y_unpaired)")
    if settings.n_fits == 1:
        ways.append(_pool(settings))
    if settings.matcher != "energy":
        ways.append(f"try {at}matcher='energy', which few pairs suffice for")
    ways.append(f"best of all, fit on more than {settings.n_paired} pairs")
    return ways


def _pool(settings: Settings) -> str:
    return "raise n_estimators" if settings.is_pooled else "pool fits by SamplingEnsemble"


def _strength(auc: float) -> str:
    words = "slightly" if auc < 0.55 else "visibly" if auc < 0.65 else "clearly"
    return f"{words}, AUC {auc:.2f}"


def _first_lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _sentence(parts: list[str]) -> str:
    """Parts as one sentence."""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
