"""A gallery is what its callers ask for."""

from __future__ import annotations

import inspect

from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.interface import Exportable, Searchable


def test_a_gallery_fulfils_the_interface() -> None:
    for protocol in (Searchable, Exportable):
        for name, member in vars(protocol).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                asked, given = inspect.signature(member), inspect.signature(getattr(Gallery, name))
                assert list(asked.parameters) == list(given.parameters), name
            elif isinstance(member, property):
                assert hasattr(Gallery, name)
