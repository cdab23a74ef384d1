"""Spark's daemon of Python workers. It forks them once all that they import is there, and from the folder of packages:
Spark's own archive is read again by each of them, a second of processor time for what then takes milliseconds."""

from __future__ import annotations

import importlib
import sys

IMPORTED = ("pandas", "pyarrow.parquet", "pyspark.worker", "tests.scale.poison", "tf_ssgn.scale.plan")

if __name__ == "__main__":
    sys.path[:] = [place for place in sys.path if not place.endswith(".zip")]
    sys.path_importer_cache.clear()
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("pyspark.daemon").manager()
