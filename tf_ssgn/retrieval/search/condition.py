"""A user's SQL condition: what it may be before SQLite sees it."""

import itertools
import re
import unicodedata

from tf_ssgn.errors import UserError

# Quoted text and names are skipped whole; what is left open shows as a lone quote.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]""")
_REFUSED = re.compile(
    r"--|/\*|[;?@$:#\0'\"`\[\]]|\b(?:select|with|values|explain|pragma|attach)\b", re.IGNORECASE | re.ASCII
)

_VARIES = re.compile(
    r"""\b(?:random|randomblob|date|time|datetime|julianday|unixepoch|strftime|timediff)["`\]]?\s*\(|\bcurrent_""",
    re.IGNORECASE | re.ASCII,
)


def varies(expression: str) -> bool:
    """Whether the same condition may be true of other items next time: it asks for the clock, or for chance."""
    return _VARIES.search(expression) is not None


def forms(text: str) -> list[str]:
    """A name as it may be written: as it is, composed (é is one character) and decomposed (two, as on a Mac's disk)."""
    return list(dict.fromkeys([text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))]))


def check(expression: str) -> str:
    """The expression, where it can only be one SQL expression over an item; else UserError. It is put between
    parentheses into a statement of ours, so it must not close them, hide what follows in a comment, end the statement,
    name our parameters, or select rows of its own."""
    bare = _QUOTED.sub(" 0 ", expression)
    depths = list(itertools.accumulate(((sign == "(") - (sign == ")") for sign in bare), initial=0))
    wrong = ""
    if not expression.strip():
        wrong = "it is empty"
    elif refused := _REFUSED.search(bare):
        wrong = f"it has {refused.group()!r} outside quotes"
    elif min(depths) < 0 or depths[-1]:
        wrong = "its parentheses do not match"
    if wrong:
        raise UserError(
            f"received the condition {expression!a} ({wrong}); expected one SQL expression, without comments, "
            "parameters and selects"
        )
    return expression
