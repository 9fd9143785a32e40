"""What the benchmarks share: a record of the run, and plain tables."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sklsdm

# The critic alone, with the settings that were the default of `wgan` in version 0.1.
CRITIC_ALONE: dict[str, Any] = {
    "matcher": "wgan",
    "matcher__batch_size": 256,
    "matcher__critic_lr": 1e-3,
    "matcher__critic_widths": (128, 128, 128),
    "matcher__energy_weight": 0.0,
    "matcher__held_out_score": "energy",
    "matcher__lr": 5e-4,
    "matcher__max_steps": 3000,
    "matcher__n_draws": 1,
    "matcher__n_iter_no_change": 10,
    "matcher__start": "linear",
}
RESULTS = Path(__file__).parent / "results"


def describe_run(seeds: Sequence[int]) -> dict[str, Any]:
    """Machine, versions and seeds, to stand beside every figure."""
    packages = ("torch", "scikit-learn", "numpy", "skorch")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {"sklsdm": sklsdm.__version__} | {name: version(name) for name in packages},
        "seeds": list(seeds),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def save_results(name: str, seeds: Sequence[int], rows: Any) -> Path:
    """Write the rows of a run, with what it ran on, as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"run": describe_run(seeds), "rows": rows}, indent=1) + "\n")
    return path


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned for reading as it is."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |")


def mean_cells(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> list[str]:
    """Means of some rows, written in the forms that `columns` gives; empty where no row has one."""
    cells = []
    for name, (_, form) in columns.items():
        values = [row[name] for row in rows if name in row]
        cells.append(form.format(sum(values) / len(values)) if values else "")
    return cells


def kept_rows(name: str) -> list[dict[str, Any]]:
    """Rows of earlier runs, from the JSON of that name."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


def replace_row(rows: list[dict[str, Any]], row: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Put `row` where the row with the same `keys` is, or at the end."""
    for place, other in enumerate(rows):
        if all(other.get(key) == row.get(key) for key in keys):
            rows[place] = row
            return
    rows.append(row)
