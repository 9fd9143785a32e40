"""Warnings point at the line of the user, wherever that lies."""

import warnings
from pathlib import Path

import sklsdm
from sklsdm._validation import warn_user


def test_a_folder_with_a_name_like_ours_is_the_users():
    near = f"{Path(sklsdm.__file__).parent}_notes/user.py"
    code = compile("def call(f):\n    f('look here')\n", near, "exec")
    place: dict = {}
    exec(code, place)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        place["call"](warn_user)
    assert found[0].filename == near


def test_packages_between_two_calls_of_ours_are_passed_over():
    """The user calls us, we call skorch, and skorch one of our callbacks, which warns."""

    def calling(path):
        place: dict = {}
        exec(compile("def call(f, *others):\n    f(*others)\n", path, "exec"), place)
        return place["call"]

    ours = f"{Path(sklsdm.__file__).parent}/regressor.py"
    user, fit, skorch, callback = map(calling, ("user.py", ours, "skorch/net.py", ours))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        user(fit, skorch, callback, warn_user, "look here")
    assert found[0].filename == "user.py"
