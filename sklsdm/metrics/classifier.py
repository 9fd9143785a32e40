"""Classifier two-sample tests: can a classifier tell draws from what was observed?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from sklearn.base import clone

from sklsdm._validation import check_integer, check_numeric
from sklsdm.metrics.base import Array, as_real, check_rows_match, check_same_outputs
from sklsdm.metrics.binned_trees import BinnedTreesClassifier
from sklsdm.randomness import RandomState, as_generator

FEWEST_ROWS = 24  # rows below which nothing can be learnt and judged
N_TREES = 100  # of the default classifier
_SHARES = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)  # of the rows: learnt from at first, then judged too


@dataclass(frozen=True, eq=False)
class ClassifierTest:
    """Result of a classifier two-sample test.

    Attributes
    ----------
    auc : float
        Probability that the classifier ranks an observed row above a drawn one. It is 0.5 where
        the laws are equal and 1 where they are told apart without error.
    interval : tuple of float
        Central 95 % interval of `auc`.
    p_value : float
        Probability of such an `auc` or a larger one where the laws are equal.
    rows : ndarray of shape (k,), int
        Observed rows that were judged; the classifier needs the others to learn from.
    ranks : ndarray of shape (k,), float64
        For each of them, the share of the draws that it is compared with that rank below it.
    """

    auc: float
    interval: tuple[float, float]
    p_value: float
    rows: NDArray[np.intp]
    ranks: NDArray[np.float64]


def conditional_classifier_test(
    X: ArrayLike,
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    classifier: Any = None,
    random_state: RandomState = None,
) -> ClassifierTest:
    r"""Test whether (x, draw) follows the law of (x, y): are draws from the law of y *given x*?

    Proper scores and coverage hardly notice draws that ignore x where mean and spread do not
    depend on x. A classifier that sees x does.

    Parameters
    ----------
    X : array-like of shape (n, p)
        Conditions; NaN only if the classifier takes them, as the default one does.
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses. Reduce wide ones first, for example by principal components.
    draws : array-like of shape (n, m, \*y_shape)
        m draws for each row, independent of each other. Eight are enough.
    classifier : scikit-learn classifier, optional
        With `predict_proba`, and `sample_weight` in `fit`. None is gradient boosting.
    random_state : int, RandomState, Generator or None, default=None
        Shuffles the rows and seeds the default classifier.

    Returns
    -------
    ClassifierTest

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite responses, fewer than 24 rows.

    Notes
    -----
    The shuffled rows are judged in four blocks, each by a classifier that has learnt from the
    rows before it. If the laws are equal, y is then exchangeable with the draws of its row for
    every classifier, so the mean rank of y among them is 1/2 with a known variance: the level is
    right however flexible the classifier is. (In cross-validation each row also trains the
    classifiers that judge the others, and the variance of the accuracy is larger than binomial.)

    References
    ----------
    D. Lopez-Paz and M. Oquab (2017), "Revisiting classifier two-sample tests" (arXiv 1610.06545).
    I. Kim, A. Ramdas, A. Singh and L. Wasserman (2021), Ann. Stat. 49.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm.metrics import conditional_classifier_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1))
    >>> y_true = X[:, 0] + 0.1 * rng.normal(size=300)
    >>> draws = rng.permutation(y_true)[:, None]  # the right marginal law, but x is ignored
    >>> found = conditional_classifier_test(X, y_true, draws, random_state=0)
    >>> found.auc > 0.9 and found.p_value < 1e-6
    True
    """
    y, sample = as_real("y_true", y_true), as_real("draws", draws)
    check_rows_match(y, "draws", sample, "m")
    condition = _conditions(X, len(y))
    random = as_generator(random_state)
    order, blocks = _judging_order(len(y), random, "y_true")
    return _judge(condition, y, sample, order, blocks, classifier, random)


def dependence_test(
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_shuffles: int = 8,
    classifier: Any = None,
    random_state: RandomState = None,
) -> ClassifierTest:
    """Test whether y depends on x: can a classifier tell (x, y) from (x, y of another row)?

    Parameters
    ----------
    X : array-like of shape (n, p)
        Conditions; NaN only if the classifier takes them, as the default one does.
    y : array-like of shape (n,), (n, q) or (n, ...)
        Responses, observed or drawn.
    n_shuffles : int, default=8
        Responses of other rows with which each response is compared.
    classifier, random_state
        As for :func:`conditional_classifier_test`.

    Returns
    -------
    ClassifierTest
        An `auc` of 0.5 where y does not depend on x.

    Raises
    ------
    ValueError
        As :func:`conditional_classifier_test`; also `n_shuffles` below 1.

    Notes
    -----
    As :func:`conditional_classifier_test`, with responses of other rows as draws. They are taken
    from the same block of rows, so that none of them has trained the classifier that judges it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm.metrics import dependence_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 1))
    >>> dependence_test(X, np.abs(X) * rng.normal(size=(300, 1)), random_state=0).p_value < 1e-3
    True
    """
    check_integer("n_shuffles", n_shuffles, 1)
    values = as_real("y", y)
    condition = _conditions(X, len(values))
    random = as_generator(random_state)
    order, blocks = _judging_order(len(values), random, "y")
    other = np.empty((len(values), n_shuffles), dtype=np.intp)
    for start, end in [(0, blocks[0][0]), *blocks]:
        rows, size = order[start:end], end - start
        steps = random.integers(1, size, size=(size, n_shuffles))  # never to the row itself
        other[rows] = rows[(np.arange(size)[:, None] + steps) % size]
    return _judge(condition, values, values[other], order, blocks, classifier, random)


def classifier_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    classifier: Any = None,
    random_state: RandomState = None,
) -> ClassifierTest:
    """Test whether two samples follow one law.

    Parameters
    ----------
    a, b : array-like of shape (n,), (n, q) or (n, ...), and (m, ...)
        Two samples, of any two sizes; trailing dimensions are flattened.
    classifier, random_state
        As for :func:`conditional_classifier_test`.

    Returns
    -------
    ClassifierTest
        Its `rows` are those of `a`, ranked among the rows of `b` that are judged with them.

    Raises
    ------
    ValueError
        Samples of different trailing shape, NaN or infinite values, fewer than 24 rows in one.

    Notes
    -----
    Both samples are judged in blocks, as in :func:`conditional_classifier_test`. If the laws are
    equal, the ranks in each block are those of a Mann-Whitney test.

    References
    ----------
    D. Lopez-Paz and M. Oquab (2017), "Revisiting classifier two-sample tests" (arXiv 1610.06545).

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm.metrics import classifier_test
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(300, 2)), rng.normal(size=(400, 2))
    >>> classifier_test(a, b, random_state=0).p_value > 0.01
    True
    >>> classifier_test(a, b + 1, random_state=0).p_value < 1e-6
    True
    """
    first, second = as_real("a", a), as_real("b", b)
    check_same_outputs("a", first, "b", second)
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    random = as_generator(random_state)
    order_a, blocks_a = _judging_order(len(first), random, "a")
    order_b, blocks_b = _judging_order(len(second), random, "b")
    seed = int(random.integers(2**31 - 1))
    ranks, ranks_b, variance = [], [], 0.0
    for (learnt_a, judged_a), (learnt_b, judged_b) in zip(blocks_a, blocks_b, strict=True):
        model = _learn(classifier, first[order_a[:learnt_a]], second[order_b[:learnt_b]], seed)
        own = _score(model, first[order_a[learnt_a:judged_a]])
        others = _score(model, second[order_b[learnt_b:judged_b]])
        n, m = len(own), len(others)
        pooled = rankdata(np.concatenate([own, others]))
        ranks.append((pooled[:n] - rankdata(own)) / m)
        ranks_b.append((pooled[n:] - rankdata(others)) / n)
        variance += n * pooled.var() / (n + m - 1) / m  # of the sum of ranks, with ties
    return _summary(order_a[blocks_a[0][0] :], ranks, variance, _error(ranks_b))


def _judging_order(
    n_rows: int, random: np.random.Generator, name: str
) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
    """A random order of the rows, and pairs (i, j): rows up to i are learnt, i to j judged."""
    if n_rows < FEWEST_ROWS:
        raise ValueError(f"{name} needs at least {FEWEST_ROWS} rows for a test, got {n_rows}")
    ends = [round(share * n_rows) for share in _SHARES]
    return random.permutation(n_rows), list(itertools.pairwise(ends))


def _judge(
    condition: Array,
    y: Array,
    draws: Array,
    order: NDArray[np.intp],
    blocks: list[tuple[int, int]],
    classifier: Any,
    random: np.random.Generator,
) -> ClassifierTest:
    """Rank each y (n, ...) among its draws (n, m, ...), block by block."""
    n, m = draws.shape[:2]
    observed = np.column_stack([condition, y.reshape(n, -1)])
    repeated = np.repeat(condition[:, None], m, axis=1)
    drawn = np.concatenate([repeated, draws.reshape(n, m, -1)], axis=2)
    seed = int(random.integers(2**31 - 1))
    ranks, variance = [], 0.0
    for learnt, judged in blocks:
        known, fresh = order[:learnt], order[learnt:judged]
        model = _learn(classifier, observed[known], drawn[known].reshape(m * learnt, -1), seed)
        own = _score(model, observed[fresh])[:, None]
        others = _score(model, drawn[fresh].reshape(m * len(fresh), -1)).reshape(-1, m)
        places = (rankdata(np.hstack([own, others]), axis=1) - 1) / m
        ranks.append(places[:, 0])
        variance += places.var(axis=1).sum()
    return _summary(order[blocks[0][0] :], ranks, variance)


def _conditions(X: ArrayLike, n_rows: int) -> Array:
    """X as float64 rows (n, p), NaN allowed."""
    condition = np.asarray(X)
    gaps = np.isnan(condition) if condition.dtype.kind == "f" else False
    check_numeric("X", np.where(gaps, 0, condition))
    if len(condition) != n_rows:
        raise ValueError(
            f"X must have a row for each of the {n_rows} responses, got {len(condition)}"
        )
    return condition.reshape(n_rows, -1).astype(np.float64)


def default_classifier(seed: int) -> BinnedTreesClassifier:
    """Boosted trees; random columns at each split help where only x and y together show a law."""
    return BinnedTreesClassifier(N_TREES, min_samples_leaf=10, max_features=0.5, random_state=seed)


def _learn(classifier: Any, observed: Array, drawn: Array, seed: int) -> Any:
    """A classifier fitted on both kinds of rows, each kind with the same total weight."""
    model: Any = default_classifier(seed) if classifier is None else clone(classifier)
    is_observed = np.repeat([1, 0], [len(observed), len(drawn)])
    weight = np.where(is_observed == 1, len(drawn) / len(observed), 1.0)
    return model.fit(np.concatenate([observed, drawn]), is_observed, sample_weight=weight)


def _score(model: Any, rows: Array) -> Array:
    return model.predict_proba(rows)[:, 1]


def _error(ranks: list[Array]) -> float:
    """Standard error of the mean rank."""
    joined = np.concatenate(ranks)
    return float(joined.std(ddof=1)) / len(joined) ** 0.5


def _summary(
    rows: NDArray[np.intp], ranks: list[Array], variance: float, other_error: float = 0.0
) -> ClassifierTest:
    """The result, from the ranks of the judged rows.

    `variance` is that of the ranks' sum where the laws are equal; `other_error` is the part of the
    mean's standard error that comes from what the rows are ranked among.
    """
    joined = np.concatenate(ranks)
    auc = float(joined.mean())
    spread = float(variance) ** 0.5 / len(joined)
    p_value = float(norm.sf((auc - 0.5) / spread)) if spread > 0 else 1.0
    error = norm.ppf(0.975) * float(np.hypot(_error(ranks), other_error))
    interval = (max(0.0, auc - error), min(1.0, auc + error))
    return ClassifierTest(auc, interval, p_value, rows, joined)
