"""The API reference: the names of each module for its page, and a check that no name is missing."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the tests ask for the names, also where Sphinx is not installed
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

API = Path(__file__).parents[1] / "api.rst"
_ELSEWHERE = ("sklearn", "skorch", "torch", "enum", "builtins")  # documented by their projects


def modules() -> list[str]:
    """The modules that api.rst lists."""
    return re.findall(r"^ +(sklsdm[\w.]*)$", API.read_text(encoding="utf-8"), flags=re.MULTILINE)


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or what is defined in the module; no modules and no dunder names."""
    here = [
        name
        for name, found in vars(module).items()
        if getattr(found, "__module__", None) == module.__name__
    ]
    names = [name for name in getattr(module, "__all__", here) if not name.startswith("_")]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def by_kind() -> dict[str, dict[str, list[str]]]:
    """For each module its public names under the headings of its page."""
    return {name: _kinds(importlib.import_module(name)) for name in modules()}


def _kinds(module: ModuleType) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {
        "Classes": [],
        "Functions": [],
        "Errors and warnings": [],
        "Constants": [],
    }
    for name in public_names(module):
        found = getattr(module, name)
        if inspect.isclass(found):
            kinds["Errors and warnings" if issubclass(found, Exception) else "Classes"].append(name)
        else:
            kinds["Functions" if inspect.isroutine(found) else "Constants"].append(name)
    return kinds


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    from sphinx.util import logging

    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    for module in modules():
        for name in public_names(importlib.import_module(module)):
            if f"{module}.{name}" not in documented:
                logging.getLogger(__name__).warning("%s.%s is not in the API", module, name)


def _skip(app: Sphinx, what: str, name: str, found: object, skip: bool, options: object) -> bool:
    module = getattr(found, "__module__", None) or ""
    return skip or module.split(".")[0] in _ELSEWHERE


def setup(app: Sphinx) -> dict[str, bool]:
    """Leave out what base classes elsewhere define; check what was documented."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", _skip)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
