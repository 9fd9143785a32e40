"""scikit-learn's own checks, without a single expected failure."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklsdm import LSDMRegressor

# Some checks hand over constant columns or tiny sets on purpose; ours and PyTorch's notices about
# them are not what is checked here.
pytestmark = pytest.mark.filterwarnings("ignore")


@parametrize_with_checks([LSDMRegressor(), LSDMRegressor(matcher="energy")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_no_check_is_excused():
    """The tags that would soften a check are not set."""
    tags = LSDMRegressor().__sklearn_tags__()
    assert not tags.non_deterministic
    assert not tags.regressor_tags.poor_score
    assert not tags.no_validation
    assert tags.estimator_type == "regressor"
