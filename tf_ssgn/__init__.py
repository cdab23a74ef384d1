"""tf_ssgn: draw something, get photographs of it, even of kinds of things no training image showed.

The facade is `load`, `Gallery` and `client`; each is imported when it is first used, so `import tf_ssgn` is cheap.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_ssgn import client as client
    from tf_ssgn.retrieval.folder.gallery import Gallery as Gallery
    from tf_ssgn.runs.load import load as load

__version__ = "0.1.0"
__all__ = ["Gallery", "client", "load"]

if sys.argv[:1] == ["-m"] and not importlib.util.find_spec("numpy"):
    # `python -m tf_ssgn.train` by a Python without the package's needs: one line, before any module fails to import.
    from tf_ssgn.common.cli import EXIT_MISTAKE, log, missing_package

    log(f"error: {missing_package('numpy')}")
    sys.exit(EXIT_MISTAKE)


def _register() -> None:
    for name in ("backbones", "encoders"):
        importlib.import_module(f"tf_ssgn.models.{name}")


class _WithKeras:  # no `importlib.abc.MetaPathFinder`, whose import would take most of ours
    """Makes the layers of our `.keras` files known to Keras once somebody imports it; that takes seconds."""

    def find_spec(self, name, path, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_with_ours(module) -> None:
            load(module)
            _register()

        spec.loader.exec_module = load_with_ours  # type: ignore[method-assign]
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _WithKeras())

_HOMES = {"Gallery": "tf_ssgn.retrieval.folder.gallery", "load": "tf_ssgn.runs.load"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "client":
        return importlib.import_module("tf_ssgn.client")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tf_ssgn' has no attribute {name!r}")
