"""A run's model on the test classes of a dataset: codes, every protocol, `metrics.json` and the report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common import atomic, cli
from tf_ssgn.common.names import match, normalise, printable
from tf_ssgn.common.vectors import unit
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.data.datasets.items import Dataset, open_dataset
from tf_ssgn.data.datasets.splits import Split, checksum, load_split
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import hashing, inspection, per_query, protocol, score_features, statistics
from tf_ssgn.evaluation.expansion import expand
from tf_ssgn.evaluation.report import figures
from tf_ssgn.evaluation.report import page as report
from tf_ssgn.evaluation.report.facts import NAME_ALONE, TOLD
from tf_ssgn.evaluation.report.pictures import Grid, Picture
from tf_ssgn.training.run_folder import Run, open_run

STAGES = {"sketch": "sketch_code", "coarse": "coarse", "fine": "fine"}
REPORTED = 4  # best, median and worst queries each in the report
SHOWN = 10  # photos per query there


def evaluate_run(
    folder: str | Path,
    data: str | None = None,
    split: str | None = None,
    views: int | None = None,
    photo_views: int | None = None,
    *,
    duplicates: bool | None = None,
    k: Sequence[int] | None = None,
    generalized: bool = False,
    bits: int | None = None,
    transductive: int | None = None,
    cache: str | None = None,
    against: str | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluates a run; writes and returns `metrics.json` (None for what is not defined) and the folder it went to.

    What is not the run's own dataset, split and choice of duplicates goes into `RUN/evaluations/<dataset>-<split>`.
    """
    from tf_ssgn.training.fit import untrained_features

    run = open_run(folder)
    twice = run.config.data.duplicates if duplicates is None else duplicates
    if data is None and not os.path.isdir(run.data):
        raise UserError(
            f"the dataset that the run {run.path} names, {run.data}, is not there; give --data, or note its new place "
            f"with the run's own `train` command"
        )
    dataset = open_dataset(data or run.data, duplicates=twice)
    own = split is None and data is None and twice == run.config.data.duplicates
    chosen = _choose_split(run, dataset, data, split)
    if not chosen.unseen:
        raise UserError(f"the split {chosen.name} has no unseen classes to evaluate on")
    name = f"{dataset.name}-{chosen.name}{'-duplicates' if twice else ''}"
    target = run.path if own else run.path / "evaluations" / name
    other = per_query.load(_beside(target, run.path, against)) if against else None
    views = run.config.evaluation.views if views is None else views
    photo_views = run.config.evaluation.photo_views if photo_views is None else photo_views
    encoder = RunEncoder(run, views, photo_views, cache)

    cut = tuple(k or run.config.evaluation.k)
    queries, gallery = (encoder.images(items, chosen.unseen) for items in (dataset.sketches, dataset.photos))
    sketch_codes, photo_codes = encoder.codes(queries), encoder.codes(gallery)["code"]
    labels = (queries.labels, gallery.labels)
    arrays = (sketch_codes["code"], labels[0], photo_codes, labels[1])
    result = protocol.evaluate_zero_shot(*arrays, k=cut, seed=run.config.training.seed)

    def families(codes: np.ndarray, photos: np.ndarray = photo_codes) -> dict[str, Any]:
        return score_features(codes, labels[0], photos, labels[1], k=cut)

    def fine_grained(codes: np.ndarray) -> dict[str, Any]:
        own = ([item.instance for item in side.items] for side in (queries, gallery))
        return protocol.fine_grained(codes, labels[0], next(own), photo_codes, labels[1], next(own))

    stages = {
        "untrained": families(*(untrained_features(run, encoder.trainer, images) for images in (queries, gallery)))
    }
    stages |= {name: families(sketch_codes[key]) for key, name in STAGES.items() if key in sketch_codes}
    told = _told(encoder, chosen.unseen, queries.labels, sketch_codes["code"])
    known = {normalise(name) for name in run.classes}
    trained_on = sorted(name for name in chosen.unseen if normalise(name) in known)
    notes = [*dataset.notes, *chosen.notes]
    if trained_on:
        notes.append(
            f"NOT zero-shot: the model was trained on {len(trained_on)} of these classes: {', '.join(trained_on)}"
        )
        cli.log(f"warning: {notes[-1]}")

    metrics: dict[str, Any] = {
        **result.metrics,
        "stages": stages,
        "fine_grained": fine_grained(arrays[0]),
        **({"told": {name: families(codes) for name, codes in told.items()}} if told else {}),
        "views": views,
        "photo_views": photo_views,
        "trained_on": trained_on,
        "dataset": dataset.name,
        "duplicates": twice,
        "split": {"name": chosen.name, "checksum": chosen.checksum, "unseen": list(chosen.unseen)},
        "model": f"SSGN, {run.config.model.backbone}, {run.config.training.precision}",
        "seed": run.config.training.seed,
        "versions": run.versions,
        "notes": notes,
    }
    if TOLD in told:
        codes_of = {"sketch": arrays[0], f"sketch, {TOLD}": told[TOLD]}
        metrics["told_fine_grained"] = {name: fine_grained(codes)["acc_at_1"] for name, codes in codes_of.items()}
    if generalized:
        seen = _seen_classes(run, dataset, chosen.unseen)
        sketches, photos = (encoder.images(items, seen) for items in (dataset.sketches, dataset.photos))
        metrics["generalized"] = protocol.generalized(
            np.concatenate([arrays[0], encoder.codes(sketches)["code"]]), [*labels[0], *sketches.labels],
            np.concatenate([arrays[2], encoder.codes(photos)["code"]]), [*labels[1], *photos.labels], seen, k=cut,
        )  # fmt: skip
        if data is None:
            notes.append("generalized: the seen queries and photos are those of training")
    if bits:
        # Fitted on training codes: fitting on the gallery would be transductive.
        training = dataset if data is None else open_dataset(run.data, duplicates=run.config.data.duplicates)
        codes = [
            encoder.codes(encoder.images(items, run.classes))["code"] for items in (training.sketches, training.photos)
        ]
        itq = hashing.fit_itq(np.concatenate(codes), bits, seed=run.config.training.seed)
        metrics["binary"] = {str(bits): protocol.evaluate_binary(itq, *arrays, k=cut)["families"]}

    if transductive:
        metrics["transductive"] = {str(transductive): families(*expand(arrays[0], arrays[2], transductive))}

    names = [[os.path.relpath(item.path, dataset.root) for item in side.items] for side in (queries, gallery)]
    if other:
        ours = per_query.Kept(result.per_query, names[0], per_query.digest(names[1]))
        sides = {"of": printable(str(folder)), "name": printable(str(against))}
        metrics["against"] = {**sides, "families": per_query.paired(ours, other)}
    metrics = cli.jsonable(metrics)
    per_query.save(target, result.per_query, *names)
    points = inspection.code_map(*arrays)
    report.write_report(
        target / "report.html", metrics, _grids(result, arrays, queries, gallery),
        title=f"{run.path.name} on {dataset.name}, {chosen.name}", points=points,
    )  # fmt: skip
    figures.write_figures(target / "figures", metrics, points)
    atomic.write_json(target / "metrics.json", metrics)  # last: what it says is then beside it
    return metrics, target


def _told(
    encoder: RunEncoder, classes: tuple[str, ...], labels: Sequence[str], codes: np.ndarray
) -> dict[str, np.ndarray]:
    """The codes `[N, d]` of queries that are told their class's name, as `runtime.words` adds a word, and of the name
    alone; nothing for a model without words, or where a name has no vector."""
    run, ssgn = encoder.run, encoder.trainer.ssgn
    if not run.has_words or not run.semantics.knows(classes):
        return {}
    shifts = run.semantics.of(tuple(labels)) @ np.asarray(ssgn.told)
    return {TOLD: unit(codes + shifts), NAME_ALONE: unit(shifts)}


def _choose_split(run: Run, dataset: Dataset, data: str | None, split: str | None) -> Split:
    """The classes to evaluate on, spelled as the dataset spells them; see `--data` for what comes first."""
    if split is not None:
        return load_split(split, dataset.classes, need_seen=False)
    if data is None:
        return run.split
    own = Path(data) / "split.json"
    if own.is_file():
        return load_split(str(own), dataset.classes, need_seen=False)
    matched, missing = match(run.split.unseen, dataset.classes)
    if not missing:
        return dataclasses.replace(run.split, unseen=tuple(sorted(matched.values())))
    drawn = tuple(sorted({item.label for item in dataset.sketches}))
    note = f"no split was given: all {len(drawn)} classes that have sketches are queried"
    return Split("all", (), drawn, (), checksum((), drawn), (note,))


def _seen_classes(run: Run, dataset: Dataset, unseen: tuple[str, ...]) -> tuple[str, ...]:
    """The training classes that the dataset has and that are not evaluated as unseen ones, in its spelling."""
    seen = [name for name in match(run.classes, dataset.classes)[0].values() if name not in unseen]
    if not seen:
        raise UserError(f"--generalized: {dataset.name} has no other classes that the run was trained on; leave it out")
    return tuple(seen)


def _beside(target: Path, run: Path, other: str) -> Path:
    """Where the other run keeps the same evaluation."""
    return Path(other) / target.relative_to(run)


class RunEncoder:
    """Images of a dataset to the codes of a run's model."""

    def __init__(self, run: Run, views: int, photo_views: int, cache: str | None):
        from tf_ssgn.common.folders import cache_folder
        from tf_ssgn.runtime.features import FeatureCache
        from tf_ssgn.training.fit import restore_trainer

        self.run, self.views = run, {"sketch": views, "photo": photo_views}
        self.trainer = restore_trainer(run)
        folder = None if self.trainer.finetuned else Path(cache) if cache else cache_folder()
        self.features = FeatureCache(folder, self.trainer.backbone, run.config.model.backbone)

    def images(self, items: Sequence, classes: Sequence[str]):
        """The readable items of some classes with their taps."""
        from tf_ssgn.training.fit import read_images

        wanted = set(classes)
        chosen = [item for item in items if item.label in wanted]
        if not chosen:
            raise UserError(f"the dataset has no images of the classes to evaluate, such as {sorted(wanted)[0]!r}")
        config = self.run.config
        views = self.views[chosen[0].modality]
        return read_images(self.features, chosen, views, config.data.max_bad_files, bool(config.model.contours))

    def codes(self, images, semantics: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What `SSGN.retrieve` gives, averaged over the views; for photos `code`."""
        from tf_ssgn.training.encode import encode_taps

        modality = images.items[0].modality
        parts = [
            encode_taps(self.trainer, images.taps[:, view], modality, semantics) for view in range(images.taps.shape[1])
        ]
        return {key: unit(np.sum([part[key] for part in parts], axis=0)) for key in parts[0]}


def _grids(result, arrays, queries, gallery) -> list:
    """Best, median and worst queries with their first photos."""
    values = result.per_query.values[LEADING_FAMILY]["map_all"]
    grids = []
    for kind, rows in statistics.extremes(values, REPORTED).items():
        if not len(rows):
            continue
        shown = [queries.items[row] for row in rows]
        photos, _, hits = inspection.nearest(
            arrays[0][rows], [item.label for item in shown], arrays[2], arrays[3], SHOWN
        )
        pictures = [
            (
                Picture(item.path, f"{item.label} {values[row]:.2f}"),
                [
                    Picture(gallery.items[p].path, gallery.items[p].label, bool(h))
                    for p, h in zip(photo_rows, right, strict=True)
                ],
            )
            for item, row, photo_rows, right in zip(shown, rows, photos, hits, strict=True)
        ]
        grids.append(Grid(f"{kind.capitalize()} queries (average precision beside each)", pictures))
    return grids
