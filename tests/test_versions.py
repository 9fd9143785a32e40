"""The lowest versions that are stated are those that `constraints-oldest.txt` has tested."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import sklsdm

ROOT = Path(sklsdm.__file__).parents[1]
if not (ROOT / "constraints-oldest.txt").is_file():
    pytest.skip("the constraints do not come with the package", allow_module_level=True)


def versions(lines, operator):
    """{package: version} of requirements such as `numpy>=1.26`; our own extras are left out."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == "sklsdm":
            continue
        (spec,) = requirement.specifier
        assert spec.operator == operator, line
        found[canonicalize_name(requirement.name)] = Version(spec.version)
    return found


def constraints(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_oldest_constraints_are_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert versions(constraints("constraints-oldest.txt"), "==") == versions(stated, ">=")
