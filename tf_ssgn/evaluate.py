"""Evaluate a trained run on classes it never saw, or the features of any other model.

python -m tf_ssgn.evaluate runs/s21 --json
python -m tf_ssgn.evaluate runs/s21 --data OTHER --split other.json
python -m tf_ssgn.evaluate --features features.npz      # queries, query_labels, gallery, gallery_labels
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn import atomic, cli
from tf_ssgn.config import preset
from tf_ssgn.errors import UserError

STAGES = {"sketch": "sketch_code", "coarse": "coarse", "fine": "fine"}
REPORTED = 4  # best, median and worst queries each in the report
SHOWN = 10  # photos per query there


def main(argv: list[str] | None = None) -> int | None:
    parser = cli.Parser(
        prog="python -m tf_ssgn.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="run folder")
    parser.add_argument("--features", metavar="FILE", help="evaluate the arrays of an .npz instead of a run")
    parser.add_argument("--split", metavar="S", help="another split than the run's own: a name or a JSON file")
    parser.add_argument("--data", metavar="DIR", help="another dataset than the run's own")
    parser.add_argument("--views", type=int, metavar="N", help="extra views averaged per image; default: the run's")
    parser.add_argument("--generalized", action="store_true", help="also with seen classes among queries and gallery")
    parser.add_argument("--hash", type=int, metavar="BITS", help="also as ITQ codes of so many bits, Hamming distance")
    parser.add_argument(
        "--cache", metavar="DIR", help="feature cache; else TF_SSGN_CACHE, else the user's cache folder"
    )
    parser.add_argument("--json", action="store_true", help="print metrics.json on one line")
    arguments = parser.parse_args(argv)
    if bool(arguments.run) == bool(arguments.features):
        raise UserError("expected either a run folder or --features FILE; see python -m tf_ssgn.evaluate --help")
    if arguments.views is not None and not 0 <= arguments.views <= 15:
        raise UserError(f"--views: received {arguments.views}, expected 0 to 15")

    from tf_ssgn.evaluation import report

    if arguments.features:
        metrics = evaluate_features(arguments.features)
    else:
        metrics, folder = evaluate_run(
            arguments.run, arguments.data, arguments.split, arguments.views,
            generalized=arguments.generalized, bits=arguments.hash, cache=arguments.cache,
        )  # fmt: skip
        cli.log(f"wrote {folder / 'metrics.json'} and {folder / 'report.html'}")
    if arguments.json:
        cli.print_json(metrics)
    else:
        print(report.format_table(metrics))
        for name, families in metrics.get("stages", {}).items():
            print(f"{name:>12}  mAP@all (sem_pcyc) {families['sem_pcyc']['map_all']:.4f}")
    return 0


def evaluate_features(file: str) -> dict[str, Any]:
    """All families over `queries`, `query_labels`, `gallery`, `gallery_labels` of an `.npz`."""
    from tf_ssgn.evaluation import protocol

    names = ("queries", "query_labels", "gallery", "gallery_labels")
    try:
        with np.load(file, allow_pickle=False) as stored:
            missing = [name for name in names if name not in stored.files]
            if missing:
                raise UserError(f"{file} lacks {', '.join(missing)}; expected the arrays {', '.join(names)}")
            arrays = [stored[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: {error}; expected an .npz file with {', '.join(names)}") from None
    queries, query_labels, gallery, gallery_labels = arrays
    result = protocol.evaluate_zero_shot(
        queries, query_labels, gallery, gallery_labels, k=preset("sketchy").evaluation.k, progress=True
    )
    return cli.jsonable({"dataset": file, **result.metrics})


def evaluate_run(
    folder: str | Path,
    data: str | None = None,
    split: str | None = None,
    views: int | None = None,
    *,
    generalized: bool = False,
    bits: int | None = None,
    cache: str | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluates a run; writes and returns `metrics.json` (None for what is not defined) and the folder it went to."""
    from tf_ssgn.data.datasets import open_dataset
    from tf_ssgn.data.splits import load_split
    from tf_ssgn.evaluation import hashing, inspection, protocol, report, score_features
    from tf_ssgn.training.fit import untrained_features
    from tf_ssgn.training.run_folder import open_run

    run = open_run(folder)
    dataset = open_dataset(data or run.data)
    own = split is None
    chosen = (
        run.split if own and data is None else load_split(split or run.split.name, dataset.classes, need_seen=False)
    )
    if not chosen.unseen:
        raise UserError(f"the split {chosen.name} has no unseen classes to evaluate on")
    views = run.config.evaluation.views if views is None else views
    encoder = Encoder(run, views, cache)

    cut = run.config.evaluation.k
    queries, gallery = (encoder.images(items, chosen.unseen) for items in (dataset.sketches, dataset.photos))
    sketch_codes, photo_codes = encoder.codes(queries), encoder.codes(gallery)["code"]
    labels = (queries.labels, gallery.labels)
    arrays = (sketch_codes["code"], labels[0], photo_codes, labels[1])
    result = protocol.evaluate_zero_shot(*arrays, k=cut, seed=run.config.training.seed)

    def families(codes: np.ndarray, photos: np.ndarray = photo_codes) -> dict[str, Any]:
        return score_features(codes, labels[0], photos, labels[1], k=cut)

    stages = {
        "untrained": families(*(untrained_features(run, encoder.trainer, images) for images in (queries, gallery)))
    }
    stages |= {name: families(sketch_codes[key]) for key, name in STAGES.items() if key in sketch_codes}
    if run.semantics.knows(chosen.unseen):
        true = run.semantics.of(tuple(labels[0]))
        stages["oracle (true class vector of each query: an upper bound)"] = families(
            encoder.codes(queries, true)["code"]
        )
    trained_on = sorted(set(run.classes) & set(chosen.unseen))
    notes = [*dataset.notes, *chosen.notes]
    if trained_on:
        notes.append(
            f"NOT zero-shot: the model was trained on {len(trained_on)} of these classes: {', '.join(trained_on)}"
        )
        cli.log(f"warning: {notes[-1]}")

    metrics: dict[str, Any] = {
        **result.metrics,
        "stages": stages,
        "fine_grained": protocol.fine_grained(
            arrays[0],
            labels[0],
            [i.instance for i in queries.items],
            arrays[2],
            labels[1],
            [i.instance for i in gallery.items],
        ),
        "views": views,
        "trained_on": trained_on,
        "dataset": dataset.name,
        "split": {"name": chosen.name, "checksum": chosen.checksum, "unseen": list(chosen.unseen)},
        "model": f"SSGN, {run.config.model.backbone}, {run.config.training.precision}",
        "seed": run.config.training.seed,
        "versions": run.versions,
        "notes": notes,
    }
    if generalized or bits:
        seen_sketches, seen_photos = (
            encoder.images(items, run.classes) for items in (dataset.sketches, dataset.photos)
        )
        seen_codes = [encoder.codes(seen_sketches)["code"], encoder.codes(seen_photos)["code"]]
    if generalized:
        metrics["generalized"] = protocol.generalized(
            np.concatenate([arrays[0], seen_codes[0]]), [*labels[0], *seen_sketches.labels],
            np.concatenate([arrays[2], seen_codes[1]]), [*labels[1], *seen_photos.labels], run.classes, k=cut,
        )  # fmt: skip
        notes.append("generalized: the seen queries and photos are those of training")
    if bits:
        # Fitted on training codes: fitting on the gallery would be transductive.
        itq = hashing.fit_itq(np.concatenate(seen_codes), bits, seed=run.config.training.seed)
        metrics["binary"] = {str(bits): protocol.evaluate_binary(itq, *arrays, k=cut)["families"]}

    metrics = cli.jsonable(metrics)
    target = run.path if own and data is None else run.path / "evaluations" / f"{dataset.name}-{chosen.name}"
    atomic.write_json(target / "metrics.json", metrics)
    points = inspection.code_map(*arrays)
    report.write_report(
        target / "report.html", metrics, _grids(result, arrays, queries, gallery),
        title=f"{run.path.name} on {dataset.name}, {chosen.name}", points=points,
    )  # fmt: skip
    report.write_figures(target / "figures", metrics, points)
    return metrics, target


class Encoder:
    """Images of a dataset to the codes of a run's model."""

    def __init__(self, run, views: int, cache: str | None):
        from tf_ssgn.runtime.features import FeatureCache, default_folder
        from tf_ssgn.training.fit import restore_trainer

        self.run, self.views = run, views
        self.trainer = restore_trainer(run)
        folder = None if self.trainer.finetuned else Path(cache) if cache else default_folder()
        self.features = FeatureCache(folder, self.trainer.backbone, run.config.model.backbone)

    def images(self, items: Sequence, classes: Sequence[str]):
        """The readable items of some classes with their taps."""
        from tf_ssgn.training.fit import read_images

        wanted = set(classes)
        chosen = [item for item in items if item.label in wanted]
        if not chosen:
            raise UserError(f"the dataset has no images of the classes to evaluate, such as {sorted(wanted)[0]!r}")
        return read_images(self.features, chosen, self.views, self.run.config.data.max_bad_files)

    def codes(self, images, semantics: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What `SSGN.retrieve` gives, averaged over the views; for photos `code`."""
        from tf_ssgn.training.fit import encode_taps

        modality = images.items[0].modality
        parts = [
            encode_taps(self.trainer, images.taps[:, view], modality, semantics) for view in range(images.taps.shape[1])
        ]
        return {key: _unit(np.sum([part[key] for part in parts], axis=0)) for key in parts[0]}


def _unit(codes: np.ndarray) -> np.ndarray:
    return codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-12)


def _grids(result, arrays, queries, gallery) -> list:
    """Best, median and worst queries with their first photos."""
    from tf_ssgn.evaluation import inspection, statistics
    from tf_ssgn.evaluation.report import Grid, Picture

    values = result.per_query.values["sem_pcyc"]["map_all"]
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
                    for p, h in zip(found, right, strict=True)
                ],
            )
            for item, row, found, right in zip(shown, rows, photos, hits, strict=True)
        ]
        grids.append(Grid(f"{kind.capitalize()} queries (average precision beside each)", pictures))
    return grids


if __name__ == "__main__":
    cli.run(main)
