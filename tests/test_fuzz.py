"""Bad input for every public method and every setting: named in an error, or a finite result."""

import os
import sys
from collections import Counter

import fuzz
import numpy as np
import pytest
from bad_values import CONTAINERS
from hypothesis import HealthCheck, given, settings


@pytest.fixture(scope="module", autouse=True)
def folder_of_its_own(tmp_path_factory):
    """Checkpoints may be written where a string is taken for a path."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield
    os.chdir(before)


# ------------------------------------------------------------------ what is never a result
def _with(number):
    def change(array):
        found = np.array(array, dtype=float)
        found.reshape(len(found), -1)[1, 0] = number
        return found

    return change


ALWAYS_BAD = {
    "NaN": _with(np.nan),
    "inf": _with(-np.inf),
    "1e300": _with(1e300),
    "complex": lambda a: np.asarray(a) + 1j,
    "dates": lambda a: np.zeros(np.shape(a), "M8[D]"),
    "durations": lambda a: np.zeros(np.shape(a), "m8[s]"),
    "numbers as text": lambda a: np.full(np.shape(a), "red"),
    "five axes": lambda a: np.asarray(a)[:, None, None, None, None],
    "no row": lambda a: np.asarray(a)[:0],
    "a number": lambda a: 3.0,
    "an object": lambda a: object(),
    **{
        name: lambda a, change=CONTAINERS[name]: change(np.asarray(a))
        for name in ("huge integers", "masked", "meta", "raises KeyError", "structured", "iterator")
    },
}
BAD_SETTINGS = {"an object": object(), "-1": -1, "NaN": np.nan, "a word": "much"}
LABELS = {"dates", "durations", "numbers as text", "1e300", "inf"}  # which are good as groups
TAKES_NAN = {("tables", "X")}
OF_THE_FIRST_STEP = {"dates", "durations", "masked"}  # a pipeline's first step may read them


def _bad_values(call, name):
    if name in call.plain:
        yield from BAD_SETTINGS.items()
        return
    left_out = {"groups": LABELS, "Z": {"five axes"}}.get(name, set())
    if (call.model, name) in TAKES_NAN:
        left_out = left_out | {"NaN"}
    if call.model == "pipeline":
        left_out = left_out | OF_THE_FIRST_STEP
    for kind, change in ALWAYS_BAD.items():
        if kind not in left_out:
            yield kind, change(call.good[name])


OFTEN = ("vectors", "tables", "bytes", "generator", "pipeline", "ensemble")


def _every_method():
    for call in fuzz.CALLS + fuzz.FITS:
        marks = () if call.model in OFTEN else pytest.mark.slow
        yield pytest.param(call, id=f"{call.model}-{call.name}", marks=marks)


@pytest.mark.parametrize("call", list(_every_method()))
def test_every_method_refuses_bad_input_by_name(call):
    tell = fuzz.fit_fault if call in fuzz.FITS else fuzz.call_fault
    for name in (*call.good, *call.plain):
        for kind, value in _bad_values(call, name):
            ended, fault = tell(call, name, value)
            assert not fault, f"{name}, {kind}: {fault}"
            assert ended != "result", f"{name}, {kind}: accepted"


# ------------------------------------------------------------------ what comes at random
def _fuzz(n_cases, cases, tell):
    """Ends of that many calls with what `cases` gives, after checking each."""
    ends = Counter()

    @settings(max_examples=n_cases, database=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def each(case):
        ended, fault = tell(*case)
        ends[ended] += 1
        assert not fault, fault

    each()
    return ends


KINDS = {
    "calls": (fuzz.cases(fuzz.CALLS), fuzz.call_fault),
    "fits": (fuzz.cases(fuzz.FITS), fuzz.fit_fault),
    "settings": (fuzz.settings, fuzz.settings_fault),
}


@pytest.mark.parametrize(("kind", "n_cases"), [("calls", 120), ("fits", 30), ("settings", 20)])
def test_some_of_everything(kind, n_cases):
    ends = _fuzz(n_cases, *KINDS[kind])
    assert ends["result"] > 0
    assert ends["ValueError"] + ends["TypeError"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_cases"), [("calls", 2500), ("fits", 700), ("settings", 1500)])
def test_much_of_everything(kind, n_cases):
    ends = _fuzz(n_cases, *KINDS[kind])
    assert sum(ends.values()) >= n_cases
    sys.stdout.write(f"{kind}: {dict(ends.most_common())}\n")  # seen with `pytest -s`
