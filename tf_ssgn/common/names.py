"""Class names: one key for the spellings of Sketchy, TU-Berlin, QuickDraw and of word-vector files."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from tf_ssgn.errors import UserError

# One class, several names. Every spelling of a group meets under the group's first name.
# A group may hold one class of each dataset at most, or two classes of a dataset would become one (tested).
ALIASES: tuple[tuple[str, ...], ...] = (
    ("airplane", "aeroplane"),
    ("armor", "armour"),
    ("bear", "bear (animal)", "bear_(animal)"),
    ("car", "car (sedan)", "car_(sedan)"),
    ("cell phone", "mobile phone"),
    ("crane", "crane (machine)", "crane_(machine)"),
    ("crocodilian", "crocodile"),
    ("donut", "doughnut"),
    ("eiffel tower", "the eiffel tower"),
    ("flower", "flower with stem"),
    ("motorcycle", "motorbike"),
    ("mouse", "mouse (animal)", "mouse_(animal)"),
    ("pipe", "pipe (for smoking)", "pipe_(for_smoking)"),
    ("racket", "tennis racket", "tennis racquet", "racquet"),
    ("rhinoceros", "rhino"),
    ("tv", "television"),
)


def words(name: str) -> tuple[str, ...]:
    """Lower-case words of a class name: `"hot-air_balloon"` -> `("hot", "air", "balloon")`. All but letters, digits and
    the marks that belong to letters separates words; a name without any of these is its own single word, so no two
    become the same nothing."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    kept = " "
    for c in text:  # a mark that follows no letter belongs to none: it would join the word before it later on
        mark = unicodedata.category(c).startswith("M") and kept[-1] != " "
        kept += c if c.isalnum() or mark else " "
    return tuple(kept.split()) or (text.strip() or text,)


@lru_cache(maxsize=65536)
def _spelling(name: str) -> str:
    """The words without what separates them, so that `hot-dog` is `hotdog`; two numbers stay apart."""
    joined = re.sub(r"(?<=\d) (?=\d)", "_", " ".join(words(name))).replace(" ", "")
    return unicodedata.normalize("NFKC", joined) or " "  # NFKC: neighbours that were apart may compose now


_GROUP = {_spelling(name): group for group in ALIASES for name in group}


def normalise(name: str) -> str:
    """The key of a class, by which names are the same class: `car_(sedan)`, `car (sedan)` and `car` give `car`; `hot
    air balloon` and `hot-air_balloon` give `hotairballoon`."""
    key = _spelling(name)
    return _spelling(_GROUP[key][0]) if key in _GROUP else key


def spellings(name: str) -> tuple[str, ...]:
    """The name itself, then the other known names of its class."""
    return tuple(dict.fromkeys((name, *_GROUP.get(_spelling(name), ()))))


def match(wanted: Iterable[str], available: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Finds each wanted class among the available ones: `{wanted: available}`, and the wanted names that are not there.
    The very same name counts first, else the same key; one that several classes share (`A` and `a`) fits none of
    them."""
    exact = set(available)
    by_key: dict[str, list[str]] = {}
    for name in dict.fromkeys(available):
        by_key.setdefault(normalise(name), []).append(name)
    matched: dict[str, str] = {}
    missing: list[str] = []
    for name in wanted:
        candidates = by_key.get(normalise(name), [])
        if name in exact:
            matched[name] = name
        elif len(candidates) == 1:
            matched[name] = candidates[0]
        else:
            missing.append(name)
    return matched, missing


def composed(text: str) -> str:
    """The text with é as one character, where a Mac's disk writes two: names are compared so, never as they came."""
    return unicodedata.normalize("NFC", text)


def listed(names: Sequence[str], limit: int = 12) -> str:
    """`a, b, c and 3 more`, for messages of one line."""
    shown = ", ".join(printable(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def printable(name: str) -> str:
    """The name for a terminal, JSON or a label: bytes that are not UTF-8 are percent-escaped (`%FF`); a lone surrogate
    that stands for no byte of a file name, as JSON can spell it, as its own three bytes."""
    return "".join(_escaped(c) if 0xD800 <= ord(c) <= 0xDFFF else c for c in name)


def _escaped(surrogate: str) -> str:
    if 0xDC80 <= ord(surrogate) <= 0xDCFF:
        return f"%{ord(surrogate) - 0xDC00:02X}"
    return "".join(f"%{byte:02X}" for byte in surrogate.encode("utf-8", "surrogatepass"))


def refuse_text(names: object, what: str) -> None:
    """A text in place of a list of names would pass for the list of its letters; UserError: `names` is a text."""
    if isinstance(names, (str, bytes)):
        raise UserError(f"{what}: received the text {str(names)!r:.80}, expected a list")
