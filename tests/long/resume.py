"""Real kills: training is ended by `kill -9` at random moments and continued, against training that nobody touched."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.config import Config, preset, to_dict

DEADLINE_SECONDS = 600  # of one process


def small_config(**training: Any) -> Config:
    """The demo's, smaller, with the tiny backbone and validation classes: both phases of training within seconds."""
    demo = preset("demo")
    return dataclasses.replace(
        demo,
        data=dataclasses.replace(demo.data, image_size=32, validation_classes=4, pairs="instance"),
        model=dataclasses.replace(
            demo.model,
            backbone="tiny",
            weights="none",
            pooling="average",
            code=32,
            hidden=24,
            latent=4,
            samples=2,
        ),
        training=dataclasses.replace(demo.training, learning_rate=2e-3, batch_classes=8, **training),
    )


def measure(config: Config, data: Path, folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Trains once undisturbed and once with so many kills, at uniformly drawn moments of what training takes.

    Returns:
        `kills`, phase and epoch in which each fell; `largest_difference` of any weight of the two ends;
        `history_equal`, whether both histories say the same.
    """
    rng = np.random.default_rng(seed)
    settings = folder / "config.json"
    settings.write_text(json.dumps(to_dict(config)))
    seconds = _train(settings, data, folder / "whole", None)
    moments: list[str] = []
    while len(moments) < kills:
        # The folder is trained to its end with the kills that it takes; then another one has the next.
        run = folder / f"killed-{len(moments)}"
        while len(moments) < kills and _train(settings, data, run, float(rng.uniform(0, seconds))) < 0:
            moments.append(_position(run))
        _train(settings, data, run, None)
    whole, others = folder / "whole", sorted(folder.glob("killed-*"))
    return {
        "kills": moments,
        "seconds": round(seconds, 2),
        "largest_difference": max(_difference(whole, other) for other in others),
        "history_equal": all(_history(other) == _history(whole) for other in others),
    }


def _train(settings: Path, data: Path, run: Path, kill_after: float | None) -> float:
    """Trains in a process of its own; seconds from when it is ready, or -1 where it was killed."""
    words = [sys.executable, "-m", "tests.long.resume", str(settings), str(data), str(run)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.perf_counter()
        try:
            _, errors = process.communicate(timeout=DEADLINE_SECONDS if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return -1.0
        if process.returncode:
            raise AssertionError(f"training failed without having been killed: {errors[-500:]}")
    return time.perf_counter() - start


def _position(run: Path) -> str:
    lines = _history(run)
    return f"after {lines[-1]['phase']} {lines[-1]['epoch']}" if lines else "before the first epoch"


def _history(run: Path) -> list[dict[str, Any]]:
    """The run's epochs, without what a clock says."""
    path = run / "history.jsonl"
    text = path.read_text() if path.exists() else ""
    # A kill may leave half a line, which the next start removes.
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


def _difference(left: Path, right: Path) -> float:
    """Of the best weights of two runs, the largest of any."""
    from tf_ssgn.training.fit import restore_trainer
    from tf_ssgn.training.run_folder import open_run

    ours, theirs = (restore_trainer(open_run(run)).get_weights() for run in (left, right))
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True) if a.size)


def main(settings: str, data: str, run: str) -> None:
    """What the process that is killed does."""
    from tf_ssgn.config import from_dict
    from tf_ssgn.train import train
    from tf_ssgn.training import callbacks

    callbacks.STEP_CHECKPOINT_SECONDS = (
        0.0  # epochs are short here: checkpoints within them, as often as their cost allows
    )
    config = from_dict(json.loads(Path(settings).read_text()))
    cache = str(Path(settings).parent / "cache")
    import tensorflow  # noqa: F401

    print("ready", flush=True)
    train(config, data, None, run, cache)


if __name__ == "__main__":
    main(*sys.argv[1:])
