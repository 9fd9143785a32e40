"""A user's script type-checks under `mypy --strict`, against the types that the package ships."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sklsdm

ROOT = Path(sklsdm.__file__).parents[1]
SCRIPT = Path(__file__).with_name("typed_script.py")


def test_the_package_says_that_it_is_typed():
    assert Path(sklsdm.__file__).with_name("py.typed").is_file()


@pytest.mark.slow
def test_strict(tmp_path):
    pytest.importorskip("mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from sklsdm import LSDMRegressor\n"
        "LSDMRegressor().sample([[0.0]], n_samples='5')\n"
        "reveal_type(LSDMRegressor().sample([[0.0]]))\n"
    )
    good, bad = (
        subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, path],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "MYPYPATH": str(ROOT)},  # mypy does not see every editable install
            check=False,
        )
        for path in (SCRIPT, wrong)
    )
    own = [line for line in good.stdout.splitlines() if "typed_script.py" in line]
    assert not own, good.stdout
    assert "wrong.py:2: error: " in bad.stdout, bad.stdout
    assert 'Revealed type is "numpy.ndarray[' in bad.stdout
