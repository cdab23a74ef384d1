"""What more photos take, from measured costs: the plan of docs/scale.md, and the simulations behind its lines.

Everything that is linear is multiplied; what is not (work lost to dying executors, merging the answers of many
segments) is simulated. `python -m tf_ssgn.bench scale` prints both.
"""

import heapq
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.settings import MILVUS, PART_LEAST, PART_MOST, PARTS

PHOTOS = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
DAY = 86_400.0


@dataclass(frozen=True)
class Costs:
    """Of one photo, row or query.

    `core` and `gpu` are images per second, the latter an assumption unless measured; `photo_bytes` those in the store,
    `row_bytes` those in parquet beside the vector; `plan` rows per second and core that are planned, scheduled and
    committed; `segment_ms` core-milliseconds of a query in one segment; `index` bytes in memory for each byte of a
    vector, without copies and replicas.
    """

    core: float
    gpu: float = 2000.0
    photo_bytes: float = 45_000.0
    row_bytes: float = 200.0
    dimension: int = 512
    plan: float = 1_000.0
    entry_bytes: float = 190.0
    segment_ms: float = 1.2
    index: float = 1.3
    replicas: int = 2


def size(photos: int, costs: Costs) -> dict[str, float]:
    """What so many photos take; times are for embedding within a day."""
    per_part = min(PART_MOST, max(PART_LEAST, photos // PARTS))
    parts = -(-photos // per_part)
    vector = 4 * costs.dimension
    segments = max(1, -(-photos // MILVUS.segment))
    return {
        "photos": photos,
        "core_hours": photos / costs.core / 3600,
        "cores_for_a_day": photos / costs.core / DAY,
        "gpus_for_a_day": photos / costs.gpu / DAY,
        "read_gbit_s_for_a_day": photos * costs.photo_bytes * 8 / DAY / 1e9,
        "parquet_tb": photos * (vector + costs.row_bytes) / 1e12,
        "parts": parts,
        "manifest_mb": parts * costs.entry_bytes / 1e6,
        "planning_core_hours": photos / costs.plan / 3600,
        "index_memory_tb": photos * vector * costs.index * costs.replicas / 1e12,
        "segments": segments,
        "core_ms_per_query": segments * costs.segment_ms,
        "queries_per_s_of_1000_cores": 1000 / (segments * costs.segment_ms / 1000),
        "one_reader_hours": photos * vector / 1e9 / 3600,  # of all vectors, at 1 GB/s
    }


def lost_work(executors: int, part_seconds: float, hours_between: float, parts: int) -> dict[str, float]:
    """Simulates a run whose executors die at random, each on average every `hours_between`, and return at once: how
    much longer it takes than undisturbed, and the share of the work that is lost. Each executor takes the next part
    when it is free; a part whose executor dies is begun again."""
    random = np.random.default_rng(0)
    free = [(0.0, number) for number in range(executors)]
    heapq.heapify(free)
    dies = random.exponential(hours_between * 3600, executors)
    left, lost, end = parts, 0.0, 0.0
    while left:
        now, executor = heapq.heappop(free)
        if now + part_seconds > dies[executor]:
            lost += max(0.0, dies[executor] - now)
            now = max(now, float(dies[executor]))
            dies[executor] = now + random.exponential(hours_between * 3600)
        else:
            now += part_seconds
            left -= 1
            end = max(end, now)
        heapq.heappush(free, (now, executor))
    ideal = -(-parts // executors) * part_seconds
    return {"slower": end / ideal - 1, "lost": lost / (parts * part_seconds)}


def merging(segments: int) -> dict[str, Any]:
    """Cuts exact search over random scores into segments: whether the merged answer is the whole's, and its cost. The
    proxy of a distributed store does the same with the answers of its nodes."""
    random = np.random.default_rng(0)
    k, rows = 10, 20
    scores = random.random((segments, rows))
    best = np.partition(scores, rows - k, axis=1)[:, -k:]
    start = time.perf_counter()
    merged = np.sort(best.reshape(-1))[-k:]
    spent = time.perf_counter() - start
    return {"equal": bool(np.array_equal(merged, np.sort(scores.reshape(-1))[-k:])), "ms": spent * 1e3}
