"""Text for XML 1.0: what it cannot hold is replaced. Ids have no control characters, labels of documents may."""

from __future__ import annotations

from html import escape

_FORBIDDEN = {"\ufffe", "\uffff"}


def xml_text(text: str) -> str:
    """Return text for element content or a quoted attribute, escaped."""
    return escape("".join(each if each >= " " and each not in _FORBIDDEN else "\ufffd" for each in text), quote=True)
