"""Formulas become MathML while the pages are built (a hook of MkDocs): no script, no network."""

from __future__ import annotations

import html
import re

from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

FORMULA = re.compile(
    r'<span class="arithmatex">\\\((?P<inline>.*?)\\\)</span>|<div class="arithmatex">\s*\\\[(?P<block>.*?)\\\]</div>',
    re.DOTALL,
)


def on_page_content(content: str, *, page, **_) -> str:
    """A page's HTML with MathML in place of each formula that ``pymdownx.arithmatex`` has marked."""
    converter = LatexToMathML(fancy_error=False)

    def mathml(match: re.Match) -> str:
        formula = html.unescape(match["inline"] or match["block"]).strip()
        try:
            return converter.convert_with_local_state(formula, displaystyle=match["block"] is not None)
        except LatexError as error:
            raise PluginError(f"{page.file.src_uri}: {error} in {formula}") from error

    content = FORMULA.sub(mathml, content)
    if "arithmatex" in content:
        raise PluginError(f"{page.file.src_uri}: a formula was left as text")
    return content
