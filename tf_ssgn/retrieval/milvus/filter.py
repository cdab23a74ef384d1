"""A user's SQL condition as an expression of Milvus: the part of SQL that both have, with SQL's meaning.

Comparisons of a column with a value, AND, OR, NOT, IN, BETWEEN, IS NULL and GLOB with one star at the end. A comparison
with a null is neither true nor false, so NOT is carried down to the comparisons, where null columns fail either way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import Item, spelled
from tf_ssgn.retrieval.search import condition
from tf_ssgn.retrieval.search.options import Options

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[A-Za-z_]\w*)"""
    r"""|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,))""",
    re.ASCII,
)
_WORDS = {"and", "or", "not", "in", "between", "is", "null", "glob", "isnull", "notnull", "true", "false", "like"}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_NUMBERS = ("size", "modified", "width", "height")
DEEPEST = 100
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})


def quoted(value: Any) -> str:
    """A value as Milvus writes it. Other control characters stay as they are: a file's Milvus knows few escapes."""
    return f'"{value.translate(_ESCAPES)}"' if isinstance(value, str) else repr(value)


def below(column: str, prefix: str) -> str:
    """Texts that begin so, as a range: LIKE would have to have its wildcards escaped."""
    last = ord(prefix[-1]) + 1
    if last > 0x10FFFF:
        raise UserError(f"path_prefix: received {prefix[-8:]!a} at its end, which Milvus cannot look for")
    end = prefix[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)
    return f"({column} >= {quoted(prefix)} and {column} < {quoted(end)})"


def expression(options: Options, columns: Sequence[str]) -> str:
    """What `options` let through, "" for all; `columns` are those that users' tables added.

    Raises:
        UserError: a condition that is none, or uses what Milvus does not have.
    """
    parts = []
    if options.labels:
        parts.append(f"label in [{', '.join(map(quoted, options.labels))}]")
    if options.path_prefix:
        parts.append(below("path", options.path_prefix))
    if options.where:
        parts.append(f"({translated(options.where, columns)})")
    if options.exclude:
        parts.append(f"id not in [{', '.join(map(quoted, options.exclude))}]")
    return " and ".join(parts)


def translated(sql: str, columns: Sequence[str]) -> str:
    """An SQL condition as Milvus has it."""
    return _Parser(condition.check(sql), columns).whole()


class _Parser:
    """By descent, each method one level of precedence; `negated` says that a NOT stands before."""

    def __init__(self, sql: str, columns: Sequence[str]):
        self._sql, self._columns, self._place, self._depth = sql, columns, 0, 0
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(sql.rstrip()):
            found = _TOKEN.match(sql, at)
            if not found:
                self._refuse(f"{sql[at:].strip()[:16]!r}")
            kind = str(found.lastgroup)
            text = found[kind]
            if kind == "name" and text.lower() in _WORDS:
                kind, text = "word", text.lower()
            self._tokens.append((kind, text))
            at = found.end()

    def _refuse(self, what: str) -> NoReturn:
        columns = ", ".join((*Item._fields, *self._columns))
        raise UserError(
            f"received the condition {self._sql[:200]!a} ({what}); a gallery in Milvus takes comparisons of columns "
            f"with values, AND, OR, NOT, IN, BETWEEN, IS NULL and GLOB 'text*', over {columns}"
        )

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._place] if self._place < len(self._tokens) else ("", "its end")

    def _take(self, *texts: str) -> str:
        """The next token if it is one of these words or signs, else ""."""
        kind, text = self._next()
        if kind in ("word", "sign") and text in texts:
            self._place += 1
            return text
        return ""

    def _need(self, text: str) -> None:
        if not self._take(text):
            self._refuse(f"{self._next()[1]!r} where {text.upper()!r} was expected")

    def whole(self) -> str:
        made = self._or(False)
        if self._place < len(self._tokens):
            self._refuse(f"{self._next()[1]!r} is too much")
        return made

    def _or(self, negated: bool) -> str:
        parts = [self._and(negated)]
        while self._take("or"):
            parts.append(self._and(negated))
        return f"({(' and ' if negated else ' or ').join(parts)})" if len(parts) > 1 else parts[0]

    def _and(self, negated: bool) -> str:
        parts = [self._not(negated)]
        while self._take("and"):
            parts.append(self._not(negated))
        return f"({(' or ' if negated else ' and ').join(parts)})" if len(parts) > 1 else parts[0]

    def _not(self, negated: bool) -> str:
        while self._take("not"):
            negated = not negated
        if self._take("("):
            self._depth += 1
            if self._depth > DEEPEST:
                self._refuse("its parentheses are too deep")
            made = self._or(negated)
            self._need(")")
            self._depth -= 1
            return made
        return self._comparison(negated)

    def _comparison(self, negated: bool) -> str:
        if self._next()[0] in ("text", "number"):  # 5 < width
            value = self._value()
            sign = self._sign()
            column, name = self._column()
            return self._compare(name, column, _MIRRORED.get(sign, sign), value, negated)
        column, name = self._column()
        if self._take("isnull"):
            return self._null(name, negated)
        if self._take("notnull"):
            return self._null(name, not negated)
        if self._take("is"):
            opposite = bool(self._take("not"))
            self._need("null")
            return self._null(name, negated != opposite)
        if self._take("not"):
            negated = not negated
            if self._next()[1] not in ("in", "between", "glob"):
                self._refuse(f"{self._next()[1]!r} after NOT")
        if self._take("in"):
            self._need("(")
            values = [self._value()]
            while self._take(","):
                values.append(self._value())
            self._need(")")
            parts = [self._compare(name, column, "==", value, negated) for value in values]
            return f"({(' and ' if negated else ' or ').join(parts)})"
        if self._take("between"):
            low = self._value()
            self._need("and")
            ends = [self._compare(name, column, ">=", low, negated)]
            ends.append(self._compare(name, column, "<=", self._value(), negated))
            return f"({(' or ' if negated else ' and ').join(ends)})"
        if self._take("glob"):
            return self._glob(name, negated)
        return self._compare(name, column, self._sign(), self._value(), negated)

    def _sign(self) -> str:
        sign = self._take("=", "==", "!=", "<>", "<", "<=", ">", ">=")
        if not sign:
            self._refuse(f"{self._next()[1]!r} where a comparison was expected")
        return {"=": "==", "<>": "!="}.get(sign, sign)

    def _column(self) -> tuple[str, str]:
        """(the column, the same as Milvus writes it)."""
        kind, text = self._next()
        if kind != "name":
            self._refuse(f"{text!r} where a column was expected")
        self._place += 1
        if text[0] in '"`[':
            close = {"[": "]"}.get(text[0], text[0])
            text = text[1:-1].replace(close * 2, close) if close != "]" else text[1:-1]
        known = spelled(text, (*Item._fields, *self._columns))
        if known in Item._fields:
            return known, known
        if known not in self._columns:
            self._refuse(f"no column {text!r}")
        return known, f"$meta[{quoted(known)}]"

    def _value(self) -> Any:
        kind, text = self._next()
        self._place += 1
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            value = float(text) if any(mark in text for mark in ".eE") else int(text)
            if abs(value) < 2**63:
                return value
        if kind == "word" and text in ("true", "false"):
            return int(text == "true")
        self._refuse(f"{text!r} where a value was expected")

    def _compare(self, name: str, column: str, sign: str, value: Any, negated: bool) -> str:
        if column in Item._fields and isinstance(value, str) != (column not in _NUMBERS):
            self._refuse(f"{column} is compared with {value!r}")
        return f"{name} {_OPPOSITE[sign] if negated else sign} {quoted(value)}"

    def _glob(self, name: str, negated: bool) -> str:
        pattern = self._value()
        if not isinstance(pattern, str) or re.search(r"[*?\[]", pattern[:-1]) or pattern[-1:] != "*":
            self._refuse(f"GLOB {pattern!r}")
        if negated:
            self._refuse("NOT GLOB")
        return below(name, pattern[:-1]) if pattern != "*" else f"{name} is not null"

    def _null(self, name: str, negated: bool) -> str:
        return f"{name} is {'not ' * negated}null"
