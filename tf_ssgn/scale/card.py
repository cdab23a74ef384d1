"""A model as the driver knows it: by its card, without loading it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_ssgn.errors import UserError


@dataclass
class Card:
    """What a gallery notes of the model that made its vectors; an `Embedder` that cannot embed."""

    path: str
    fingerprint: str
    dimension: int
    views: int
    runtime: str = ""

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise UserError(f"only the card of {self.path} was read; load it with tf_ssgn.load to embed with it")


def read_card(path: str | os.PathLike) -> Card:
    """The card of an exported model, read in no time; UserError where `path` is none, a run folder included."""
    from tf_ssgn.runtime.saved_model import CARD, newest_version

    if not Path(path).is_dir():
        raise UserError(f"no model at {os.fspath(path)!r}; expected what `python -m tf_ssgn.export` wrote")
    version = newest_version(path)
    try:
        card = json.loads((version / CARD).read_text(encoding="utf-8"))
        return Card(os.fspath(path), str(card["fingerprint"]), int(card["dimension"]), int(card["views"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{version} is not a whole SavedModel of tf_ssgn ({error}); write it anew with `python -m tf_ssgn.export`"
        ) from None
