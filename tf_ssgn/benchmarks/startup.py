"""How long a person waits for `import tf_ssgn` and for the `--help` of each command."""

import subprocess
import sys
import time
from typing import Any

COMMANDS = ("search", "prepare", "train", "evaluate", "export", "index", "serve", "query", "demo", "bench")


def run(full: bool) -> dict[str, Any]:
    """Medians over fresh processes, seconds; the bare interpreter beside them is the floor."""
    repeats = 9 if full else 3
    calls = {"python -c pass": ["-c", "pass"], "import tf_ssgn": ["-c", "import tf_ssgn"]}
    calls |= {f"{command} --help": ["-m", f"tf_ssgn.{command}", "--help"] for command in COMMANDS}
    seconds = {name: _median(arguments, repeats) for name, arguments in calls.items()}
    for name, value in seconds.items():
        print(f"{name:<18} {value:6.3f} s")
    return {"seconds": seconds}


def _median(arguments: list[str], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]
