"""Which folder a model's name means: nothing heavy is imported, so that a command that is mistyped says so at once."""

import os
from pathlib import Path

from tf_ssgn.errors import UserError
from tf_ssgn.settings import MODEL

HEADS = Path(__file__).parent
CONFIG, HEAD, WORDS = FILES = ("config.json", "head.npz", "words.npz")


def names() -> list[str]:
    """The shipped models."""
    return sorted(entry.name for entry in HEADS.iterdir() if is_shipped(entry))


def is_shipped(folder: Path) -> bool:
    """Whether a folder holds a head, and neither a run nor an exported model."""
    return (folder / HEAD).is_file() and (folder / CONFIG).is_file()


def resolve(model: str | os.PathLike = MODEL) -> Path:
    """The folder of a model: a path that exists, else that of the shipped model of this name; UserError: neither."""
    if os.path.exists(model):
        return Path(model)
    if os.fspath(model) in names():
        return HEADS / model
    raise UserError(
        f"{os.fspath(model)} does not exist; expected a run folder, an exported model such as saved_models/NAME, or "
        f"the name of a shipped model: {', '.join(names())}"
    )
