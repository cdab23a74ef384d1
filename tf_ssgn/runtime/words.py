"""What a word adds to a drawing's code: the same in every runtime, as it is one row of a table.

The coarse stage has a second mode, for class vectors that are given (`SSGN.told`). Its guide maps a word's vector to
a shift `[d]`, which is added to the code of the drawing and the sum scaled to length 1; a word without a drawing is its
shift alone. Source: docs/reconstruction.md, "A given word".
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from tf_ssgn.common.status import Status
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.semantics.vocabulary import Vocabulary


class Words:
    """The words that a model knows: their names as they are shown, and `shifts` float32 `[N, d]`, what each adds to a
    code."""

    def __init__(self, names: Sequence[str], shifts: np.ndarray):
        self.names, self.shifts = list(names), np.asarray(shifts, np.float32)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.names)

    @cached_property
    def codes(self) -> np.ndarray:
        """Unit float32 `[N, d]`: what each word alone is searched with."""
        return unit(self.shifts)

    def tell(self, codes: np.ndarray, status: np.ndarray, words: Sequence[bytes | str]) -> dict[str, np.ndarray]:
        """Codes float32 `[B, d]` of drawings with their words, as the signature `embed_word` answers. A row without a
        drawing (status `EMPTY`) is that of its word alone; a word that is not known has `UNKNOWN_WORD`, also beside a
        faulty drawing. An empty word changes nothing."""
        codes, status = codes.copy(), status.copy()
        for row, word in enumerate(words):
            if not word:
                continue
            # Not `find`: looking for the nearest spellings takes longer than all else, and nobody would read them.
            place = self.vocabulary.row(word.decode("utf-8", "replace") if isinstance(word, bytes) else word)
            if place is None:
                codes[row], status[row] = 0.0, Status.UNKNOWN_WORD
            elif status[row] in (Status.OK, Status.EMPTY):
                codes[row], status[row] = unit(codes[row] + self.shifts[place]), Status.OK
        return {"embedding": codes, "status": status}

    def guess(self, code: np.ndarray, among: Sequence[int], most: int) -> list[tuple[str, float]]:
        """The names among some rows whose own code is nearest to a drawing's, with their cosines, best first."""
        rows = np.asarray(among, int)
        cosines = self.codes[rows] @ code
        return [
            (self.names[rows[place]], float(cosines[place])) for place in np.argsort(-cosines, kind="stable")[:most]
        ]
