"""Prose in a small subset of Markdown: ``**bold**``, ``*emphasis*``, `` `code` `` and backslash escapes."""

from __future__ import annotations

import re
from typing import NamedTuple

_MARKUP = re.compile(r"[\\*`<]|(?<!\w)_|_(?!\w)")  # an underscore within a word is no markup
# Order matters: an escape precedes the mark that it escapes, and two asterisks precede one.
_TOKEN = re.compile(
    r"\\(?P<literal>[\\*`_<])|\*\*(?P<bold>.+?)\*\*|\*(?P<emphasis>.+?)\*|`(?P<code>.+?)`", re.DOTALL
)


class Span(NamedTuple):
    """A piece of text in one style.

    Args:
        text: plain text.
        style: ``"bold"``, ``"emphasis"``, ``"code"`` or, for neither, ``""``.
    """

    text: str
    style: str = ""


def parse(prose: str) -> list[Span]:
    """Return the spans of a paragraph. Markup does not nest, except for escapes within bold and emphasis."""
    spans, end = [], 0
    for token in _TOKEN.finditer(prose):
        spans.append(Span(prose[end : token.start()]))
        style, text = token.lastgroup or "", token[token.lastgroup or 0]
        if style in ("bold", "emphasis"):
            text = re.sub(r"\\([\\*`_<])", r"\1", text)
        spans.append(Span(text, "" if style == "literal" else style))
        end = token.end()
    spans.append(Span(prose[end:]))
    return [span for span in spans if span.text]


def escape(text: str) -> str:
    """Return a text, such as a label that holds a regular expression, as Markdown that shows it unchanged."""
    return _MARKUP.sub(r"\\\g<0>", text)
