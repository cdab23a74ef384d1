"""A Spark session: the master and its executors, and what Spark raises as one line."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tf_ssgn.errors import UserError, reason
from tf_ssgn.settings import EXECUTOR_SECONDS, MASTER_SECONDS, PART_FAILURES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_OURS = re.compile(r"tf_ssgn\.errors\.UserError: (.+)")
_MASTER = re.compile(r"spark://(\[[^\]]+\]|[^:/,]+):(\d+)")


@contextmanager
def session(master: str | None, **settings: str) -> Iterator[SparkSession]:
    """A Spark session on a master, `spark-submit`'s own for None; spark-defaults.conf counts, and `settings`, with `__`
    for the dot: `spark__executor__memory="2g"`. UserError: no pyspark, no Java, or a master that does not answer or
    gives no executor."""
    try:
        from pyspark import SparkConf
        from pyspark.sql import SparkSession
    except ImportError:
        raise UserError("--engine spark needs pyspark; pip install 'tf_ssgn[spark]'") from None
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise UserError("Spark needs Java 17 or newer; on Debian: apt-get install openjdk-17-jre-headless")
    if master is not None:
        _answers(master)
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = SparkConf().setIfMissing("spark.app.name", "tf_ssgn")
    conf.setIfMissing("spark.task.maxFailures", str(PART_FAILURES)).setIfMissing("spark.driver.memory", "1g")
    conf.setIfMissing("spark.log.level", "ERROR").setIfMissing("spark.ui.showConsoleProgress", "false")
    for name, value in settings.items():
        conf.set(name.replace("__", "."), value)
    if master is not None:
        conf.setMaster(master)
    with explained():
        spark = SparkSession.builder.config(conf=conf).getOrCreate()
    try:
        _wait_for_executor(spark)
        yield spark
    finally:
        spark.stop()


def _answers(master: str) -> None:
    drivers = [(host.strip("[]"), int(port)) for host, port in _MASTER.findall(master)]
    if not drivers and not master.startswith(("local", "yarn", "k8s://")):
        raise UserError(f"--master: received {master!r}, expected spark://HOST:PORT, yarn, k8s://HOST:PORT or local[N]")
    said = ""
    for host, port in drivers:
        try:
            socket.create_connection((host, port), MASTER_SECONDS).close()
            return
        except OSError as error:
            said = error.strerror or str(error)
    if drivers:
        raise UserError(f"no Spark master answers at {master} ({said}); start it, or name another with --master")


def _wait_for_executor(spark: SparkSession) -> None:
    """A job without executors waits for ever, so they are waited for here, and not for ever."""
    if is_local(spark):
        return
    context: Any = spark.sparkContext
    stop = time.monotonic() + EXECUTOR_SECONDS
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is one of them
        if time.monotonic() > stop:
            raise UserError(
                f"the master {context.master} gave no executor within {EXECUTOR_SECONDS:.0f} s; see that its workers "
                "are up and have the cores and the memory that spark.executor.memory asks for"
            )
        time.sleep(0.1)


@contextmanager
def explained() -> Iterator[None]:
    """Turns what Spark raises into one line, ours where the cause is an error of ours on an executor."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        text = str(error)
        if ours := _OURS.search(text):
            raise UserError(ours[1]) from None
        if "JAVA_GATEWAY_EXITED" in text:
            raise UserError("Java does not start; Spark needs Java 17 or newer (JAVA_HOME names it)") from None
        if not type(error).__module__.startswith(("pyspark", "py4j")) and not isinstance(error, ConnectionError):
            raise
        lines = [line.strip() for line in text.splitlines() if re.search(r"(Error|Exception)\b.*: ", line)]
        raise UserError(f"Spark gave up: {reason(ValueError((lines or [text])[-1]))}; see its log") from None


def is_local(spark: SparkSession) -> bool:
    """Whether the driver is its own executor."""
    return re.fullmatch(r"local(\[.*\])?", str(spark.sparkContext.master)) is not None
