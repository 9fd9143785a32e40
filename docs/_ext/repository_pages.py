"""Pages of the site that are files of the repository, and links that work in both places.

README.md of the benchmarks, CHANGELOG.md and their like lie outside of this folder. A page of the
table PAGES stands in their place: on a code host it holds a link, on the site the file itself.
Relative links are written for the code host. Here they are turned into links to the site's pages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
# page of the site: file of the repository
PAGES = {
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
    "conduct": "CODE_OF_CONDUCT.md",
}
# folders and files of the repository: where the site shows them
_SHOWN = [
    (re.compile(r"^docs/examples$"), "docs/examples.md"),
    (re.compile(r"^docs/gallery$"), "docs/auto_gallery/index.rst"),
    (re.compile(r"^docs/gallery/(\w+)\.py$"), r"docs/auto_gallery/\1.rst"),
]
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")


def on_the_site(text: str, file: str) -> str:
    """The Markdown `text` of the repository's `file`, with links as they are from docs/."""
    pages = {path: f"docs/{page}.md" for page, path in PAGES.items()}
    folder = PurePosixPath(file).parent

    def moved(link: re.Match[str]) -> str:
        target = os.path.normpath(folder / link[1])
        target = pages.get(target, target)
        for pattern, shown in _SHOWN:
            target = pattern.sub(shown, target)
        return os.path.relpath(target, "docs")

    return _LINK.sub(moved, text)


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if Path(app.env.doc2path(page)).suffix != ".md":
        return
    file = PAGES.get(page, f"docs/{page}.md")
    if page in PAGES:
        app.env.note_dependency(str(ROOT / file))
        source[0] = (ROOT / file).read_text(encoding="utf-8")
    source[0] = on_the_site(source[0], file)


def setup(app: Sphinx) -> dict[str, bool]:
    """Change each page before it is parsed."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
