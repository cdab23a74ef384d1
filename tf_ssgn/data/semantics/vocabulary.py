"""The words that can be told beside a drawing: a word as a person types it, to the row of the name that it means.

Case, blanks and hyphens do not count, a plural means its singular, and British and American spellings meet. A word
that is not known is never guessed: it is answered with the names that are spelled most alike.
"""

import difflib
import re
from collections.abc import Iterator, Sequence

from tf_ssgn.common.markup import visible
from tf_ssgn.common.names import spellings
from tf_ssgn.errors import UserError
from tf_ssgn.settings import NEAREST_WORDS, WORD_CHARACTERS

BETWEEN = r"[\s_'\-]+"  # what stands between the parts of a word; read alike by Python and by RE2 in the graph
NONE = (
    "this model was made without words; train it with --model.told true and --model.residual true, and export it again"
)

# Parts of words in both spellings, British first; each side stands for the other.
BRITISH = (
    ("aeroplane", "airplane"), ("armour", "armor"), ("axe", "ax"), ("calibre", "caliber"), ("catalogue", "catalog"),
    ("centre", "center"), ("cheque", "check"), ("colour", "color"), ("doughnut", "donut"), ("fibre", "fiber"),
    ("grey", "gray"), ("harbour", "harbor"), ("jewellery", "jewelry"), ("kerb", "curb"), ("litre", "liter"),
    ("metre", "meter"), ("mould", "mold"), ("moustache", "mustache"), ("omelette", "omelet"), ("plough", "plow"),
    ("pyjama", "pajama"), ("racquet", "racket"), ("sabre", "saber"), ("sceptre", "scepter"), ("storey", "story"),
    ("theatre", "theater"), ("tyre", "tire"), ("woollen", "woolen"), ("yoghurt", "yogurt"),
)  # fmt: skip

_OTHER = {here: there for pair in BRITISH for here, there in (pair, pair[::-1])}
_PART = re.compile(rf"\b({'|'.join(sorted(_OTHER, key=len, reverse=True))})(?=s?\b)")

IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "ox": "oxen", "knife": "knives", "leaf": "leaves", "wolf": "wolves",
    "calf": "calves", "half": "halves", "loaf": "loaves", "scarf": "scarves", "shelf": "shelves", "elf": "elves",
    "thief": "thieves", "wife": "wives", "life": "lives", "cactus": "cacti", "octopus": "octopi", "potato": "potatoes",
    "tomato": "tomatoes", "mango": "mangoes", "die": "dice", "penny": "pence",
}  # fmt: skip


def fold(word: str) -> str:
    """A word without what does not count: `Hot-air Balloon` is `hotairballoon`."""
    return re.sub(BETWEEN, "", word.lower(), flags=re.ASCII)


class Vocabulary:
    """Names that can be told, and the row of each by every accepted form, folded; where two names share a form, the
    name that is spelled so has it, else the first one."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.rows: dict[str, int] = {}
        for forms in (_same, _spelled, _numbers):
            for row, name in enumerate(self.names):
                for form in forms(name):
                    self.rows.setdefault(fold(form), row)
        self.rows.pop("", None)

    def row(self, word: str) -> int | None:
        """The row of the name that a word means; None for one that is not known."""
        return self.rows.get(fold(word)) if len(word) <= WORD_CHARACTERS else None

    def find(self, word: str) -> int:
        """The row of the name that a word means; UserError where it is no text, too long, or not known: then with the
        nearest names."""
        if not isinstance(word, str):
            raise UserError(f"word: received a {type(word).__name__}, expected text such as giraffe")
        if len(word) > WORD_CHARACTERS:
            raise UserError(f"word: received {len(word):,} characters, expected up to {WORD_CHARACTERS}")
        row = self.row(word)
        if row is None:
            near = self.nearest(word)
            hint = f"spelled most alike: {', '.join(near)}" if near else "nothing is spelled like it"
            raise UserError(f"word: {visible(word)!r} is not among the {len(self.names):,} known; {hint}")
        return row

    def nearest(self, word: str) -> list[str]:
        """Up to `NEAREST_WORDS` names that are spelled most like a word."""
        forms = difflib.get_close_matches(fold(word[:WORD_CHARACTERS]), self.rows, n=2 * NEAREST_WORDS, cutoff=0.6)
        return list(dict.fromkeys(self.names[self.rows[form]] for form in forms))[:NEAREST_WORDS]

    def complete(self, start: str, most: int) -> list[str]:
        """Up to `most` names that begin with a text, then those with a later word that does; the shortest first."""
        key = fold(start[:WORD_CHARACTERS])
        if not key:
            return []
        ranked = []
        for name in self.names:
            folded = fold(name)
            if folded.startswith(key):
                ranked.append((0, len(folded), name))
            elif any(fold(part).startswith(key) for part in name.split()[1:]):
                ranked.append((1, len(folded), name))
        return [name for _, _, name in sorted(ranked)[:most]]


def _same(name: str) -> Iterator[str]:
    yield name
    yield re.sub(r"\s*\(.*\)$", "", name.replace("_", " "))  # car (sedan)


def _spelled(name: str) -> Iterator[str]:
    yield from spellings(name)
    if _PART.search(name.lower()):
        yield _PART.sub(lambda part: _OTHER[part[1]], name.lower())


def _numbers(name: str) -> Iterator[str]:
    """The plural of a name, or the singular of one that is a plural: of its last word."""
    for form in dict.fromkeys((*_same(name), *_spelled(name))):
        last = re.split(r"[\s_\-]", form.lower())[-1]
        before = form.lower().removesuffix(last)
        for other in (*_plurals(last), *_singulars(last)):
            yield before + other


def _plurals(word: str) -> Iterator[str]:
    if word in IRREGULAR:
        yield IRREGULAR[word]
    for single in ("man", "foot", "knife", "child"):
        if len(word) > len(single) and word.endswith(single):
            yield word.removesuffix(single) + IRREGULAR[single]
    if re.search(r"(s|x|z|ch|sh)$", word):
        yield word + "es"
    elif re.search(r"[^aeiou]y$", word):
        yield word[:-1] + "ies"
    elif word:
        yield word + "s"


def _singulars(word: str) -> Iterator[str]:
    yield from (single for single, many in IRREGULAR.items() if many == word)
    if re.search(r"[^aeiou]ies$", word):
        yield word[:-3] + "y"
    elif re.search(r"(s|x|z|ch|sh)es$", word):
        yield word[:-2]
    elif re.search(r"[^s]s$", word):
        yield word[:-1]
