"""Vectors that are there, from a bulk embedding or a file, into a gallery in Milvus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tf_ssgn.retrieval.embedding import Report
from tf_ssgn.retrieval.folder.changes import items_of, read_columns
from tf_ssgn.retrieval.folder.segment import Item
from tf_ssgn.retrieval.milvus.writer import import_blocks
from tf_ssgn.scale.card import read_card
from tf_ssgn.scale.dataset import is_dataset
from tf_ssgn.scale.gallery import blocks, opened

_CHUNK = 8192


def import_file(file: str, where: str, model: str) -> Report:
    """Writes the items of a bulk embedding, or of a .npy, .npz or .parquet file, into the gallery at an address.

    Run again after a kill it writes the same items over themselves. Of a bulk embedding each file is checked before any
    of it is written. UserError where model, dimension or file do not fit.
    """
    card = read_card(model)
    if is_dataset(file):
        dataset, manifest, card = opened(file, card)
        sources = manifest["source"].get("sources", [])
        return import_blocks(where, card, blocks(dataset, manifest), manifest["count"], file, sources)
    columns = read_columns(Path(file))
    vectors: np.ndarray = columns["vectors"]
    count = len(vectors)
    ids = columns.get("ids") or [f"{row:0{len(str(count))}d}" for row in range(count)]
    items = items_of(file, card.dimension, vectors, ids, columns.get("labels"), columns.get("paths"))

    def parts() -> Iterator[tuple[list[Item], np.ndarray]]:
        for low in range(0, count, _CHUNK):
            yield items[low : low + _CHUNK], vectors[low : low + _CHUNK]

    return import_blocks(where, card, parts(), count, file)
