"""Text from elsewhere (labels, paths, answers of a server) where it may not act: in a terminal, in HTML and SVG."""

from html import escape
from typing import Any

from tf_ssgn.common.names import printable

# XML has no place for these, escaped or not: control characters show as their pictures (U+241B for escape).
_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n\r"}


def visible(text: str, spaces: str = "") -> str:
    """Text without what a terminal would obey or what turns the direction of reading; `spaces` are kept."""
    return "".join(
        letter if letter.isprintable() or letter in spaces else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def escaped(value: Any) -> str:
    """The value as text of an element or of a quoted attribute; bytes that are not UTF-8 are percent-escaped."""
    return escape(visible(printable(str(value)).translate(_CONTROLS), "\t\n\r"), quote=True)
