"""Several runs as one model: their codes side by side, so that a cosine is the mean of theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common import cli
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import protocol, score_features
from tf_ssgn.evaluation.expansion import expand
from tf_ssgn.training.run_folder import open_run


def evaluate_ensemble(
    folders: Sequence[str | Path],
    views: int | None = None,
    photo_views: int | None = None,
    *,
    k: Sequence[int] | None = None,
    transductive: int | None = None,
    cache: str | None = None,
) -> dict[str, Any]:
    """The plain protocol for two or more runs of one split, each on its own dataset and split; backbones may differ.

    Returns what `evaluate_run` does, without stages and fine-grained accuracy; nothing is written. UserError: fewer
    than two runs, or runs that were not made for the same queries and photos.
    """
    if len(folders) < 2:
        raise UserError(f"--ensemble: received {len(folders)} run, expected two or more")
    runs = [open_run(folder) for folder in folders]
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        if run.split.checksum != first.split.checksum:
            raise UserError(f"{folder} has the split {run.split.name}, {folders[0]} {first.split.name}; expected one")
    from tf_ssgn.runs.encoder import RunEncoder  # TensorFlow, once the runs are known to be there

    sides, names = [], []
    for folder, run in zip(folders, runs, strict=True):
        dataset = open_dataset(run.data, duplicates=run.config.data.duplicates, exclude=run.config.data.exclude)
        encoder = RunEncoder(run, views, photo_views, cache)
        images = [encoder.images(items, run.split.unseen) for items in (dataset.sketches, dataset.photos)]
        sides.append([encoder.codes(one)["code"] for one in images])
        names.append([[(item.label, Path(item.path).name) for item in one.items] for one in images])
        if names[-1] != names[0]:
            raise UserError(f"{folder} and {folders[0]} have other queries or photos; expected the same dataset")
    queries, gallery = (np.concatenate(codes, axis=1) / np.sqrt(len(sides)) for codes in zip(*sides, strict=True))
    labels = [[label for label, _ in side] for side in names[0]]
    cut = tuple(k or first.config.evaluation.k)
    result = protocol.evaluate_zero_shot(queries, labels[0], gallery, labels[1], k=cut, seed=first.config.training.seed)
    metrics = {**result.metrics, "dataset": dataset.name, "model": f"{len(folders)} runs together", "notes": []}
    metrics["split"] = {"name": first.split.name, "checksum": first.split.checksum}
    if transductive:
        moved = expand(queries, gallery, transductive)
        metrics["transductive"] = {str(transductive): score_features(moved[0], labels[0], moved[1], labels[1], k=cut)}
    return cli.jsonable(metrics)
