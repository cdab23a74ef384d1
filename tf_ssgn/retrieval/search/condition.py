"""A user's SQL condition: what it may be before SQLite sees it."""

from __future__ import annotations

import re

from tf_ssgn.errors import UserError

# Quoted text and names are skipped whole; what is left open shows as a lone quote.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]""")
_REFUSED = re.compile(
    r"--|/\*|[;?@$:#\0'\"`\[\]]|\b(?:select|with|values|explain|pragma|attach)\b", re.IGNORECASE | re.ASCII
)


def check(expression: str) -> str:
    """The expression, where it can only be one SQL expression over an item; else UserError.

    It is put between parentheses into a statement of ours, so it must not close them, hide what follows in a comment,
    end the statement, name our parameters, or select rows of its own.
    """
    bare = _QUOTED.sub(" 0 ", expression)
    wrong = ""
    if not expression.strip():
        wrong = "it is empty"
    elif found := _REFUSED.search(bare):
        wrong = f"it has {found.group()!r} outside quotes"
    elif not _balanced(bare):
        wrong = "its parentheses do not match"
    if wrong:
        raise UserError(
            f"received the condition {expression!a} ({wrong}); expected one SQL expression, without comments, "
            "parameters and selects"
        )
    return expression


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0
