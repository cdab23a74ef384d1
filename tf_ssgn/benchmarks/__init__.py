"""What `bench` measures, a file a subject; here, what several subjects share."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tf_ssgn.common import cli
from tf_ssgn.errors import UserError


def chosen(only: str | None, parts: Sequence[str]) -> tuple[str, ...]:
    """The parts to measure: the one that `--only` names, else all; UserError for a name that is none of them."""
    if only is not None and only not in parts:
        raise UserError(f"--only: received {only!r}, expected one of {', '.join(parts)}")
    return tuple(parts) if only is None else (only,)


def noting(figures: dict[str, Any], width: int = 28) -> Callable[[str, dict[str, Any]], None]:
    """A function that keeps values under a name in `figures` and prints them in a line."""

    def note(name: str, values: dict[str, Any]) -> None:
        figures[name] = values
        print(f"{name:>{width}}  {said(values)}", flush=True)

    return note


def said(values: dict[str, Any]) -> str:
    """Figures in a line of text."""

    def shown(value: Any) -> str:
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

    return ", ".join(f"{key} {shown(value)}" for key, value in values.items())


def seconds(work: Callable[..., Any], *arguments: Any, **named: Any) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work(*arguments, **named)
    return time.perf_counter() - start


def best(rounds: int, *sides: Callable[[], Any]) -> list[float]:
    """The least seconds of each side, by turns; the first round of all is not counted, as graphs are traced in it. Not
    the median: whatever else the machine does only ever adds, and a borrowed core halves the speed for seconds."""
    times = [[seconds(side) for side in sides] for _ in range(1 + rounds)]
    return [min(taken) for taken in zip(*times[1:], strict=True)]


def jpegs(folder: str) -> list[str]:
    """JPEG photos below a folder."""
    return sorted(str(path) for kind in ("*.jpg", "*.JPEG") for path in Path(folder).rglob(kind))


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a function returns that runs in a fresh process, and that process's `peak_mb`."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=cli.prepare_tensorflow) as pool:
        result = pool.submit(work, *arguments).result()
        if "seconds" in result:
            result["peak_mb"] = pool.submit(megabytes, "VmHWM").result()
        return result


def megabytes(field: str = "VmRSS", pid: int | str = "self") -> float:
    """Resident memory of a process (Linux), mapped files included: now, or its highest so far (`VmHWM`)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def material(data: str | None) -> Path:
    """The folder that holds `sketchy_mini` and its neighbours: `--data`, else below TF_SSGN_SHARED."""
    return Path(data or os.environ.get("TF_SSGN_SHARED", "../shared") + "/data")
