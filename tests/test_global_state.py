"""Nothing that belongs to the whole process is other than before, after any public call."""

import json
import os
import subprocess
import sys
from pathlib import Path

import global_state
import pytest

import sklsdm


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What `global_state.py` prints in a fresh process, where first calls import what they need."""
    where = {**os.environ, "PYTHONPATH": str(Path(sklsdm.__file__).parents[1])}
    where.pop("TORCHINDUCTOR_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, global_state.__file__, str(tmp_path_factory.mktemp("checkpoints"))],
        env=where,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_public_call_changes_the_process(report):
    assert [row for row in report if "call" in row] == []
    assert sum(row.get("n_calls", 0) for row in report) > 100


def test_every_planted_change_is_seen(report):
    planted = {row["planted"]: row["changed"] for row in report if "planted" in row}
    assert set(planted) == set(global_state.PLANTED)
    for name, changed in planted.items():
        assert name in changed
