"""Writes README.md here: the tables of all rows in results/, with the command that makes each.

python benchmarks/report.py
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import arms
import colour
import conformal
import few_pairs
import gcds_table1
import images_by_class
import images_by_numbers
import mnist_matchers
import mnist_semi_supervised
import other_tables
import pinwheel
import scaling
import simulators
import soak
import speed
import super_resolution
import tabular
from common import RESULTS

Summarise = Callable[[list[dict[str, Any]]], None]
SECTIONS: Sequence[tuple[str, str, str, Summarise]] = (
    ("Arms: a known law, beside the peers", "arms.py", "arms", arms.summarise),
    ("Pinwheel: a law that turns quickly with x", "pinwheel.py", "pinwheel", pinwheel.summarise),
    (
        "MNIST by class, 250 labelled and 29,750 unlabelled digits",
        "mnist_matchers.py",
        "mnist_matchers",
        mnist_matchers.summarise,
    ),
    (
        "MNIST by class, as the numbers of labelled and unlabelled digits vary",
        "mnist_semi_supervised.py",
        "mnist_semi_supervised",
        mnist_semi_supervised.summarise,
    ),
    ("GCDS, table 1", "gcds_table1.py", "gcds_table1", gcds_table1.summarise),
    ("Tables beside the peers", "tabular.py", "tabular", tabular.summarise_paired),
    (
        "Tables: what unpaired responses give back",
        "tabular.py --part unpaired",
        "tabular_unpaired",
        tabular.summarise_unpaired,
    ),
    ("Tables: few pairs", "few_pairs.py", "few_pairs", few_pairs.summarise),
    (
        "Tables by which no setting was chosen",
        "other_tables.py",
        "other_tables",
        other_tables.summarise,
    ),
    (
        "Simulators: smooth laws with little noise",
        "simulators.py",
        "simulators",
        simulators.summarise,
    ),
    ("Conformal intervals", "conformal.py", "conformal", conformal.summarise),
    ("Super-resolution", "super_resolution.py", "super_resolution", super_resolution.summarise),
    (
        "Images by class, by a judge that sees blur",
        "images_by_class.py",
        "images_by_class",
        images_by_class.summarise,
    ),
    (
        "Images by numbers that are measured on them",
        "images_by_numbers.py",
        "images_by_numbers",
        images_by_numbers.summarise,
    ),
    ("Colour images of three classes", "colour.py", "colour", colour.summarise),
    ("Scaling: unpaired responses in files", "scaling.py", "scaling", scaling.summarise),
    ("Speed, beside the same work in plain torch", "speed.py", "speed", speed.summarise),
    ("Speed on a GPU", "speed.py --device cuda", "speed_cuda", speed.summarise),
    ("Soak: is anything left after many fits and draws?", "soak.py", "soak", soak.summarise),
)
HEAD = """# Benchmarks

Written by `python benchmarks/report.py` from the rows in `results/`: only what a command printed is
here. Every command below has `--quick`; `make bench` lists all files. What a benchmark measures and
how, which settings were chosen and on what, stands at the head of its file (`--help`). Those that
need data read the folder that `SKLSDM_DATA` names, or OpenML. The peers are installed with
`pip install .[benchmarks]`.
"""


def describe(name: str, run: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Machine, versions and seeds of one set of rows."""
    versions = ", ".join(f"{package} {number}" for package, number in run["versions"].items())
    dates = sorted({row["date"] for row in rows if "date" in row} or {run["date"]})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    seeds = ", ".join(map(str, run["seeds"]))
    return (
        f"`results/{name}.json`: {run['processor']}, {run['cores']} cores, one thread; Python "
        f"{run['python']}, {versions}; seeds, splits or replicates {seeds}; {when}."
    )


def section(title: str, command: str, name: str, summarise: Summarise) -> str:
    """One heading with its command, record and tables."""
    record = json.loads((RESULTS / f"{name}.json").read_text())
    text = io.StringIO()
    with redirect_stdout(text):
        summarise(record["rows"])
    about = describe(name, record["run"], record["rows"])
    lines = text.getvalue().strip().split("\n")
    spaced = []  # a table needs an empty line before it
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and before and not before.startswith("|"):
            spaced.append("")
        spaced.append(line)
    return f"## {title}\n\n`python benchmarks/{command}`\n\n{about}\n\n" + "\n".join(spaced)


def main() -> None:
    """Write the page."""
    parts = [HEAD.strip()]
    parts += [section(*each) for each in SECTIONS if (RESULTS / f"{each[2]}.json").is_file()]
    path = RESULTS.parent / "README.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
