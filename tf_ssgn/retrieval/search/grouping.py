"""Near-duplicates among answers: each joins the best answer that it resembles."""

from collections.abc import Sequence

import numpy as np

from tf_ssgn.retrieval.search import exact


def groups(vectors: np.ndarray, contents: Sequence[str | None], k: int, least: float) -> list[list[int]]:
    """The k best groups, as places in `vectors` (float32 [n, d], unit length, best answer first), best first, all of
    those given that belong to them.

    The best answer that is in no group yet begins the next one; every later answer with a cosine of at least `least` to
    it, or of the same content hash, where that is known, is its duplicate.
    """
    number = {content: place for place, content in enumerate(dict.fromkeys(contents)) if content is not None}
    content = np.array([number.get(text, -1) if text is not None else -1 for text in contents], np.int64)
    free = np.ones(len(vectors), bool)
    rows: list[list[int]] = []
    while len(rows) < k and free.any():
        first = int(np.argmax(free))
        near = vectors @ vectors[first] >= least - exact.MARGIN
        if content[first] >= 0:
            near |= content == content[first]
        near[first] = True
        rows.append(np.flatnonzero(near & free).tolist())
        free &= ~near
    return rows
