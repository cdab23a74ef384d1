"""Which classes are seen and which are not: the published zero-shot splits and custom split files."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tf_ssgn.common.names import listed, match, normalise, refuse_text
from tf_ssgn.errors import UserError
from tf_ssgn.settings import SPLIT_FILE_BYTES

PUBLISHED_FILE = Path(__file__).with_name("splits.json")


@dataclass(frozen=True)
class Split:
    """Classes by role, spelled as the dataset spells them.

    Attributes:
        name: of the published split, or of the split file: its stem, for `split.json` its folder.
        seen: classes to train on, without the validation classes.
        unseen: classes of the zero-shot test.
        validation: classes held out of the seen ones to choose the epoch; empty until carved.
        checksum: SHA-256 of the split as published, see `checksum`; carving does not change it.
        notes: what a report must say about this split.
    """

    name: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    validation: tuple[str, ...]
    checksum: str
    notes: tuple[str, ...] = ()

    @property
    def all_seen(self) -> tuple[str, ...]:
        """Seen and validation classes together, sorted: what a refit trains on."""
        return tuple(sorted((*self.seen, *self.validation)))


def checksum(seen: Iterable[str], unseen: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted normalised names, seen (with validation) and unseen apart: order and spelling do not
    matter; one class more, less or moved does."""
    parts = ["seen", *sorted(map(normalise, seen)), "unseen", *sorted(map(normalise, unseen))]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def published() -> dict[str, dict[str, Any]]:
    """The published splits by name: `dataset`, `seen`, `unseen`, `validation` (part of neither), `checksum`, `note`.
    RuntimeError where a list does not match its checksum, so the installation is damaged."""
    splits = json.loads(PUBLISHED_FILE.read_text(encoding="utf-8"))
    for name, split in splits.items():
        if checksum(split["seen"] + split["validation"], split["unseen"]) != split["checksum"]:
            raise RuntimeError(f"{PUBLISHED_FILE}: the class list of {name} does not match its checksum; reinstall")
    return splits


def load_split(name_or_file: str, classes: Sequence[str], *, need_seen: bool = True) -> Split:
    """A split by published name, or from a JSON file `{"seen": [...], "unseen": [...], "validation": [...]}`.

    Args:
        classes: the dataset's own class names. Names meet by `names.normalise`; the result is spelled as here.
        need_seen: refuse when the dataset lacks a seen class (training). Evaluation passes False: a gallery of the
            unseen classes alone is enough there. A missing unseen class is always refused.

    Raises UserError: unknown split, unreadable or malformed file, a class in two roles, classes the dataset lacks.
    """
    refuse_text(classes, "classes")
    source = read_split(name_or_file)
    seen, unseen, validation = source.seen, source.unseen, source.validation
    matched, missing = match((*seen, *validation, *unseen), classes)
    refused = [name for name in missing if need_seen or name in unseen]
    if refused:
        raise UserError(
            f"split {source.name}: the dataset lacks {len(refused)} of its classes: {listed(refused)}; it has "
            f"{len(classes)} classes: {listed(sorted(classes), 6)}; get the missing ones, or choose a split made for "
            f"this dataset (`python -m tf_ssgn.prepare list` shows them, a JSON file with seen and unseen works too)"
        )
    twice = _twice(list(matched.values()))
    if twice:
        raise UserError(f"split {source.name}: several of its names mean one class of the dataset: {listed(twice)}")
    notes = list(source.notes)
    if missing:
        notes.append(f"{len(missing)} seen classes of the split are not in this dataset: {listed(missing)}")
    left_out = sorted(set(classes) - set(matched.values()))
    if left_out:
        notes.append(f"{len(left_out)} classes of the dataset are in neither part and left out: {listed(left_out)}")

    def own(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(matched[name] for name in names if name in matched))

    return Split(source.name, own(seen), own(unseen), own(validation), source.checksum, tuple(notes))


def read_split(name_or_file: str) -> Split:
    """The split in its own spelling, not yet matched to a dataset; errors as `load_split`."""
    if name_or_file in published():
        split = published()[name_or_file]
        seen, unseen, validation = (tuple(split[role]) for role in ("seen", "unseen", "validation"))
        notes = (split["note"],) if split["note"] else ()
        return Split(name_or_file, seen, unseen, validation, split["checksum"], notes)
    path = Path(name_or_file)
    if not path.exists() and path.suffix.lower() != ".json":
        raise UserError(
            f"unknown split {name_or_file!r}; expected one of {', '.join(published())}, or a JSON file "
            f'{{"seen": [...], "unseen": [...]}}'
        )
    roles = _read_file(path)
    # Validation classes are seen classes; a file may list them in both places.
    held_out = {normalise(name) for name in roles["validation"]}
    seen = tuple(name for name in roles["seen"] if normalise(name) not in held_out)
    unseen, validation = tuple(roles["unseen"]), tuple(roles["validation"])
    return Split(_name_of(path), seen, unseen, validation, checksum((*seen, *validation), unseen))


def _name_of(path: Path) -> str:
    """A file's stem; its folder's name for `DATASET/split.json`; never the name of a published split."""
    stem = path.resolve().parent.name or path.stem if path.stem == "split" else path.stem
    return f"{stem}.json" if stem in published() else stem


def _read_file(path: Path) -> dict[str, list[str]]:
    try:
        with open(path, "rb") as handle:
            raw = handle.read(SPLIT_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"split file {path}: {error.strerror or error}; expected a readable JSON file") from None
    if len(raw) > SPLIT_FILE_BYTES:
        raise UserError(f"split file {path}: more than {SPLIT_FILE_BYTES:,} bytes; expected a JSON list of class names")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UserError(f"split file {path}: not JSON ({error}); expected {{'seen': [...], 'unseen': [...]}}") from None
    if not isinstance(value, dict) or not set(value) & {"seen", "unseen"}:
        raise UserError(f'split file {path}: expected an object {{"seen": [...], "unseen": [...]}}')
    unknown = sorted(set(value) - {"seen", "unseen", "validation"})
    if unknown:
        raise UserError(f"split file {path}: unknown keys {listed(unknown)}; expected seen, unseen, validation")
    roles: dict[str, list[str]] = {}
    for role in ("seen", "unseen", "validation"):
        names = value.get(role, [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise UserError(f"split file {path}: {role!r} must be a list of class names, each a non-empty text")
        if twice := _twice([normalise(name) for name in names]):
            raise UserError(f"split file {path}: {role!r} names a class twice: {listed(twice)}")
        roles[role] = names
    unseen = set(map(normalise, roles["unseen"]))
    for role in ("seen", "validation"):
        if both := [name for name in roles[role] if normalise(name) in unseen]:
            raise UserError(
                f"split file {path}: {len(both)} classes are in both {role!r} and 'unseen': {listed(both)}; "
                f"a zero-shot test needs classes that training never saw, so keep each in one list"
            )
    if not any(roles.values()):
        raise UserError(f"split file {path}: names no class at all")
    return roles


def _twice(names: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def carve_validation(split: Split, count: int, seed: int) -> Split:
    """Moves `count` seen classes to `validation`; a split that was published with its own keeps those.

    The choice depends on names and seed only, not on spelling, order or a library's random generator. UserError where
    fewer than two seen classes would be left to train on.
    """
    if split.validation or count == 0:
        return split
    if count < 0 or count > len(split.seen) - 2:
        raise UserError(
            f"cannot hold {count} validation classes out of the {len(split.seen)} seen classes of {split.name}: "
            f"expected 0 to {max(len(split.seen) - 2, 0)}; lower --data.validation_classes"
        )

    def draw(name: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed}:{normalise(name)}".encode("utf-8", "surrogatepass")).digest(), name

    held_out = set(sorted(split.seen, key=draw)[:count])
    return dataclasses.replace(
        split, seen=tuple(name for name in split.seen if name not in held_out), validation=tuple(sorted(held_out))
    )
