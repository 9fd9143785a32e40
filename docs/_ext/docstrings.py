"""Docstrings are written for `help()`; here they are made valid reStructuredText.

`*y_shape` would begin emphasis and `latent_dim_` would be a link. A `[1]_` may mean a reference of
the module, not of the function: it becomes a link to the module's page.
"""

from __future__ import annotations

import re

from public_names import modules
from sphinx.application import Sphinx

_MARKUP = re.compile(
    r"(:\w+:`[^`]*`|``.*?``|`[^`]*`_*"  # roles and code
    r"|(?<![\\*\w])\*(?=\w)[^*(),]*\w\*(?![\w*])"  # *emphasis*
    r"|(?<![\\*\w])\*\*(?=\w)[^*(),]*\w\*\*(?![\w*]))"  # **strong**
)
_STAR = re.compile(r"(?<![\\*\w])(\*{1,2})(?=\w+(?![\w*]))")
_UNDERSCORE = re.compile(r"(?<=[^\W_])_+(?![\w`])")
_REFERENCE = re.compile(r"\[(\d+)\]_")
_DEFINITION = re.compile(r"^\s*\.\. \[(\d+)\] ")


def _escaped(line: str) -> str:
    pieces = _MARKUP.split(line)
    for at in range(0, len(pieces), 2):
        text = _STAR.sub(lambda star: star[1].replace("*", r"\*"), pieces[at])
        pieces[at] = _UNDERSCORE.sub(lambda end: len(end[0]) * r"\_", text)
    return "".join(pieces)


def _outside_of_code(lines: list[str]) -> list[int]:
    """Numbers of the lines that are neither in an example nor in a block of mathematics or code."""
    found = []
    block: int | None = None  # indentation of the line that opened a block
    example = False  # from a prompt to the next empty line
    for number, line in enumerate(lines):
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        example = bool(text) and (example or text.startswith(">>>"))
        if block is not None and text and indent <= block:
            block = None
        if text.startswith((".. math::", ".. code")) or text.endswith("::"):
            block = indent
        if block is None and not example:
            found.append(number)
    return found


def _repair(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    own = any(_DEFINITION.match(line) for line in lines)
    home = max((each for each in modules() if f"{name}.".startswith(f"{each}.")), key=len)
    for number in _outside_of_code(lines):
        lines[number] = _escaped(lines[number])
        if what == "module":  # a plain list: most of it is cited by functions only
            lines[number] = _DEFINITION.sub(r"\1. ", _REFERENCE.sub(r"[\1]", lines[number]))
        elif not own:
            lines[number] = _REFERENCE.sub(rf":mod:`[\1] <{home}>`", lines[number])


def setup(app: Sphinx) -> dict[str, bool]:
    """Repair docstrings before numpydoc reads them."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _repair, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
