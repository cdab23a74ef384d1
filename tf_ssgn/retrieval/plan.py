"""What has to be done so that a gallery follows its photos: one rule for a folder, for Milvus and for Spark.

Nothing here reads a file or writes a row. A photo that moved is new under its new id and gone under its old one;
that its content is known shows when it is read, and its vector is taken over then.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal, NamedTuple, Protocol

from tf_ssgn.errors import UserError

Verdict = Literal["new", "changed", "same", "gone", "hidden"]


class Noted(Protocol):
    """A photo as a walk found it, or as a gallery notes it; None is not known."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def modified(self) -> int | None: ...


class Scope(NamedTuple):
    """Where was looked: the beginnings of ids that a walk covered, and the ids at or below which it could not look."""

    prefixes: Sequence[str]
    hidden: Sequence[str] = ()

    def covering(self, id: str) -> list[str]:
        return [prefix for prefix in self.prefixes if id.startswith(prefix)]

    def hides(self, id: str) -> bool:
        return any(id == place or id.startswith(place + "/") for place in self.hidden)


@dataclass
class Plan:
    """The photos to read, by id; those that stay as they are; the ids of items whose photo is gone."""

    read: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def judge(here: Noted | None, there: Noted | None, scope: Scope, again: bool = False) -> Verdict:
    """What became of one photo: `here` as it was found now, `there` as the gallery has it, paths as text in both. Of
    `here` only what is known is compared; `again` asks to look at a photo that stayed as it was."""
    if here is None:
        assert there is not None
        return "hidden" if scope.hides(there.id) else "gone"
    if there is None:
        return "new"
    facts = attrgetter("path", "label", "size", "modified")
    differs = any(now is not None and now != before for now, before in zip(facts(here), facts(there), strict=True))
    return "changed" if again or differs else "same"


def plan(
    files: Iterable[Noted], known: Mapping[str, Noted], scope: Scope, remove: bool, again: Collection[str] = ()
) -> Plan:
    """Compares what a walk found with the items that a gallery has below the walk's prefixes. UserError: with `remove`,
    none of the items below one of the prefixes has its photo any more."""
    result, present = Plan(), set()
    for photo in files:
        present.add(photo.id)
        verdict = judge(photo, known.get(photo.id), scope, photo.id in again)
        (result.same if verdict == "same" else result.read).append(photo.id)
    if remove:
        away = [item for id, item in known.items() if id not in present]
        result.gone = [item.id for item in away if judge(None, item, scope) == "gone"]
        refuse_unmounted(tally(known, scope), tally(result.gone, scope))
    return result


def tally(ids: Iterable[str], scope: Scope) -> dict[str, int]:
    """How many ids are below each prefix."""
    counts = dict.fromkeys(scope.prefixes, 0)
    for id in ids:
        for prefix in scope.covering(id):
            counts[prefix] += 1
    return counts


def refuse_unmounted(
    known: Mapping[str, int], gone: Mapping[str, int], remedy: str = "to remove them all use `index delete --path`"
) -> None:
    """UserError where all items below a prefix are gone, which is what a disk that is not mounted looks like."""
    for prefix, before in known.items():
        if before and before == gone.get(prefix, 0):
            raise UserError(
                f"none of the {before:,} items under {prefix.rstrip('/')!r} has its photo any more; nothing was "
                f"removed: is the disk mounted? Otherwise, {remedy}"
            )
