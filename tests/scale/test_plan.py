"""Spark follows folders by the rule that every gallery has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.retrieval.embedder import TinyEmbedder
from tests.retrieval.test_plan import Followed, two_folders, unmounts_one_of_two
from tests.scale import poison
from tf_ssgn.scale.card import Card
from tf_ssgn.scale.dataset import open_dataset
from tf_ssgn.scale.spark import embed

CARD = Card(TinyEmbedder.path, "tiny-1", TinyEmbedder.dimension, 0)


class FollowedBySpark(Followed):
    def __init__(self, folders: list[Path], where: str, spark: Any):
        self.folders, self.where, self._spark = folders, where, spark
        self.sync()

    def sync(self) -> int:
        folders = [str(folder) for folder in self.folders]
        return embed(self._spark, folders, CARD, self.where, load=poison.load_tiny).removed

    def ids(self) -> set[str]:
        dataset, manifest = open_dataset(self.where)
        return {id for table in dataset.tables(manifest) for id in table.column("id").to_pylist()}


def test_a_disk_that_is_not_mounted_takes_nothing_away(spark: Any, tmp_path: Path) -> None:
    unmounts_one_of_two(FollowedBySpark(two_folders(tmp_path), str(tmp_path / "out"), spark), tmp_path)
