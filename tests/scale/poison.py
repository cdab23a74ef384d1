"""A model and photos that kill the process that touches them, importable by executors."""

from __future__ import annotations

import os

import numpy as np

from tests.retrieval.embedder import TinyEmbedder

POISON = b"poison for whoever embeds this"


class PoisonedEmbedder(TinyEmbedder):
    """Dies of one photo, as a decoder with a bug does."""

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if any(content.endswith(POISON) for content in inputs["image_bytes"]):
            os._exit(139)
        return super().call(signature, inputs)


def load(path: str, runtime: str) -> PoisonedEmbedder:
    return PoisonedEmbedder()


def load_tiny(path: str, runtime: str) -> TinyEmbedder:
    return TinyEmbedder()


def load_slow(path: str, runtime: str) -> TinyEmbedder:
    return TinyEmbedder(seconds=0.3)


def load_other(path: str, runtime: str) -> TinyEmbedder:
    return TinyEmbedder("other")
