"""Text from data (labels, paths, dataset names) inside HTML and SVG."""

from __future__ import annotations

from html import escape
from typing import Any

from tf_ssgn.common.names import printable

# XML has no place for these, escaped or not: control characters show as their pictures (U+241B for escape).
_NOT_XML = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}
_NOT_XML |= {code: 0xFFFD for code in (*range(0x7F, 0xA0), 0xFFFE, 0xFFFF)}


def escaped(value: Any) -> str:
    """The value as text of an element or of a quoted attribute; bytes that are not UTF-8 are percent-escaped."""
    return escape(printable(str(value)).translate(_NOT_XML), quote=True)
