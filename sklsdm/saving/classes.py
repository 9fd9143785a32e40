"""The classes and functions that a saved file may name. Nothing else is ever looked up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, FastICA, TruncatedSVD
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold, ShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import ExtraTreeRegressor

from sklsdm import scorers
from sklsdm.autoencoders.wrapped import TransformerCoder
from sklsdm.draws.conformal import ConformalScores
from sklsdm.encoders.boosting import CrossFittedBoosting
from sklsdm.encoders.gaussian_process import CrossFittedGaussianProcess
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.generator import LSDMGenerator
from sklsdm.inputs.categories import CategoryColumns
from sklsdm.inputs.conditions import ConditionFormat
from sklsdm.inputs.repeated import RepeatedValues
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.rules import ResponseRule
from sklsdm.inputs.standardising import Standardiser
from sklsdm.modules import PackedModule, RebuildableModule
from sklsdm.parameters import Declared
from sklsdm.pipeline import SamplingPipeline
from sklsdm.regressor import LSDMRegressor
from sklsdm.search import LSDMRegressorCV
from sklsdm.shift import Shift

# What a file holds as a whole.
MODELS = (
    LSDMRegressor,
    LSDMGenerator,
    SamplingEnsemble,
    LSDMRegressorCV,
    SamplingPipeline,
    Pipeline,
)
_OURS = (
    Standardiser,
    ResponseFormat,
    RepeatedValues,
    ConditionFormat,
    CategoryColumns,
    TransformerCoder,
    CrossFittedBoosting,
    CrossFittedGaussianProcess,
    CrossFittedRidge,
    Shift,
    ConformalScores,
)
# Their fitted state is arrays and plain values that NumPy code reads. ExtraTreesRegressor and
# OneHotEncoder hand theirs to compiled code and are checked (forests.py, one_hot.py).
_FROM_SKLEARN = (
    ColumnTransformer,
    ExtraTreeRegressor,
    ExtraTreesRegressor,
    FastICA,
    FunctionTransformer,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PCA,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    ShuffleSplit,
    SimpleImputer,
    StandardScaler,
    TruncatedSVD,
)
# What trees consist of, which skops does not check.
_TREES = [
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]
FUNCTIONS = {name: getattr(scorers, name) for name in scorers.__all__}


def known_objects(extra: Sequence[type] = ()) -> dict[str, type]:
    """Classes of objects by the names they have in files; `extra` are the user's own."""
    return _by_name([*MODELS, *_our_objects(), *_FROM_SKLEARN], extra, Declared)


def known_modules(extra: Sequence[type] = ()) -> dict[str, Any]:
    """Classes of torch modules, which are rebuilt from recorded arguments, by name."""
    return _by_name(_ours_below(RebuildableModule), extra, RebuildableModule)


def may_be_own(kind: type) -> bool:
    """Whether a class that users wrote can be saved, and then be passed to `load`."""
    return issubclass(kind, Declared | RebuildableModule)


def _by_name(known: Any, extra: Sequence[type], base: type) -> dict[str, type]:
    own = {kind.__name__: kind for kind in extra if issubclass(kind, base)}
    return own | {kind.__name__: kind for kind in known}


def _our_objects() -> list[type]:
    """Classes of this package whose objects an estimator may hold, but for torch modules."""
    return [*_ours_below(Declared), *_ours_below(ResponseRule), *_OURS]


def _ours_below(base: type) -> Iterator[type]:
    """All classes of this package that derive from `base`."""
    kind: type
    for kind in base.__subclasses__():
        if kind.__module__.startswith("sklsdm."):
            yield kind
        yield from _ours_below(kind)


def skops_types(*, trees: bool = False) -> list[str]:
    """The types of this package that an estimator may hold, for `trusted` of `skops.io.load`.

    Types of scikit-learn and NumPy that skops trusts by itself are not among them, nor those of
    your own. Estimators with torch modules of your own cannot be written by skops.

    Parameters
    ----------
    trees : bool, default=False
        Also list scikit-learn's trees, which fits with the condition encoder "trees" hold. skops
        does not check them, and a malicious one makes `predict` read outside its memory: list them
        only for files whose author you trust. :func:`sklsdm.load` checks them.

    Returns
    -------
    list of str

    Examples
    --------
    >>> import sklsdm
    >>> "sklsdm.regressor.LSDMRegressor" in sklsdm.skops_types()
    True
    """
    ours = {
        *_our_objects(),
        *_ours_below(RebuildableModule),
        *FUNCTIONS.values(),
        SamplingPipeline,
        PackedModule,
    }
    names = [f"{each.__module__}.{each.__qualname__}" for each in ours] + ["numpy.dtype"]
    return sorted(names + _TREES * trees)
