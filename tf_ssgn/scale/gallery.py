"""A bulk embedding into a gallery, in a folder or in Milvus."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.writer import Report, Writer
from tf_ssgn.scale import places
from tf_ssgn.scale.card import Card
from tf_ssgn.scale.dataset import DATA, ITEM, EmbeddedDataset, open_embedded, schemas


def blocks(dataset: EmbeddedDataset, manifest: dict[str, Any]) -> Iterator[tuple[list[Item], np.ndarray]]:
    """Items and their vectors float32 [n, d], file by file, each file checked."""
    expected = schemas(manifest["dimension"])[DATA]
    for table in dataset.tables(manifest):
        for field in expected:
            place = table.schema.get_field_index(field.name)
            kind = "nothing" if place < 0 else table.schema.field(place).type
            if kind != field.type:
                raise UserError(
                    f"{places.shown(dataset.uri)} is damaged: its column {field.name} is {kind}, expected {field.type}"
                )
        columns = [table.column(name).to_pylist() for name in ITEM[:-1]]  # all but the status
        flat = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if len(flat) != table.num_rows * manifest["dimension"]:  # a list that is null has no numbers
            raise UserError(f"{places.shown(dataset.uri)} is damaged: it has photos without a vector")
        yield (
            [Item(*values) for values in zip(*columns, strict=True)],
            np.asarray(flat, np.float32).reshape(-1, manifest["dimension"]),
        )


def import_dataset(uri: str, writer: Writer, card: Card) -> Report:
    """Writes a bulk embedding into a gallery; in a folder it is the one that `index build` of those photos would make.
    Each file is checked before any of it is written. UserError: no dataset, or one of another model."""
    dataset, manifest = open_embedded(uri)
    model = manifest["model"]
    if (model["fingerprint"], manifest["dimension"]) != (card.fingerprint, card.dimension):
        raise UserError(
            f"{uri} was embedded by another model (fingerprint {model['fingerprint']}, {manifest['dimension']} "
            f"dimensions, model {model['path']}); received {card.fingerprint}, {card.dimension} dimensions: embed the "
            "photos again with this model"
        )
    if not manifest["count"]:
        raise UserError(f"{uri} holds no photo; there is nothing to import")
    card = replace(card, views=model["views"], runtime=model["runtime"])  # what computed the vectors
    sources = manifest["source"].get("sources", [])
    return writer.import_blocks(card, uri, blocks(dataset, manifest), manifest["count"], sources)
