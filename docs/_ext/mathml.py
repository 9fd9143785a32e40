"""Formulas as MathML, which browsers draw by themselves: no script, no font from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

# What the converter does not know, and what it knows in its place.
_SPELLINGS = {"⊗": r"\otimes ", "∇": r"\nabla ", r"\Big(": r"\left(", r"\Big)": r"\right)"}


def _mathml(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    formula = node.astext()
    for unknown, known in _SPELLINGS.items():
        formula = formula.replace(unknown, known)
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("no MathML for %r: %s", formula, error)
        return f"<code>{escape(formula)}</code>"


def _visit_inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _visit_block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math-block">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, which `html_math_renderer` of conf.py names."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
