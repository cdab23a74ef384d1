"""Galleries of older format versions keep loading."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw_folder
from tf_ssgn.retrieval.folder import builder, changes, compaction, gallery
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import HEADER_BYTES, ITEMS, VECTORS, npy_header
from tf_ssgn.retrieval.folder.verify import verify
from tf_ssgn.retrieval.search import scann_index
from tf_ssgn.retrieval.search.options import Options

D = TinyEmbedder.dimension
SCHEMA_1 = """
CREATE TABLE items (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, path TEXT NOT NULL, label TEXT NOT NULL,
    size INTEGER, modified INTEGER, sha256 TEXT, width INTEGER, height INTEGER);
CREATE INDEX items_id ON items (id);
CREATE INDEX items_sha256 ON items (sha256);
"""


def write_format_1(folder: Path, vectors: np.ndarray, scann: dict | None) -> None:
    """The layout of format 1, byte by byte: no columns but ours, and an index that scores with `vectors.npy`."""
    part = folder / "parts" / "0123456789ab"
    part.mkdir(parents=True)
    (part / VECTORS).write_bytes(npy_header(*vectors.shape) + vectors.astype("<f4").tobytes())
    with sqlite3.connect(part / ITEMS) as database:
        database.executescript(SCHEMA_1)
        rows = [(row, f"{row:05d}", f"/photos/{row}.png", f"label{row % 3}") for row in range(len(vectors))]
        database.executemany("INSERT INTO items (row, id, path, label) VALUES (?, ?, ?, ?)", rows)
    database.close()
    if scann:
        from scann.scann_ops.py import scann_ops_pybind

        mapped = np.memmap(part / VECTORS, "<f4", "r", HEADER_BYTES, vectors.shape)
        made = scann_ops_pybind.builder(mapped, 10, "dot_product")
        made = made.tree(scann["leaves"], scann["search"], training_sample_size=len(vectors))
        made = made.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(scann["reorder"])
        (part / "scann").mkdir()
        made.build().serialize(str(part / "scann"), relative_path=True)
        (part / "scann/dataset.npy").unlink()
        listing = part / "scann/scann_assets.pbtxt"
        listing.write_text(listing.read_text().replace('"dataset.npy"', '"../vectors.npy"'))

    def about(path: Path) -> dict:
        return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    files = {path.relative_to(part).as_posix(): about(path) for path in part.rglob("*") if path.is_file()}
    segment = {"folder": part.name, "rows": len(vectors), "in_id_order": True, "scann": scann, "files": files}
    manifest = {
        "model": {"path": "saved_models/tiny", "fingerprint": "tiny-1", "views": 0}, "dimension": D,
        "normalisation": "l2", "similarity": "cosine", "sources": [], "segments": [segment], "dead": None,
        "format": 1, "version": 1, "written": "2026-01-01T00:00:00Z", "count": len(vectors),
    }  # fmt: skip
    (folder / "versions").mkdir()
    path = folder / "versions/000001.json"
    path.write_text(json.dumps(manifest))
    pointer = {"format": 1, "version": 1, "manifest": "versions/000001.json", "sha256": about(path)["sha256"]}
    (folder / "gallery.json").write_text(json.dumps(pointer))


def units(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_format_1_is_read_searched_and_changed(tmp_path: Path) -> None:
    vectors = units(30, 0)
    write_format_1(tmp_path / "g", vectors, None)
    opened = Gallery.open(tmp_path / "g")
    assert verify(tmp_path / "g")["damage"] == [] and opened.columns == []
    assert [hit.id for hit in opened.search(vectors[4], 1, options=Options(labels=("label1",)))] == ["00004"]
    photo = draw_folder(tmp_path / "photo", classes=1, each=2)
    table = tmp_path / "t.csv"
    table.write_text("id,n\nphoto/class0/0.png,3\n")
    assert builder.add(tmp_path / "g", [photo], TinyEmbedder(), table).count == 32
    changes.delete(tmp_path / "g", ids=["00004"])
    for _ in range(2):
        opened = Gallery.open(tmp_path / "g")
        assert len(opened) == 31 and opened.manifest["format"] == 2
        assert [hit.id for hit in opened.search(vectors[4], 9, options=Options(where="n = 3"))] == [
            "photo/class0/0.png"
        ]
        compaction.compact(tmp_path / "g")


@pytest.mark.skipif(bool(scann_index.why_not()), reason="ScaNN does not run here")
def test_an_index_of_format_1_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = gallery.GALLERY._replace(exact_below=500, tree_from=1000)
    for module in (gallery, compaction, scann_index):
        monkeypatch.setattr(module, "GALLERY", small)
    vectors = units(2000, 0)
    chosen = {"kind": "tree", "k": 10, "reorder": 300, "leaves": 45, "search": 45}
    write_format_1(tmp_path / "old", vectors, chosen)
    shutil.move(tmp_path / "old", tmp_path / "g")
    opened = Gallery.open(tmp_path / "g")
    assert opened.method == "scann"
    for query in units(20, 1):
        exact = opened.search(query, 10, "exact")
        assert len(set(opened.search(query, 10)) & set(exact)) >= 9
