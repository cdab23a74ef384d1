"""A bulk embedding into a gallery on this machine."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.embedding import Report
from tf_ssgn.retrieval.folder.changes import import_items
from tf_ssgn.retrieval.folder.segment import Item
from tf_ssgn.scale import places
from tf_ssgn.scale.card import Card
from tf_ssgn.scale.dataset import DATA, Dataset, open_dataset, schemas


def opened(uri: str, card: Card) -> tuple[Dataset, dict[str, Any], Card]:
    """The dataset, its manifest, and the model's card with the runtime noted that computed the vectors.

    Raises:
        UserError: no dataset, or one of another model.
    """
    dataset, manifest = open_dataset(uri)
    model = manifest["model"]
    if (model["fingerprint"], manifest["dimension"]) != (card.fingerprint, card.dimension):
        raise UserError(
            f"{uri} was embedded by another model (fingerprint {model['fingerprint']}, {manifest['dimension']} "
            f"dimensions, model {model['path']}); received {card.fingerprint}, {card.dimension} dimensions: embed the "
            "photos again with this model"
        )
    return dataset, manifest, Card(card.path, card.fingerprint, card.dimension, model["views"], model["runtime"])


def blocks(dataset: Dataset, manifest: dict[str, Any]) -> Iterator[tuple[list[Item], np.ndarray]]:
    """Items and their vectors float32 [n, d], file by file, each file checked."""
    expected = schemas(manifest["dimension"])[DATA]
    for table in dataset.tables(manifest):
        for field in expected:
            place = table.schema.get_field_index(field.name)
            found = "nothing" if place < 0 else table.schema.field(place).type
            if found != field.type:
                raise UserError(
                    f"{places.shown(dataset.uri)} is damaged: its column {field.name} is {found}, expected {field.type}"
                )
        names = ["id", "uri", "label", "size", "modified", "sha256", "width", "height"]
        columns = [table.column(name).to_pylist() for name in names]
        flat = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if len(flat) != table.num_rows * manifest["dimension"]:  # a list that is null has no numbers
            raise UserError(f"{places.shown(dataset.uri)} is damaged: it has photos without a vector")
        yield (
            [Item(*values) for values in zip(*columns, strict=True)],
            np.asarray(flat, np.float32).reshape(-1, manifest["dimension"]),
        )


def import_dataset(uri: str, folder: str | os.PathLike, card: Card) -> Report:
    """Makes a local gallery of a bulk embedding; the same as `index build` of those photos would have made.

    Vectors wait in a temporary file beside the gallery, items in memory, about 1 KB each.
    """
    dataset, manifest, card = opened(uri, card)
    parent = Path(os.path.abspath(folder)).parent
    parent.mkdir(parents=True, exist_ok=True)
    items: list[Item] = []
    with tempfile.TemporaryFile(dir=parent) as temporary:
        for some, vectors in blocks(dataset, manifest):
            items += some
            temporary.write(np.ascontiguousarray(vectors, "<f4").data)
        temporary.flush()
        counts: list[tuple[str, int]] = Counter(item.id for item in items).most_common(1) or [("", 1)]
        twice, times = counts[0]
        if times > 1 or len(items) != manifest["count"]:
            raise UserError(f"{uri} is damaged: it has {len(items):,} rows, the id {twice!r} {times} times")
        vectors = np.memmap(temporary, "<f4", "r", shape=(len(items), manifest["dimension"]))
        return import_items(folder, card, uri, vectors, items, manifest["source"].get("sources", []))
