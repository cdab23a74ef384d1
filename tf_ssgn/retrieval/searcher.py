"""What a gallery answers, wherever it is kept: all that is said of a search once, over one abstract way of finding.

`Gallery` (a folder) and `MilvusGallery` (a collection on a server) are open galleries; `open.open_gallery` opens both.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Hit, Item
from tf_ssgn.retrieval.search.exact import MARGIN, unit_vectors
from tf_ssgn.retrieval.search.options import NO_OPTIONS, Options, each_k, whole_k
from tf_ssgn.settings import GALLERY, SAME_COSINE, SELF_K, SELF_QUERIES, WIDEST_ANSWER

METHODS = ("auto", "exact", "scann")


class Unreachable(UserError):
    """A gallery whose server does not answer, now: trying again later may help."""


class Near(NamedTuple):
    """The items nearest to one query, best first: cosines float32 [n], items of which at least id, path and label are
    known, and where asked for their vectors float32 [n, d]."""

    scores: np.ndarray
    items: list[Item]
    vectors: np.ndarray | None = None


class Searcher(ABC):
    """Finds the nearest items of vectors, `most` at a time for one query; safe to use from several threads."""

    dimension: int
    most: int | None = None

    @abstractmethod
    def nearest(self, queries: np.ndarray, k: int, method: str, options: Options, whole: bool = False) -> list[Near]:
        """The k items nearest to each unit query [Q, d] that the filters and exclusions of `options` leave, fewer where
        these leave fewer; equal scores are ordered by id. `whole` asks for their vectors and all that is known of them.
        """

    def nearest_ids(
        self, queries: np.ndarray, k: int, method: str, options: Options
    ) -> list[tuple[np.ndarray, list[str]]]:
        """As `nearest`: cosines float32 [n] and ids alone, for batches that ask for no more."""
        return [(near.scores, [item.id for item in near.items]) for near in self.nearest(queries, k, method, options)]

    def widest(self) -> int:
        """The largest k of a batch; what a request asks beyond it is not looked for."""
        return WIDEST_ANSWER

    def search(
        self, vectors: Any, k: int | Sequence[int] = 10, method: str = "auto", options: Options = NO_OPTIONS
    ) -> list[Any]:
        """The k most similar items of each vector, best first; fewer where the gallery or the options leave fewer.

        `vectors` float32 [d] gives list[Hit], [Q, d] gives list[list[Hit]], one for each query; they need not have unit
        length. `k` is one number, or one for each query. `method` is `exact`, `scann` or `auto`, by size; in Milvus it
        is the collection's index, whichever is asked for. Equal scores are ordered by id.
        """
        queries = np.asarray(vectors)
        single = queries.ndim == 1
        queries = unit_vectors(queries[None] if single else queries, self.dimension, "query vectors")
        hits = self._hits(queries, each_k(k, len(queries)), method, options)
        return hits[0] if single else hits

    def search_batch(
        self, vectors: np.ndarray, k: Any, method: str = "auto", options: Options = NO_OPTIONS
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers a request: (ids object [B, K], scores float32 [B, K], count int32 [B]) of vectors [B, d].

        `k` is one number, or [B].

        K is the largest k, but at most 10,000, or the gallery's size where that is more. Row i has `count[i]` answers,
        then empty ids and NaN scores. A row whose vector is zero or not finite, or whose k is below 1, has count 0.
        """
        vectors = np.asarray(vectors, np.float32)
        wanted = whole_k(k)
        if wanted.ndim == 0:
            wanted = np.full(vectors.shape[:1], wanted)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or wanted.shape != vectors.shape[:1]:
            shapes = f"{list(vectors.shape)} and {list(wanted.shape)}"
            raise UserError(f"vectors and k: received shapes {shapes}, expected [B, {self.dimension}] and [B]")
        wanted = np.minimum(wanted, self.widest())
        width = max(int(wanted.max(initial=0)), 0)
        ids = np.full((len(vectors), width), "", object)
        scores = np.full((len(vectors), width), np.nan, np.float32)
        count = np.zeros(len(vectors), np.int32)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1) & (wanted >= 1))
        if usable.size:
            queries, several = unit_vectors(vectors[usable], self.dimension), wanted[usable].tolist()
            found: list[tuple[Sequence[float] | np.ndarray, list[str]]]
            if options.group is None:
                near = self.nearest_ids(queries, self._largest(several, method, options), method, options)
                found = [
                    (best[: options.reached(best, k)], names) for (best, names), k in zip(near, several, strict=True)
                ]
            else:
                answers = self._hits(queries, several, method, options)
                found = [([hit.score for hit in hits], [hit.id for hit in hits]) for hits in answers]
            for place, (best, names) in zip(usable, found, strict=True):
                count[place] = here = len(best)
                ids[place, :here], scores[place, :here] = names[:here], best
        return ids, scores, count

    def _largest(self, wanted: list[int], method: str, options: Options) -> int:
        """The largest k of a request; UserError where the request is none."""
        if not isinstance(options, Options):
            raise UserError(f"options: received {type(options).__name__}, expected a search.options.Options")
        if method not in METHODS:
            raise UserError(f"method: received {method!r}, expected one of {', '.join(METHODS)}")
        largest = max(wanted, default=0)
        if self.most and largest > self.most:
            raise UserError(f"k: received {largest:,}, expected at most {self.most:,} of a gallery in Milvus")
        return largest

    def _hits(self, queries: np.ndarray, wanted: list[int], method: str, options: Options) -> list[list[Hit]]:
        largest = self._largest(wanted, method, options)
        if not largest:
            return [[] for _ in queries]
        if options.group is not None:
            return [self._groups(query[None], k, method, options) for query, k in zip(queries, wanted, strict=True)]
        answers = []
        for near, k in zip(self.nearest(queries, largest, method, options), wanted, strict=True):
            scores = near.scores[: options.reached(near.scores, k)].tolist()
            pairs = zip(near.items, scores, strict=False)
            answers.append([Hit(item.id, score, item.path, item.label) for item, score in pairs])
        return answers

    def _groups(self, query: np.ndarray, k: int, method: str, options: Options) -> list[Hit]:
        """The k best groups of a query among its `GALLERY.grouped` best items, or more where they make fewer."""
        assert options.group is not None
        ask = GALLERY.grouped
        while True:
            limit = min(ask, self.most or ask)
            ((scores, items, vectors),) = self.nearest(query, limit, method, options, whole=True)
            assert vectors is not None
            near = options.reached(scores, len(scores))
            alike = groups(vectors[:near], [item.sha256 for item in items[:near]], k, options.group)
            if len(alike) == k or near < limit or limit == self.most:
                break
            ask *= 4
        hits = []
        for first, *twins in alike:
            item = items[first]
            duplicates = tuple(items[twin].id for twin in twins)
            hits.append(Hit(item.id, float(scores[first]), item.path, item.label, duplicates))
        return hits


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
        near = vectors @ vectors[first] >= least - MARGIN
        if content[first] >= 0:
            near |= content == content[first]
        near[first] = True
        rows.append(np.flatnonzero(near & free).tolist())
        free &= ~near
    return rows


class OpenGallery(Searcher):
    """A gallery that is open: what it holds, beside what is near in it; `model_path` is where the model was that made
    the vectors."""

    path: str
    fingerprint: str
    version: int
    model_path: str

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the columns that users' tables added to the items."""

    @abstractmethod
    def sample(self, number: int) -> list[str]:
        """Ids of some items, as many where there are so many."""

    @abstractmethod
    def lookup(self, ids: Sequence[str]) -> dict[str, Item]:
        """The items of these ids, by id; what is not there is left out."""

    @abstractmethod
    def vector(self, id: str) -> np.ndarray | None:
        """float32 [d] of the item of that id, or None."""

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """All items, without holding them in memory."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        """All items with their vectors float32 [n, d], some thousand at a time."""

    @abstractmethod
    def close(self) -> None: ...

    def counts(self, column: str, most: int) -> dict[Any, int] | None:
        """How many items have each value of a column, nulls left out; None where there are more than `most`, and where
        the gallery's store cannot say."""
        return None

    def extra_of(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The values of these columns for items, by id, null ones left out; empty where the store keeps none."""
        return {}

    def find(self, id: str) -> Item | None:
        """The item of that id, or None."""
        return self.lookup([id]).get(id)

    def labels_of(self, ids: Iterable[str]) -> dict[str, str]:
        """The gallery's labels of ids; an id that is not there is left out."""
        return {id: item.label for id, item in self.lookup(list(ids)).items()}

    def require_model(self, fingerprint: str) -> None:
        """UserError unless the gallery was made by the model of that fingerprint."""
        if fingerprint != self.fingerprint:
            raise UserError(
                f"the gallery {self.path} was made by another model, or an earlier export of it (fingerprint "
                f"{self.fingerprint}, model {self.model_path}); received {fingerprint}: build it again with this model"
            )

    def own_hits(self) -> list[bool]:
        """Whether some items, spread over the gallery, are among the neighbours of their own vectors; one with a cosine
        of `SAME_COSINE` or more is as good as the item itself."""
        known = ((id, self.vector(id)) for id in self.sample(SELF_QUERIES))
        stored = {id: vector for id, vector in known if vector is not None}  # others may delete meanwhile
        if not stored:
            return []
        near, scores, _ = self.search_batch(np.stack(list(stored.values())), SELF_K)
        return [id in row or np.nanmin(best) >= SAME_COSINE for id, row, best in zip(stored, near, scores, strict=True)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
