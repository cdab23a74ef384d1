"""How many cores this process may use."""

import os


def cores() -> int:
    """Those it is allowed; fewer where OMP_NUM_THREADS says so, as Spark does for what runs on an executor."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(wanted), allowed) if wanted.isdecimal() and int(wanted) else allowed
