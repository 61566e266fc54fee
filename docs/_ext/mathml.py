"""Formulas as MathML, which browsers show by themselves: a page fetches nothing, and the build needs neither LaTeX nor Node.

Sphinx brings MathJax, a script of megabytes from another site. docutils, on which Sphinx stands, converts LaTeX to MathML.
"""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def convert(translator, node, *, as_block):
    text = node.astext()
    if as_block and r"\\" in text and r"\begin{" not in text:
        # as MathJax does, lines of a formula without an environment are set below each other
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    try:
        return tex2mathml(text, as_block=as_block)
    except Exception as error:
        logger.warning("this formula is beyond docutils: %s", error, location=node)
        return f"<code>{translator.encode(node.astext())}</code>"


def visit_inline(translator, node):
    translator.body.append(convert(translator, node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node):
    formula = convert(translator, node, as_block=True)
    translator.body.append(f"{translator.starttag(node, 'div', CLASS='math')}{formula}</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
