"""scikit-learn's own checks, without a single expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.matchers import MATCHERS

# Some checks hand over constant columns or tiny sets on purpose; ours and PyTorch's notices about
# them are not what is checked here.
pytestmark = pytest.mark.filterwarnings("ignore")


SHORT = [
    LSDMRegressor(matcher=name).set_params(matcher__max_steps=50)
    for name in MATCHERS
    if name != LSDMRegressor().matcher
]


@parametrize_with_checks([LSDMRegressor(), LSDMGenerator(), *SHORT])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_no_check_is_excused():
    """The tags that would soften a check are not set."""
    tags = LSDMRegressor().__sklearn_tags__()
    assert not tags.regressor_tags.poor_score
    for each in (tags, LSDMGenerator().__sklearn_tags__()):
        assert not each.non_deterministic
        assert not each.no_validation
    assert tags.estimator_type == "regressor"
