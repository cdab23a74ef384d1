"""One real Spark for all tests: a master, two workers with one executor each, on this machine's loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    pytest.importorskip("pyspark")
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        pytest.skip("Spark needs Java (apt-get install openjdk-17-jre-headless)")
    from tf_ssgn.scale.session import session

    settings = {"spark__executorEnv__PYTHONPATH": str(Path(__file__).parents[2]), "spark__ui__enabled": "false"}
    settings |= {"spark__executor__memory": "512m", "spark__driver__memory": "512m"}
    # Short jobs: what the JVM would save by compiling well costs more than it saves.
    settings |= dict.fromkeys(("spark__driver__defaultJavaOptions", "spark__executor__defaultJavaOptions"), QUICK)
    # Fewer attempts than a user's, who waits longer to be told a mistake of all of them; a poisonous photo takes five.
    settings |= {"spark__python__daemon__module": "tests.scale.daemon", "spark__task__maxFailures": "6"}
    settings |= {"spark__sql__shuffle__partitions": "4", "spark__sql__codegen__wholeStage": "false"}
    with session("local-cluster[2,1,1024]", **settings) as made:
        yield made
