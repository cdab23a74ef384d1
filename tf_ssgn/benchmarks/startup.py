"""How long a person waits for `import tf_ssgn`, for the `--help` of each command, and for a server's first answer."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import seconds
from tf_ssgn.benchmarks.serve import drawing, random_gallery

COMMANDS = ("search", "prepare", "train", "evaluate", "export", "index", "serve", "query", "demo", "bench")


def run(full: bool) -> dict[str, Any]:
    """Medians over fresh processes, seconds; the bare interpreter beside them is the floor."""
    repeats, serves, items = (9, 5, 10_000) if full else (3, 1, 100)
    calls = {"python -c pass": ["-c", "pass"], "import tf_ssgn": ["-c", "import tf_ssgn"]}
    calls |= {f"{command} --help": ["-m", f"tf_ssgn.{command}", "--help"] for command in COMMANDS}
    medians = {}
    for name, arguments in calls.items():
        command = [sys.executable, *arguments]
        times = [seconds(subprocess.run, command, check=True, stdout=subprocess.DEVNULL) for _ in range(repeats)]
        medians[name] = float(np.median(times))
    medians |= _served(serves, items)
    for name, value in medians.items():
        print(f"{name:<24} {value:6.3f} s")
    return {"seconds": medians}


def _served(repeats: int, items: int) -> dict[str, float]:
    """From the command `serve`, with the shipped model and that many photos, to `ready` and to an answered drawing."""
    import tf_ssgn
    from tf_ssgn.client import Client

    times = []
    with tempfile.TemporaryDirectory() as folder:
        gallery = random_gallery(Path(folder), tf_ssgn.load("everyday"), items)
        command = [sys.executable, "-m", "tf_ssgn.serve", "--gallery", str(gallery), "--port", "0", "--http-port", "0"]
        for _ in range(repeats):
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
                assert server.stdout is not None
                try:
                    line = server.stdout.readline()
                    if not line.startswith("ready grpc="):
                        raise RuntimeError(f"the server did not start; run {' '.join(command)} to see why")
                    ready = time.perf_counter() - start
                    with Client(line.split("grpc=")[1].split()[0]) as client:
                        client.search(drawing(0), k=10)
                    times.append((ready, time.perf_counter() - start))
                finally:
                    server.terminate()
    ready, answered = np.median(times, axis=0).tolist()
    return {"serve, ready": ready, "serve, a drawing answered": answered}
