"""A search's options as an expression of Milvus: the part of SQL's conditions that Milvus has, with SQL's meaning.

sqlglot reads the condition. A comparison with a null is neither true nor false, so NOT is carried down to the
comparisons, where null columns fail either way.
"""

from collections.abc import Sequence
from typing import Any

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Item, spelled
from tf_ssgn.retrieval.search import condition
from tf_ssgn.retrieval.search.options import Options

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
NUMBERS = ("size", "modified", "width", "height")  # columns of every gallery that hold no text
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})


def literal(value: Any) -> str:
    """A value as Milvus writes it. Other control characters stay as they are: a file's Milvus knows few escapes."""
    return f'"{value.translate(_ESCAPES)}"' if isinstance(value, str) else repr(value)


def literals(values: Sequence[str]) -> str:
    return f"[{', '.join(map(literal, values))}]"


def below(column: str, prefix: str) -> str:
    """True where a column begins with a text: a range, since LIKE takes `_` and `%` for more than themselves."""
    last = ord(prefix[-1]) + 1
    if last > 0x10FFFF:
        raise UserError(f"path_prefix: received {prefix[-8:]!a} at its end, which Milvus cannot look for")
    end = prefix[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)
    return f"({column} >= {literal(prefix)} and {column} < {literal(end)})"


def expression(options: Options, columns: Sequence[str]) -> str:
    """What `options` let through, "" for all; `columns` are those that users' tables added. UserError for a condition
    that is none, or uses what Milvus does not have."""
    parts = []
    if options.labels:
        parts.append(f"label in {literals([form for label in options.labels for form in condition.forms(label)])}")
    if options.path_prefix:
        parts.append(f"({' or '.join(below('path', form) for form in condition.forms(options.path_prefix))})")
    if options.where:
        parts.append(f"({translated(options.where, columns)})")
    if options.exclude:
        parts.append(f"id not in {literals(options.unwanted)}")
    return " and ".join(parts)


def translated(sql: str, columns: Sequence[str]) -> str:
    """An SQL condition as Milvus has it; UserError where it has no such thing."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(condition.check(sql), read="sqlite")
        return _Translation(columns).of(tree, False)
    except (SqlglotError, _Refused, RecursionError, ValueError) as error:
        why = str(error) if isinstance(error, _Refused) else "it cannot be read"
    raise UserError(
        f"received the condition {sql[:200]!a} ({why}); a gallery in Milvus takes comparisons of columns with values, "
        f"AND, OR, NOT, IN, BETWEEN, IS NULL and GLOB 'text*', over {', '.join((*Item._fields, *columns))}"
    )


class _Refused(Exception):
    """What Milvus does not have."""


class _Translation:
    def __init__(self, columns: Sequence[str]):
        from sqlglot import exp

        self._columns, self._exp = columns, exp
        self._signs = {exp.EQ: "==", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}

    def of(self, node: Any, negated: bool) -> str:
        """`negated` says that a NOT stands before."""
        exp = self._exp
        if isinstance(node, exp.Paren):
            return self.of(node.this, negated)
        if isinstance(node, exp.Not):
            return self.of(node.this, not negated)
        if isinstance(node, (exp.And, exp.Or)):
            parts = [self.of(part, negated) for part in node.flatten()]
            return self._joined(parts, isinstance(node, exp.And) != negated)
        if type(node) in self._signs:
            left, right, sign = node.this, node.expression, self._signs[type(node)]
            if not isinstance(left, exp.Column):  # 5 < width
                left, right, sign = right, left, _MIRRORED.get(sign, sign)
            return self._compare(left, sign, self._value(right), negated)
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return f"{self._column(node.this)[1]} is {'not ' * negated}null"
        if isinstance(node, exp.In) and node.expressions:
            parts = [self._compare(node.this, "==", self._value(value), negated) for value in node.expressions]
            return self._joined(parts, negated)
        if isinstance(node, exp.Between):
            low, high = self._value(node.args["low"]), self._value(node.args["high"])
            ends = [self._compare(node.this, ">=", low, negated), self._compare(node.this, "<=", high, negated)]
            return self._joined(ends, not negated)
        if isinstance(node, exp.Glob) and not negated:
            pattern = self._value(node.expression)
            if isinstance(pattern, str) and pattern[-1:] == "*" and not set(pattern[:-1]) & set("*?["):
                name = self._column(node.this)[1]
                if pattern == "*":
                    return f"{name} is not null"
                return self._joined([below(name, form[:-1]) for form in condition.forms(pattern)], False)
        raise _Refused(f"{node.sql('sqlite')[:64]!a}")

    def _joined(self, parts: list[str], both: bool) -> str:
        return f"({(' and ' if both else ' or ').join(parts)})"

    def _column(self, node: Any) -> tuple[str, str]:
        """(the column, the same as Milvus writes it)."""
        if not isinstance(node, self._exp.Column) or node.table:
            raise _Refused(f"{node.sql('sqlite')[:64]!a} where a column was expected")
        known = spelled(node.name, (*Item._fields, *self._columns))
        if known in Item._fields:
            return known, known
        if known not in self._columns:
            raise _Refused(f"no column {node.name[:64]!a}")
        return known, f"$meta[{literal(known)}]"

    def _value(self, node: Any) -> Any:
        exp = self._exp
        if isinstance(node, exp.Neg):
            value = self._value(node.this)
            if not isinstance(value, str):
                return -value
        elif isinstance(node, exp.Boolean):
            return int(node.this)
        elif isinstance(node, exp.Literal):
            if node.is_string:
                return node.this
            value = float(node.this) if set(node.this) & set(".eE") else int(node.this)
            if abs(value) < 2**63:
                return value
        raise _Refused(f"{node.sql('sqlite')[:64]!a} where a value was expected")

    def _compare(self, node: Any, sign: str, value: Any, negated: bool) -> str:
        column, name = self._column(node)
        if column in Item._fields and isinstance(value, str) != (column not in NUMBERS):
            raise _Refused(f"{column} is compared with {value!a}")
        sign = _OPPOSITE[sign] if negated else sign
        if isinstance(value, str) and sign in ("==", "!="):
            return self._joined([f"{name} {sign} {literal(form)}" for form in condition.forms(value)], sign == "!=")
        return f"{name} {sign} {literal(value)}"
