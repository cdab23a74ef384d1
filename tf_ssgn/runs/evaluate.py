"""A run's model on the test classes of a dataset: codes, every protocol, `metrics.json` and the report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tf_ssgn.evaluation.report import charts
from tf_ssgn.evaluation.report import page as report
from tf_ssgn.evaluation.report.facts import NAME_ALONE, TOLD
from tf_ssgn.evaluation.report.pictures import Grid, Picture
from tf_ssgn.training.run_folder import Run, open_run

if TYPE_CHECKING:
    from tf_ssgn.runs.encoder import RunEncoder
    from tf_ssgn.training.images import Images

STAGES = {"sketch": "sketch_code", "coarse": "coarse", "fine": "fine"}
REPORTED = 4  # best, median and worst queries each in the report
SHOWN = 10  # photos per query there


@dataclass(frozen=True)
class Subject:
    """What a run is evaluated on; None is what the run was made with."""

    data: str | None = None
    split: str | None = None
    duplicates: bool | None = None
    views: int | None = None
    photo_views: int | None = None
    k: Sequence[int] | None = None

    def twice(self, run: Run) -> bool:
        """Whether photos that a dataset holds twice are twice in the gallery."""
        return run.config.data.duplicates if self.duplicates is None else self.duplicates


@dataclass(frozen=True)
class Further:
    """What is measured besides the plain protocol: `bits` of ITQ codes, `transductive` neighbours of
    `expansion.expand`, and another run's folder to compare with."""

    generalized: bool = False
    bits: int | None = None
    transductive: int | None = None
    against: str | None = None


def evaluate_run(
    folder: str | Path, subject: Subject = Subject(), further: Further = Further(), cache: str | None = None
) -> tuple[dict[str, Any], Path]:
    """Evaluates a run; writes and returns `metrics.json` (None for what is not defined) and the folder it went to. What
    is not the run's own dataset, split and choice of duplicates goes into `RUN/evaluations/<dataset>-<split>`."""
    run = open_run(folder)
    dataset = _dataset(run, subject)
    split = _split(run, dataset, subject)
    if not split.unseen:
        raise UserError(f"the split {split.name} has no unseen classes to evaluate on")
    target = _target(run, dataset, split, subject)
    other = per_query.load(Path(further.against) / target.relative_to(run.path)) if further.against else None
    from tf_ssgn.runs.encoder import RunEncoder  # TensorFlow, once all that is asked for is there

    encoder = RunEncoder(run, subject.views, subject.photo_views, cache)
    test = _encoded(encoder, dataset, split, subject)

    plain = protocol.evaluate_zero_shot(*test.arrays, k=test.k, seed=run.config.training.seed)
    metrics = {**plain.metrics, "stages": _stages(test), "fine_grained": test.fine_grained(test.codes)}
    metrics |= _told(test, split) | _about(encoder, dataset, split, subject)
    if further.generalized:
        metrics["generalized"] = _generalized(test, dataset, split)
        if subject.data is None:
            metrics["notes"].append("generalized: the seen queries and photos are those of training")
    if further.bits:
        metrics["binary"] = _binary(test, dataset if subject.data is None else None, further.bits)
    if further.transductive:
        moved = expand(test.codes, test.photo_codes, further.transductive)
        metrics["transductive"] = {str(further.transductive): test.families(*moved)}
    names = test.names(dataset)
    if other:
        ours = per_query.Kept(plain.per_query, names[0], per_query.digest(names[1]))
        sides = {"of": printable(str(folder)), "name": printable(str(further.against))}
        metrics["against"] = {**sides, "families": per_query.paired(ours, other)}
    metrics = cli.jsonable(metrics)
    per_query.save(target, plain.per_query, *names)
    _write(target, metrics, test, _grids(plain, test), f"{run.path.name} on {dataset.name}, {split.name}")
    return metrics, target


@dataclass(frozen=True)
class Encoded:
    """The queries and the gallery of the classes to evaluate on: `stages` is what `SSGN.retrieve` gives for the
    queries, `photo_codes` float32 `[N, d]`; and the cut-offs `k` of the metrics."""

    encoder: RunEncoder
    queries: Images
    gallery: Images
    stages: dict[str, np.ndarray]
    photo_codes: np.ndarray
    k: tuple[int, ...]

    @property
    def codes(self) -> np.ndarray:
        """The retrieval codes of the queries `[Q, d]`."""
        return self.stages["code"]

    @property
    def arrays(self) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
        """Codes and labels of both sides, as the protocols take them."""
        return self.codes, self.queries.labels, self.photo_codes, self.gallery.labels

    def names(self, dataset: Dataset) -> tuple[list[str], list[str]]:
        """The files of both sides, below the dataset's folder."""
        sides = (self.queries, self.gallery)
        queries, gallery = ([os.path.relpath(item.path, dataset.root) for item in side.items] for side in sides)
        return queries, gallery

    def families(self, codes: np.ndarray, photos: np.ndarray | None = None) -> dict[str, Any]:
        """All families for other codes of the same queries, and of the same photos."""
        photos = self.photo_codes if photos is None else photos
        return score_features(codes, self.queries.labels, photos, self.gallery.labels, k=self.k)

    def fine_grained(self, codes: np.ndarray) -> dict[str, Any]:
        """Is a sketch's own photo among the first of its class, for other codes of the same queries?"""
        own, photos = ([item.instance for item in side.items] for side in (self.queries, self.gallery))
        return protocol.fine_grained(codes, self.queries.labels, own, self.photo_codes, self.gallery.labels, photos)


def _dataset(run: Run, subject: Subject) -> Dataset:
    if subject.data is None and not os.path.isdir(run.data):
        raise UserError(
            f"the dataset that the run {run.path} names, {run.data}, is not there; give --data, or note its new place "
            f"with the run's own `train` command"
        )
    return open_dataset(subject.data or run.data, duplicates=subject.twice(run), exclude=run.config.data.exclude)


def _split(run: Run, dataset: Dataset, subject: Subject) -> Split:
    """The classes to evaluate on, spelled as the dataset spells them; see `--data` for what comes first."""
    if subject.split is not None:
        return load_split(subject.split, dataset.classes, need_seen=False)
    if subject.data is None:
        return run.split
    own = Path(subject.data) / "split.json"
    if own.is_file():
        return load_split(str(own), dataset.classes, need_seen=False)
    matched, missing = match(run.split.unseen, dataset.classes)
    if not missing:
        return dataclasses.replace(run.split, unseen=tuple(sorted(matched.values())))
    drawn = tuple(sorted({item.label for item in dataset.sketches}))
    note = f"no split was given: all {len(drawn)} classes that have sketches are queried"
    return Split("all", (), drawn, (), checksum((), drawn), (note,))


def _target(run: Run, dataset: Dataset, split: Split, subject: Subject) -> Path:
    """Where the evaluation goes: into the run, if it is of the run's own data."""
    if subject.split is None and subject.data is None and subject.twice(run) == run.config.data.duplicates:
        return run.path
    return run.path / "evaluations" / f"{dataset.name}-{split.name}{'-duplicates' if subject.twice(run) else ''}"


def _encoded(encoder: RunEncoder, dataset: Dataset, split: Split, subject: Subject) -> Encoded:
    queries, gallery = (encoder.images(items, split.unseen) for items in (dataset.sketches, dataset.photos))
    codes, photo_codes = encoder.codes(queries), encoder.codes(gallery)["code"]
    return Encoded(encoder, queries, gallery, codes, photo_codes, tuple(subject.k or encoder.run.config.evaluation.k))


def _stages(test: Encoded) -> dict[str, Any]:
    """All families of the untrained features and of every stage that the model has."""
    from tf_ssgn.training.fit import untrained_features

    run, trainer = test.encoder.run, test.encoder.trainer
    untrained = (untrained_features(run, trainer, images) for images in (test.queries, test.gallery))
    stages = {name: test.families(test.stages[key]) for key, name in STAGES.items() if key in test.stages}
    return {"untrained": test.families(*untrained), **stages}


def _told(test: Encoded, split: Split) -> dict[str, Any]:
    """The rows of queries that are told their class's name, as `runtime.words` adds a word, and of the name alone;
    nothing for a model without words, or where a name has no vector."""
    run = test.encoder.run
    if not run.has_words or not run.semantics.knows(split.unseen):
        return {}
    shifts = run.semantics.of(tuple(test.queries.labels)) @ np.asarray(test.encoder.trainer.ssgn.told)
    told = unit(test.codes + shifts)
    return {
        "told": {TOLD: test.families(told), NAME_ALONE: test.families(unit(shifts))},
        "told_fine_grained": {
            "sketch": test.fine_grained(test.codes)["acc_at_1"],
            f"sketch, {TOLD}": test.fine_grained(told)["acc_at_1"],
        },
    }


def _about(encoder: RunEncoder, dataset: Dataset, split: Split, subject: Subject) -> dict[str, Any]:
    """What was evaluated, on what; classes that training showed are a loud warning."""
    run = encoder.run
    known = {normalise(name) for name in run.classes}
    trained_on = sorted(name for name in split.unseen if normalise(name) in known)
    notes = [*dataset.notes, *split.notes]
    if trained_on:
        some = f"{len(trained_on)} of these classes: {', '.join(trained_on)}"
        notes.append(f"NOT zero-shot: the model was trained on {some}")
        cli.log(f"warning: {notes[-1]}")
    return {
        "views": encoder.views["sketch"],
        "photo_views": encoder.views["photo"],
        "trained_on": trained_on,
        "dataset": dataset.name,
        "duplicates": subject.twice(run),
        "split": {"name": split.name, "checksum": split.checksum, "unseen": list(split.unseen)},
        "model": f"SSGN, {run.config.model.backbone}, {run.config.training.precision}",
        "seed": run.config.training.seed,
        "versions": run.versions,
        "notes": notes,
    }


def _generalized(test: Encoded, dataset: Dataset, split: Split) -> dict[str, Any]:
    """With the training classes that the dataset has and that are not evaluated as unseen ones, in its spelling."""
    encoder, classes = test.encoder, match(test.encoder.run.classes, dataset.classes)[0].values()
    seen = tuple(name for name in classes if name not in split.unseen)
    if not seen:
        raise UserError(f"--generalized: {dataset.name} has no other classes that the run was trained on; leave it out")
    sketches, photos = (encoder.images(items, seen) for items in (dataset.sketches, dataset.photos))
    codes, labels, photo_codes, photo_labels = test.arrays
    return protocol.generalized(
        np.concatenate([codes, encoder.codes(sketches)["code"]]), [*labels, *sketches.labels],
        np.concatenate([photo_codes, encoder.codes(photos)["code"]]), [*photo_labels, *photos.labels], seen, k=test.k,
    )  # fmt: skip


def _binary(test: Encoded, training: Dataset | None, bits: int) -> dict[str, Any]:
    """As ITQ codes, fitted on training codes: fitting on the gallery would be transductive."""
    encoder, run, data = test.encoder, test.encoder.run, test.encoder.run.config.data
    training = training or open_dataset(run.data, duplicates=data.duplicates, exclude=data.exclude)
    sides = (training.sketches, training.photos)
    codes = [encoder.codes(encoder.images(items, run.classes))["code"] for items in sides]
    itq = hashing.fit_itq(np.concatenate(codes), bits, seed=run.config.training.seed)
    return {str(bits): protocol.evaluate_binary(itq, *test.arrays, k=test.k)["families"]}


def _grids(plain: protocol.ZeroShotResult, test: Encoded) -> list[Grid]:
    """Best, median and worst queries with their first photos."""
    values = plain.per_query.values[LEADING_FAMILY]["map_all"]
    grids = []
    for kind, rows in statistics.extremes(values, REPORTED).items():
        if not len(rows):
            continue
        shown = [test.queries.items[row] for row in rows]
        labels = [item.label for item in shown]
        photos, _, hits = inspection.nearest(test.codes[rows], labels, test.photo_codes, test.gallery.labels, SHOWN)
        grid = Grid(f"{kind.capitalize()} queries (average precision beside each)", [])
        for item, row, photo_rows, right in zip(shown, rows, photos, hits, strict=True):
            near = [(test.gallery.items[p], bool(hit)) for p, hit in zip(photo_rows, right, strict=True)]
            query = Picture(item.path, f"{item.label} {values[row]:.2f}")
            grid.rows.append((query, [Picture(photo.path, photo.label, hit) for photo, hit in near]))
        grids.append(grid)
    return grids


def _write(target: Path, metrics: dict[str, Any], test: Encoded, grids: list[Grid], title: str) -> None:
    """The report, the figures, and last `metrics.json`: what it says is then beside it."""
    points = inspection.code_map(*test.arrays)
    report.write_report(target / "report.html", metrics, grids, title=title, points=points)
    charts.write_figures(target / "figures", metrics, points)
    atomic.write_json(target / "metrics.json", metrics)
