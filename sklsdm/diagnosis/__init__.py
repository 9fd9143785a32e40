"""Judgements of a fit on pairs that it has not seen; `est.diagnose(X, y)` makes them.

One file for each judgement: :mod:`risk`, :mod:`following`, :mod:`calibration`
and :mod:`memorisation` (with missing modes). :mod:`advice` draws the conclusions,
and :mod:`report` has the page.
"""

from sklsdm.diagnosis.advice import Settings
from sklsdm.diagnosis.base import Evidence, Fit
from sklsdm.diagnosis.calibration import Calibration, calibration_of, judge_calibration
from sklsdm.diagnosis.following import Following, judge_following
from sklsdm.diagnosis.memorisation import Memorisation, Modes, judge_memorisation, judge_modes
from sklsdm.diagnosis.report import Diagnosis
from sklsdm.diagnosis.risk import RiskBound, judge_risk

__all__ = [
    "Calibration",
    "Diagnosis",
    "Evidence",
    "Fit",
    "Following",
    "Memorisation",
    "Modes",
    "RiskBound",
    "Settings",
    "calibration_of",
    "judge_calibration",
    "judge_following",
    "judge_memorisation",
    "judge_modes",
    "judge_risk",
]
