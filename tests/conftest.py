"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real material beside the checkout; tests that need it are skipped where it is not there."""
    folder = Path(os.environ.get("TF_SSGN_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data" / "sketchy_mini").is_dir():
        pytest.skip(f"no real material at {folder} (set TF_SSGN_SHARED)")
    return folder
