"""Where the documentation lies, and the links to it in the HTML picture of an estimator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import accumulate

from sklsdm._version import __version__

# Address of the built site, without a slash at its end, such as "https://docs.example.org/sklsdm".
# "{version}" in it stands for the version of the package. None leaves links out. The same address
# is "Documentation" of [project.urls] in pyproject.toml.
DOCUMENTATION_URL: str | None = None


class DocumentationLinkMixin:
    """Makes the HTML picture of an estimator (`_repr_html_`) link to its page on our site.

    It comes before scikit-learn's BaseEstimator, whose pictures link to classes of scikit-learn.
    Classes that users derive have no page, and so no link.
    """

    _doc_link_module = __package__

    @property
    def _doc_link_template(self) -> str:
        name = public_name(type(self))
        if DOCUMENTATION_URL is None or name is None:
            return ""
        return f"{DOCUMENTATION_URL.format(version=__version__)}/generated/{name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {}  # the template has no gaps left


def public_name(kind: type) -> str | None:
    """The shortest name by which users import a class of this package; None if it has none.

    It is that of the outermost module whose `__all__` has the class: sklsdm.LSDMRegressor,
    sklsdm.matchers.WGANMatcher.
    """
    for module in _modules_above(kind):
        if kind.__name__ in getattr(sys.modules.get(module), "__all__", ()):
            return f"{module}.{kind.__name__}"
    return None


def _modules_above(kind: type) -> Iterator[str]:
    """The modules "a", "a.b", "a.b.c" of a class that is defined in the last one."""
    return accumulate(kind.__module__.split("."), "{}.{}".format)
