"""Class names to vectors: from a table of names, composed from word vectors, or from a text encoder."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from tf_ssgn.common.names import listed, match, printable, refuse_text, spellings, words
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.semantics import vector_files
from tf_ssgn.errors import UserError

HUB = "hub:"  # a source that starts so is a text encoder: a TF-Hub handle or a local SavedModel
# Words that say nothing about the object: `pipe (for smoking)`, `flower with stem`, `jack-o-lantern`.
SHORTEST = 1e-18  # a vector whose square float32 can hold; the longest is its inverse
FUNCTION_WORDS = frozenset(("a", "an", "and", "for", "in", "o", "of", "on", "the", "to", "with"))


def class_vectors(classes: Sequence[str], source: str) -> np.ndarray:
    """One vector per class name: float32 `[C, s]`, in the order of `classes`.

    A class is looked up like this, and the first hit counts:
    1. its name in one piece: words joined by `_` (`hot_air_balloon`), then by a hyphen, a space or nothing, upper and
       lower case alike; in a `.npz`, whose names are class names, any name with the same `names.normalise` key;
    2. the mean of the vectors of its words (each scaled to unit length, function words left out), all of them known;
    3. the same two for its other names (`names.ALIASES`: crocodilian, crocodile).

    Args:
        source: `.npz` with `names` [N] and `vectors` [N, s]; word2vec `.bin`; word2vec, GloVe or fastText text (`.txt`,
            `.vec`); each also with `.gz` behind, but for `.npz`. Or `hub:HANDLE-OR-FOLDER`, a text encoder
            that is given the name's words (see `text_encoder.encode`).

    Raises UserError: an unreadable or malformed source, vectors that are zero or not finite, classes without a vector.
    """
    refuse_text(classes, "classes")
    if not classes:
        raise UserError("no classes to find vectors for; expected at least one class name")
    if source.startswith(HUB):
        from tf_ssgn.data.semantics.text_encoder import encode

        texts = [printable(" ".join(words(name))) for name in classes]
        return _checked(encode(texts, source[len(HUB) :]), classes, source)
    refuse_wordnet(source)
    if source.lower().endswith(".npz"):
        table = vector_files.read_npz(source)
        same, _ = match(classes, list(table))
        lower = {name.lower(): vector for name, vector in table.items()}
        rows = [table[same[name]] if name in same else None for name in classes]
    else:
        lower = vector_files.read_words(source, {key for name in classes for key in _keys(name)})
        rows = [None] * len(classes)
    in_one_piece = {vector_files.compact(word): word for word in reversed(lower)}  # the first of equal ones counts
    rows = [
        _compose(name, lower, in_one_piece) if vector is None else vector
        for name, vector in zip(classes, rows, strict=True)
    ]
    missing = [name for name, vector in zip(classes, rows, strict=True) if vector is None]
    if missing:
        raise UserError(
            f"{printable(source)}: no vector for {len(missing)} of {len(classes)} classes: {listed(missing, 40)}; "
            f"rename these folders to words it has, add vectors for these names, or leave the classes out of the split"
        )
    return _checked(np.stack([vector for vector in rows if vector is not None]), classes, source)


def refuse_wordnet(source: str) -> None:
    if source.startswith("wordnet:"):
        raise UserError(
            f"{printable(source)}: WordNet itself is no longer read; expected a table of its similarities, a .npz with "
            "`names` [N] and `vectors` [N, s]"
        )


def _content_words(name: str) -> tuple[str, ...]:
    return tuple(word for word in words(name) if word not in FUNCTION_WORDS) or words(name)


def _keys(name: str) -> set[str]:
    """The compact form of every word that the lookup of a class may ask for."""
    return {key for spelling in spellings(name) for key in ("".join(words(spelling)), *_content_words(spelling))}


def _compose(name: str, table: dict[str, np.ndarray], in_one_piece: dict[str, str]) -> np.ndarray | None:
    for spelling in spellings(name):
        joined = "_".join(words(spelling))
        whole = joined if joined in table else in_one_piece.get("".join(words(spelling)))
        if whole is not None:
            return table[whole]
        parts = [table[word] for word in _content_words(spelling) if word in table]
        if len(parts) == len(_content_words(spelling)):
            # A word's length grows with its frequency, which says nothing about its share in the meaning.
            return np.mean([unit(part) for part in parts], axis=0)
    return None


def _checked(vectors: np.ndarray, classes: Sequence[str], source: str) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    usable = (lengths > SHORTEST) & (lengths < 1 / SHORTEST)  # false for NaN too
    if not usable.all():
        names = [name for name, good in zip(classes, usable, strict=True) if not good]
        raise UserError(
            f"{printable(source)}: the vectors of {len(names)} classes are zero, not finite or of an absurd length: "
            f"{listed(names, 40)}; use another file, or leave these classes out of the split"
        )
    return vectors


def neighbours(vectors: np.ndarray, names: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
    """The k nearest other names of each name, by cosine, nearest first; equal ones by name. `vectors` are float `[C,
    s]`, none of them zero."""
    units = unit(np.asarray(vectors, np.float64))
    cosines = units @ units.T
    answers = []
    for row, scores in enumerate(cosines.tolist()):
        others = [pair for column, pair in enumerate(zip(names, scores, strict=True)) if column != row]
        answers.append(sorted(others, key=lambda pair: (-pair[1], pair[0]))[: max(k, 0)])
    return answers


def source_digest(source: str) -> str:
    """SHA-256 (hex) of a vector file; of a local encoder's files; of a remote handle's text."""
    digest = hashlib.sha256()
    refuse_wordnet(source)
    if not source.startswith(HUB):
        _update(digest, source)
        return digest.hexdigest()
    for handle in source[len(HUB) :].split(","):
        files = (os.path.join(parent, name) for parent, _, names in os.walk(handle) for name in names)
        for name in sorted(os.path.relpath(file, handle) for file in files):
            digest.update(os.fsencode(name) + b"\0")
            _update(digest, os.path.join(handle, name))
        if not os.path.isdir(handle):
            digest.update(os.fsencode(handle) + b"\0")
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", path: str) -> None:
    try:
        with open(path, "rb") as handle:
            hashlib.file_digest(handle, lambda: digest)  # which goes on with it
    except OSError as error:
        raise UserError(f"vectors {printable(path)}: {error.strerror or error}; expected a readable file") from None
