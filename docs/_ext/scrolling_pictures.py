"""Each picture of the gallery in a box of its own, which scrolls on a narrow page (site.css)."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_PICTURE = re.compile(r'<img\b[^>]*class ?= ?"sphx-glr-(?:single|multi)-img"[^>]*>')


def _box_pictures(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    if "body" in context:
        context["body"] = _PICTURE.sub(r'<div class="picture">\g<0></div>', context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Change the HTML of each page before it is written."""
    app.connect("html-page-context", _box_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
