"""scikit-learn's own checks, without a single expected failure."""

import pytest
from helpers import ALL_MATCHERS, plain_regressor, small
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.matchers import MATCHERS

# Some checks hand over constant columns or tiny sets on purpose; ours and PyTorch's notices about
# them are not what is checked here.
pytestmark = pytest.mark.filterwarnings("ignore")

# The default, and one matcher of each kind: without a critic, of fields, by likelihood.
EVERY_TIME = [LSDMRegressor().matcher, "energy", "diffusion", "mdn"]


def short(matcher):
    """An estimator that is fitted, and draws, in a few steps, and chooses nothing."""
    est = plain_regressor(matcher=matcher).set_params(matcher__max_steps=5)
    return est.set_params(matcher__n_steps=4) if matcher == "diffusion" else est


@parametrize_with_checks(
    [
        *map(short, EVERY_TIME),
        small(LSDMGenerator(matcher="transport")).set_params(matcher__max_steps=5),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([short(name) for name in MATCHERS if name not in EVERY_TIME])
def test_scikit_learn_checks_of_the_other_matchers(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([LSDMRegressor(), LSDMGenerator()])
def test_scikit_learn_checks_of_the_defaults(estimator, check):
    """Not one parameter is set: the budget is the one that users have."""
    check(estimator)


def tags_that_soften_checks(estimator):
    """Names of the tags by which an estimator would be excused from a check."""
    tags = estimator.__sklearn_tags__()
    found = {name: getattr(tags, name) for name in ("non_deterministic", "no_validation")}
    if tags.regressor_tags is not None:
        found["poor_score"] = tags.regressor_tags.poor_score
    return [name for name, is_set in found.items() if is_set]


@ALL_MATCHERS
def test_no_check_is_excused(matcher):
    assert tags_that_soften_checks(LSDMRegressor(matcher=matcher)) == []
    assert tags_that_soften_checks(LSDMGenerator(matcher=matcher)) == []
    assert LSDMRegressor(matcher=matcher).__sklearn_tags__().estimator_type == "regressor"
