"""MkDocs hook: formulas, which GitHub reads as TeX, become MathML, which browsers draw without a script."""

import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA_OR_CODE = re.compile(
    r"^```math\n(?P<block>.*?)^```$|\$`(?P<quoted>[^`]+)`\$|(?P<code>^```.*?^```$|`[^`\n]+`)|\$(?P<inline>[^$]+)\$",
    re.MULTILINE | re.DOTALL,
)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of a page."""
    return _FORMULA_OR_CODE.sub(_replace, markdown)


def _replace(found: re.Match[str]) -> str:
    if found["code"]:
        return found["code"]
    if found["block"]:
        lines = found["block"].replace("{aligned}", "{align*}")  # the name that the converter knows
        formula = convert(lines, display="block").replace(' columnalign="', ' class="')  # site.css aligns
        return f'<div class="formula">{formula}</div>'
    return f"<span>{convert(found['quoted'] or found['inline'])}</span>"
