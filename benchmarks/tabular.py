"""Real tables: eleven data sets, every peer beside ours; and what unpaired responses give back.

    SKLSDM_DATA=folder python benchmarks/tabular.py                    # part "paired"
    SKLSDM_DATA=folder python benchmarks/tabular.py --part unpaired
    ... [--quick] [--sets uci_yacht storms24] [--splits 0 1 2 3 4] [--only default "ours, chosen"]
    ... --tuning --splits 10 --only mdn --set "matcher__widths=(256, 256)" --fits 3

Five random splits a set, at most 1,000 test rows and 100 draws each; 0 to 4 are reported, others
are for tuning. tables.py says how each set is split and scaled: storms and weeks stay whole, also
where peers and ours hold out rows to choose by. Everything else is by default:
"default" is `LSDMRegressor()`, "one-line search" is `LSDMRegressorCV()`. Part "unpaired" keeps 3,
10 or 30 % of the pairs, and all responses. Seconds are the processor's, on one thread. Rows go into
the JSON as they come; a run of some rows replaces only those, which is how rows from another
environment, such as those of treeffuser (see peers.py), come to stand beside the others.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from numpy.typing import NDArray
from peers import Draw, Fit, available_peers, package_of
from tables import SETS

from sklsdm import LSDMRegressor, LSDMRegressorCV, SamplingEnsemble
from sklsdm.metrics import crps, energy_score, interval_coverage, variogram_score

Array = NDArray[Any]
SPLITS = (0, 1, 2, 3, 4)
N_DRAWS, QUICK_STEPS = 100, 100
DEFAULT, CHOSEN = "default", "one-line search"
OURS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "mdn": {"matcher": "mdn"},
    "diffusion": {"matcher": "diffusion"},
    "energy": {"matcher": "energy"},
}


# ---------------------------------------------------------------------------- scores
def judge(draws: Array, y: Array) -> dict[str, float]:
    """Scores of draws (n, m, q), over the training spread of each output."""
    interval = np.quantile(draws, [0.05, 0.95], axis=1).swapaxes(0, 1)
    scores = {
        "energy_score": energy_score(y, draws),
        "crps": crps(y, draws),
        "coverage": interval_coverage(y, interval),
    }
    if y.shape[1] > 1:
        scores["variogram_score"] = variogram_score(y, draws, p=0.5)
    return {name: float(score) for name, score in scores.items()}


def timed(
    fit: Callable[[], Any], draw: Callable[[Any], Array], y: Array
) -> tuple[dict[str, float], Any]:
    """Scores of what is fitted, with the seconds of the fit and of the draws; and what it is."""
    start = time.process_time()
    fitted = fit()
    middle = time.process_time()
    draws = draw(fitted)
    end = time.process_time()
    scores = judge(draws, y) | {"fit_s": middle - start, "draw_s": end - middle}
    fewer = {"n_draws": draws.shape[1]} if draws.shape[1] < N_DRAWS else {}
    return scores | fewer, fitted


def estimator(seed: int, quick: bool, **settings: Any) -> LSDMRegressor:
    """Ours, by default but for `settings`."""
    model = LSDMRegressor(random_state=seed).set_params(**settings)
    return model.set_params(matcher__max_steps=QUICK_STEPS) if quick else model


# ---------------------------------------------------------------------------- part "paired"
def fit_ours(quick: bool, n_fits: int, settings: dict[str, Any]) -> Fit:
    """Ours, by default but for `settings`; several fits share the draws evenly."""

    def fit(X: Array, y: Array, seed: int, groups: Array | None = None) -> Draw:
        model: Any = estimator(seed, quick, **settings)
        if n_fits > 1:
            model = SamplingEnsemble(model, n_fits, random_state=seed)
        return draws_of(model.fit(X, y, groups=groups))

    return fit


def search(X: Array, y: Array, seed: int, groups: Array | None = None) -> Draw:
    """The search over the recommended candidates, its best fitted five times."""
    return draws_of(LSDMRegressorCV(random_state=seed).fit(X, y, groups=groups))


def quick_search(X: Array, y: Array, seed: int, groups: Array | None = None) -> Draw:
    """The same with two candidates, two fits and few steps."""
    grid = {"matcher": ["energy", "mdn"], "matcher__max_steps": [QUICK_STEPS]}
    model = LSDMRegressorCV(candidates=grid, n_estimators=2, random_state=seed)
    return draws_of(model.fit(X, y, groups=groups))


def draws_of(model: Any) -> Draw:
    """How the benchmark draws from a fitted model, which stands beside it as `model`."""

    def draw(Z: Array, n_draws: int, s: int) -> Array:
        return model.sample(Z, n_draws, random_state=s)

    draw.model = model  # type: ignore[attr-defined]
    return draw


def what_was_chosen(draw: Draw) -> dict[str, str]:
    """What the fitted model has chosen by itself, as a column of its row."""
    model = getattr(draw, "model", None)
    if isinstance(model, LSDMRegressorCV):
        return {"chosen": ", ".join(map(str, model.best_params_.values()))}
    if isinstance(model, LSDMRegressor):
        return {"chosen": type(model.condition_encoder_).__name__}
    return {}


def paired_methods(
    quick: bool,
    n_fits: int = 1,
    settings: dict[str, Any] | None = None,
    asked: Sequence[str] | None = None,
) -> dict[str, Fit]:
    """All methods by name, ours with `settings`.

    Peers that are not installed are left out, with a line for those among `asked` (None: all).
    """
    ours = {name: fit_ours(quick, n_fits, own | (settings or {})) for name, own in OURS.items()}
    return available_peers(asked) | ours | {CHOSEN: quick_search if quick else search}


def run_paired(
    name: str, number: int, methods: dict[str, Fit], quick: bool
) -> Iterator[dict[str, Any]]:
    """Rows of one split of one set."""
    split = SETS[name](number, quick)
    common = {"n_train": len(split.y), "n_outputs": split.y.shape[1]}
    for method, fit in methods.items():
        scores, draw = timed(
            lambda fit=fit: fit(split.X, split.y, number, split.groups),
            lambda draw: draw(split.X_test, N_DRAWS, number),
            split.y_test,
        )
        chosen = what_was_chosen(draw)
        yield {"method": method} | common | scores | chosen | package_of(method)


def scores_of(rows: Sequence[dict], name: str, **keys: Any) -> dict[int, float]:
    """A column of the rows that have `keys`, by split."""
    chosen = [row for row in rows if all(row.get(key) == keys[key] for key in keys)]
    return {row["split"]: row[name] for row in chosen if name in row}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of a single value is not known."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def plus_minus(mean: float, error: float) -> str:
    """A mean and its standard error as text."""
    return f"{mean:+.2f} (1 split)" if np.isnan(error) else f"{mean:+.2f} ± {error:.2f}"


def paired_difference(a: dict[int, float], b: dict[int, float]) -> tuple[float, float]:
    """Mean of a − b over the splits that both have, and its standard error."""
    return mean_and_error([a[split] - b[split] for split in sorted(a.keys() & b.keys())])


def summarise_paired(rows: Sequence[dict]) -> None:
    """A table of each set, and who is ahead on it."""
    columns = {
        "energy_score": ("energy score", "{:.4f}"),
        "crps": ("CRPS", "{:.4f}"),
        "variogram_score": ("variogram", "{:.3f}"),
        "coverage": ("coverage of 90 %", "{:.3f}"),
        "fit_s": ("fit s", "{:.1f}"),
        "draw_s": ("draw s", "{:.2f}"),
    }
    verdicts = []
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        table = []
        for method in dict.fromkeys(row["method"] for row in mine):
            cells = [method]
            for column, (_, form) in columns.items():
                values = list(scores_of(mine, column, method=method).values())
                cells.append(form.format(np.mean(values)) if values else "")
            table.append(cells)
        n_splits = len({row["split"] for row in mine})
        print(f"\n{name}: {mine[0]['n_train']:,} training rows, {n_splits} splits")
        print_table(["method", *(title for title, _ in columns.values())], table)
        verdicts.append([name, *verdict(mine)])
    print("\nOurs against the best peer; the difference is paired over splits (± standard error)")
    header = [
        "set",
        "best peer",
        "score",
        DEFAULT,
        "/ peer",
        "coverage",
        CHOSEN,
        "− peer",
        "verdict",
    ]
    print_table(header, verdicts)
    good = sum(row[-1] in ("best", "level") for row in verdicts)
    near = sum(row[4] != "" and float(row[4]) <= 1.1 for row in verdicts)
    inside = sum(row[5] != "" and 0.86 <= float(row[5]) <= 0.94 for row in verdicts)
    print(f'"{CHOSEN}" is best or within a standard error of the best peer on {good} of them,')
    print(f'"{DEFAULT}" within 10 % of it on {near}, with a coverage in .86 to .94 on {inside}')


def verdict(rows: Sequence[dict]) -> list[str]:
    """Best peer, the default and the one-line search beside it, for one set.

    Only the splits count that the method beside it has.
    """
    peers = [m for m in dict.fromkeys(row["method"] for row in rows) if m not in (*OURS, CHOSEN)]
    by_peer = {peer: scores_of(rows, "energy_score", method=peer) for peer in peers}
    means = {peer: float(np.mean(list(scores.values()))) for peer, scores in by_peer.items()}
    if not peers:
        return [""] * 8
    best = min(means, key=means.__getitem__)
    default = scores_of(rows, "energy_score", method=DEFAULT)
    covered = scores_of(rows, "coverage", method=DEFAULT)
    chosen = scores_of(rows, "energy_score", method=CHOSEN)
    cells = [best, f"{means[best]:.4f}"]
    both = sorted(default.keys() & by_peer[best].keys())
    if both:
        ratio = np.mean([default[k] for k in both]) / np.mean([by_peer[best][k] for k in both])
        coverage = float(np.mean(list(covered.values())))
        cells += [f"{np.mean(list(default.values())):.4f}", f"{ratio:.2f}", f"{coverage:.3f}"]
    else:
        cells += ["", "", ""]
    both = sorted(chosen.keys() & by_peer[best].keys())
    if not both:
        return [*cells, "", "", ""]
    gap, error = paired_difference(chosen, by_peer[best])
    word = "best" if gap <= 0 else "level" if gap <= error else "peer ahead"
    beside = f"{gap:+.4f} (1 split)" if len(both) == 1 else f"{gap:+.4f} ± {error:.4f}"
    return [*cells, f"{np.mean(list(chosen.values())):.4f}", beside, word]


# ---------------------------------------------------------------------------- part "unpaired"
LABELS: dict[str, dict[str, Any]] = {"default": {}, "diffusion": {"matcher": "diffusion"}}
SUPERVISED, AUTO = "supervised", "auto"
SHARES = (0.03, 0.1, 0.3, 1.0)  # of the pairs that are kept
FEWEST_PAIRS = 10


def run_unpaired(
    name: str,
    number: int,
    labels: Sequence[str],
    shares: Sequence[float],
    quick: bool,
    changed: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Rows of one split of one set. All pairs kept: the unpaired are their own responses."""
    split = SETS[name](number, quick)
    order = np.random.default_rng(200 + number).permutation(len(split.y))
    for label, share in product(labels, shares):
        pairs, rest = np.split(order, [max(FEWEST_PAIRS, round(share * len(order)))])
        unpaired = split.y[rest if len(rest) else order]
        groups = None if split.groups is None else split.groups[pairs]
        for use in (SUPERVISED, AUTO):
            model = estimator(number, quick, **LABELS[label] | changed)
            extra = None if use == SUPERVISED else unpaired
            scores, _ = timed(
                lambda m=model, p=pairs, e=extra, g=groups: m.fit(
                    split.X[p], split.y[p], e, groups=g
                ),
                lambda m=model: m.sample(split.X_test, N_DRAWS, random_state=number),
                split.y_test,
            )
            common = {"label": label, "share": share, "n_pairs": len(pairs), "use": use}
            encoder = type(model.condition_encoder_).__name__
            yield common | scores | {"chosen": f"{model.unpaired_}, {encoder}"}


def share_back(
    few: dict[int, float], semi: dict[int, float], full: dict[int, float]
) -> tuple[float, float]:
    """(few − semi) / (few − full), as a ratio of means, with the error of such a ratio."""
    splits = sorted(few.keys() & semi.keys() & full.keys())
    gain = np.array([few[split] - semi[split] for split in splits])
    loss = np.array([few[split] - full[split] for split in splits])
    ratio = gain.mean() / loss.mean()
    error = mean_and_error(gain - ratio * loss)[1] / abs(loss.mean())
    return float(ratio), float(error)


def summarise_unpaired(rows: Sequence[dict]) -> None:
    """The share of the lost score that comes back, and what "auto" costs where all is paired."""
    table = []
    pooled: dict[tuple[str, float], list[float]] = {}
    for label in dict.fromkeys(row["label"] for row in rows):
        for name in dict.fromkeys(row["set"] for row in rows if row["label"] == label):
            score = partial(scores_of, rows, "energy_score", label=label, set=name)
            full = score(share=1.0, use=SUPERVISED)
            cells = [label, name, str(len(full))]
            for share in SHARES[:-1]:
                few, auto = score(share=share, use=SUPERVISED), score(share=share, use=AUTO)
                known = few.keys() & auto.keys() & full.keys()
                back = share_back(few, auto, full) if known else None
                cells.append(plus_minus(*back) if back else "")
                if back:
                    pooled.setdefault((label, share), []).append(back[0])
            auto = score(share=1.0, use=AUTO)
            losses = [100 * (auto[each] / full[each] - 1) for each in full.keys() & auto.keys()]
            cells.append(plus_minus(*mean_and_error(losses)) + " %" if losses else "")
            table.append(cells)
        means = [
            f"{np.mean(pooled[label, share]):+.2f}" if (label, share) in pooled else ""
            for share in SHARES[:-1]
        ]
        table.append([label, "mean of the sets", "", *means, ""])
    print(
        '\nShare of the score lost with fewer pairs that comes back under "auto"; and the change '
        "of the score where all are paired"
    )
    shares = [f"{100 * share:g} % of the pairs" for share in SHARES[:-1]]
    print_table(["settings", "set", "splits", *shares, "all pairs"], table)


# ---------------------------------------------------------------------------- command
def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of the estimator from NAME=VALUE."""
    pairs = (text.split("=", 1) for text in texts)
    return {name: ast.literal_eval(value) for name, value in pairs}


def chosen_names(asked: Sequence[str] | None, known: Sequence[str], option: str) -> list[str]:
    """The names asked for, in the order known; all where none are."""
    if asked is None:
        return list(known)
    if unknown := set(asked) - set(known):
        raise SystemExit(f"{option}: {sorted(unknown)} not among {list(known)}")
    return [name for name in known if name in asked]


def table_parser(description: str | None, quick: str) -> argparse.ArgumentParser:
    """Options of a benchmark that runs splits 0 and 1 of tables; `quick` says what that does."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--sets", nargs="+", metavar="SET")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1])
    return parser


def main() -> None:
    """Run the rows asked for, keep the JSON, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("paired", "unpaired"), default="paired")
    parser.add_argument("--quick", action="store_true", help="300 rows, short fits, no JSON")
    parser.add_argument("--sets", nargs="+", metavar="SET")
    parser.add_argument("--splits", type=int, nargs="+", default=list(SPLITS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods")
    parser.add_argument("--settings", nargs="+", metavar="LABEL", help="of part unpaired")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=list(SHARES), help="of the pairs"
    )
    parser.add_argument("--tuning", action="store_true", help="no JSON; for splits not reported")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="tuning: settings of ours, not of the chosen",
    )
    parser.add_argument(
        "--fits", type=int, default=1, help="tuning, part paired: fits of ours to pool"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, print the kept rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = chosen_names(arguments.sets, list(SETS), "--sets")
    keeps = not (arguments.quick or arguments.tuning)
    changed = parse_settings(arguments.set)
    if (changed or arguments.fits > 1) and not arguments.tuning:
        raise SystemExit("--set and --fits are for tuning; add --tuning.")
    file = "tabular" if arguments.part == "paired" else "tabular_unpaired"
    kept = kept_rows(file) if keeps else []
    if arguments.part == "paired":
        methods = paired_methods(arguments.quick, arguments.fits, changed, arguments.only)
        only = chosen_names(arguments.only, list(methods), "--only")
        keys, summarise = ("set", "split", "method"), summarise_paired
        methods = {method: methods[method] for method in only}
        run = partial(run_paired, methods=methods, quick=arguments.quick)
    else:
        if arguments.only:
            raise SystemExit("--only is for part paired; --settings chooses among these rows.")
        labels = chosen_names(arguments.settings, list(LABELS), "--settings")
        summarise = summarise_unpaired
        keys = ("set", "split", "label", "share", "use")
        run = partial(
            run_unpaired,
            labels=labels,
            shares=arguments.shares,
            quick=arguments.quick,
            changed=changed,
        )
    for number in [] if arguments.table else arguments.splits:
        for name in sets:
            for row in run(name, number):
                row = {"set": name, "split": number} | row | {"date": time.strftime("%Y-%m-%d")}
                shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                print(*shown.values(), flush=True)
                replace_row(kept, row, keys)
                if keeps:
                    save_results(file, sorted({row["split"] for row in kept}), kept)
    summarise(kept)


if __name__ == "__main__":
    main()
