"""What altered and malicious files do to `sklsdm.load`: they are refused, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from sklsdm.saving.boosters import pack_booster, unpack_booster

SCRIPT = Path(__file__).with_name("hostile_files.py")


@pytest.mark.parametrize("n_files", [40, pytest.param(5_000, marks=pytest.mark.slow)])
def test_hostile_files_run_nothing_hang_nowhere_and_take_little_memory(n_files):
    """`n_files` with altered bytes, and as many with altered content and a right checksum."""
    command = [sys.executable, str(SCRIPT), str(n_files), str(n_files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hostile"] > 30
    assert found["refused"] + found["equal"] + found["loaded"] == 2 * n_files
    assert found["equal"] < n_files / 20  # alterations that change nothing are rare
    assert found["grown_MB"] < 200


def test_a_claim_of_many_features_takes_no_memory():
    booster = HistGradientBoostingRegressor(max_iter=2).fit(np.zeros((2, 3)), np.zeros(2))
    claimed = pack_booster(booster) | {"n_features": 10**12}
    assert unpack_booster(claimed).n_features_in_ == 10**12
    staged = unpack_booster(pack_booster(booster)).staged_predict(np.zeros((4, 3)))
    assert len(list(staged)) == 2
