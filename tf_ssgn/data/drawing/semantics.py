"""What the drawn classes are, in words: attributes, class vectors made of them, and the seen/unseen split.

An attribute is a kind of thing, an overall shape, or a part by the name it has in the drawing code. Unseen classes are
new combinations of attributes that the seen classes have.
"""

from collections.abc import Sequence

import numpy as np

from tf_ssgn.errors import UserError

PARTS = tuple(
    "wheel wing leg fin head neck tail ear horn antenna eye handle spout hull window door roof stem leaf pole".split()
)
CONCEPTS = tuple("animal plant vehicle building furniture vessel tool flies round elongated tall patterned".split())
ATTRIBUTES = PARTS + CONCEPTS

# `attribute` counts 1, `attribute:0.5` half (two legs of four, a bit elongated).
TRAITS: dict[str, str] = {
    "apple": "plant stem leaf round",
    "balloon": "vehicle flies round tall patterned",
    "bicycle": "vehicle wheel elongated:0.5",
    "bus": "vehicle wheel window door elongated",
    "butterfly": "animal flies wing antenna head patterned",
    "car": "vehicle wheel window elongated:0.5 round:0.5",
    "castle": "building window door roof:0.5 tall:0.5",
    "cat": "animal head leg ear eye tail round:0.5",
    "chair": "furniture leg tall",
    "cow": "animal head neck:0.5 leg ear horn eye tail patterned elongated:0.5",
    "cup": "vessel handle",
    "dragonfly": "animal flies wing antenna head eye tail elongated",
    "duck": "animal flies wing:0.5 head neck leg:0.5 eye",
    "fish": "animal fin eye tail elongated:0.5",
    "flower": "plant stem leaf tall patterned:0.5",
    "giraffe": "animal head neck leg ear horn eye tail patterned tall",
    "guitar": "tool tall round:0.5",
    "horse": "animal head neck leg ear eye tail elongated:0.5",
    "house": "building window door roof",
    "key": "tool elongated",
    "lamp": "furniture pole tall",
    "lighthouse": "building window door roof tall patterned",
    "pear": "plant stem leaf round tall",
    "sailboat": "vehicle hull pole tall",
    "snail": "animal antenna eye round patterned:0.5",
    "steamship": "vehicle hull pole window elongated",
    "table": "furniture leg elongated",
    "teapot": "vessel handle spout round",
    "tree": "plant tall round:0.5",
    "truck": "vehicle wheel window elongated:0.5 tall:0.5",
    "umbrella": "tool pole patterned:0.5 round:0.5",
    "watering_can": "vessel handle spout tall:0.5",
}
CLASSES: tuple[str, ...] = tuple(sorted(TRAITS))
UNSEEN: tuple[str, ...] = ("butterfly", "castle", "chair", "giraffe", "pear", "sailboat", "teapot", "truck")
SEEN: tuple[str, ...] = tuple(name for name in CLASSES if name not in UNSEEN)


def traits(name: str) -> dict[str, float]:
    """The attributes of a class and how much each counts; raises UserError on a class that is not drawn."""
    if name not in TRAITS:
        raise UserError(f"no attributes of class {name!r}; expected one of {', '.join(CLASSES)}")
    pairs = (item.partition(":") for item in TRAITS[name].split())
    return {attribute: float(share or 1) for attribute, _, share in pairs}


def attributes(names: Sequence[str]) -> np.ndarray:
    """One dense class vector per name, float32 [C, 32] of unit length.

    The 32 attributes are mixed by the orthonormal cosine transform (DCT-II), a rotation: every number of a vector
    depends on all attributes, as in a word vector, and cosines between classes are those of their attributes.
    """
    table = np.zeros((len(names), len(ATTRIBUTES)))
    for row, name in enumerate(names):
        for attribute, share in traits(name).items():
            table[row, ATTRIBUTES.index(attribute)] = share
    size = len(ATTRIBUTES)
    k, n = np.arange(size)[:, None], np.arange(size)[None, :]
    transform = np.sqrt(2 / size) * np.cos(np.pi * k * (2 * n + 1) / (2 * size))
    transform[0] /= np.sqrt(2)
    # A sum in a fixed order, not a BLAS product, so that the bits are the same on every machine.
    mixed = (table[:, None, :] * transform[None, :, :]).sum(axis=2)
    return (mixed / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)
