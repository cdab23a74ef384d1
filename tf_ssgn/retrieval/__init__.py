"""The gallery: from photos on the disk to answers."""

from __future__ import annotations

from tf_ssgn.retrieval.folder.gallery import Gallery, Hit

__all__ = ["Gallery", "Hit"]
