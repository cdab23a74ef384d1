"""A tiny embedding model with the interface of an exported one, for the gallery's tests."""

from __future__ import annotations

import io
import math
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tf_ssgn.common.status import Status
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.items import Item
from tf_ssgn.settings import QUERY_LIMITS


class TinyEmbedder:
    """Projects an 8 x 8 thumbnail; equal pixels give equal vectors. `calls` counts the images it embedded.

    Once it has begun to embed `stops_after` images, it fails as a killed process does.
    """

    dimension, views, path, runtime = 16, 0, "saved_models/tiny", "tiny f32"

    def __init__(self, fingerprint: str = "tiny-1", seconds: float = 0.0, stops_after: float = math.inf):
        self.fingerprint, self.calls, self._seconds, self._stops_after = fingerprint, 0, seconds, stops_after
        self._counting = threading.Lock()
        self._projection = np.random.default_rng(7).normal(size=(8 * 8 * 3, self.dimension)).astype(np.float32)

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert signature == "embed_photo"
        images = inputs["image_bytes"]
        assert images.dtype == object and images.ndim == 1 and 0 < len(images) <= 32
        with self._counting:
            if self.calls >= self._stops_after:
                raise KeyboardInterrupt
            self.calls += len(images)
        vectors = np.zeros((len(images), self.dimension), np.float32)
        status = np.zeros(len(images), np.int32)
        for i, content in enumerate(images):
            assert len(content) <= QUERY_LIMITS.bytes
            try:
                with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                    small = np.asarray(image.convert("RGB").resize((8, 8)), np.float32).reshape(-1)
            except OSError:
                status[i] = Status.CORRUPT
                continue
            vector = (small / 255 - 0.5 + 1e-3) @ self._projection
            vectors[i] = vector / np.linalg.norm(vector)
        time.sleep(self._seconds)
        return {"embedding": vectors, "status": status}


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    """Writes a coloured noise photo, the same for the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def draw_folder(folder: Path, classes: int = 3, each: int = 4, seed: int = 0) -> Path:
    """`folder/class<i>/<j>.png`, all different."""
    for i in range(classes):
        for j in range(each):
            draw(folder / f"class{i}" / f"{j}.png", seed * 10_000 + i * 100 + j)
    return folder


def item_of(gallery: Gallery, id: str) -> Item:
    """The item that must be there."""
    item = gallery.find(id)
    assert item is not None, id
    return item
