"""What `import sklsdm` adds to its dependencies' own import, and how long the checks take.

python benchmarks/startup.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings

from sklearn.utils.estimator_checks import check_estimator

from sklsdm import LSDMRegressor

BASE = "import sklearn, torch, skorch"


def import_seconds(statement: str) -> float:
    """Seconds of a fresh process that runs `statement`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the import only")
    arguments = parser.parse_args()
    import_seconds(f"{BASE}, sklsdm")
    pairs = [(import_seconds(BASE), import_seconds(f"{BASE}, sklsdm")) for _ in range(7)]
    base, extra = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(b - a for a, b in pairs)
    print(f"{BASE}: {base:.2f} s; with sklsdm: {extra:.2f} s; added: {added:.2f} s")
    if arguments.quick:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        results = check_estimator(LSDMRegressor())
        seconds = time.perf_counter() - start
    passed = sum(result["status"] == "passed" for result in results)
    skipped = [r["check_name"] for r in results if r["status"] == "skipped"]
    print(f"check_estimator(LSDMRegressor()): {passed} passed, skipped {skipped}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
