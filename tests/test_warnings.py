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
