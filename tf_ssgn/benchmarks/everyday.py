"""The shipped model `everyday`: its recipe, and how well the same recipe finds classes that it was trained without.

`--only ship` trains on all there is and writes the files beside `runtime/shipped.py` (`make everyday`); the table
trains once for each set of classes that is left out. Runs are folders below `bench-everyday/`, finished ones are kept.
The drawn dataset and the classes left out choose nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_ssgn import benchmarks
from tf_ssgn import config as configuration
from tf_ssgn.common import atomic, cli
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.datasets.items import Dataset, Example, open_dataset
from tf_ssgn.data.datasets.splits import Split, checksum, load_split
from tf_ssgn.data.drawing.dataset import write_dataset
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import score_features
from tf_ssgn.runtime import resolve, shipped
from tf_ssgn.settings import HEAD_BYTES, MODEL

if TYPE_CHECKING:
    from tf_ssgn.training.images import Images

RUNS = Path("bench-everyday")
MATERIAL = ("sketchy_mini", "quickdraw_for_sketchy", "quickdraw_caltech")
WORDS = "everyday_words_minilm.npz"
# Caltech-101's names of classes that Sketchy has under others.
SAME = {"car": "car_(sedan)", "crocodile": "crocodilian", "motorbike": "motorcycle"}
SPLITS = ("sketchy-21", "sketchy-25", "sketchy-25-sem-pcyc")
TRANSFER = "transfer"
WHOLE = "whole"  # nothing is left out
LEARNT = ("head.npz", "words.npz")  # the third file, `config.json`, gains a line with every new field
SHOWN = 8  # photos that the demo shows for a drawing
NAME = MODEL


def run(full: bool, data: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Trains, measures and prints the table; a second time it takes what is there.

    `data` holds `sketchy_mini`; `only` is `ship`, to write the shipped files alone, or one row's split. There is no
    small part: it would measure nothing.
    """
    material = Material(benchmarks.material(data))
    unseen = {split: load_split(split, material.sketchy.classes).unseen for split in SPLITS}
    unseen[TRANSFER] = tuple(sorted({item.label for item in material.caltech.photos} - set(SAME.values())))
    parts = benchmarks.chosen(only, ("ship", *unseen, WHOLE))
    if only == "ship":
        return {"sha256": ship(train(material, WHOLE, ()))}
    rows: dict[str, float] = {}
    for split, classes in (unseen | {WHOLE: ()}).items():
        if split in parts:
            scores = Scores(train(material, split, classes))
            if split == WHOLE:
                rows |= scores.drawn()
            elif split == TRANSFER:
                rows |= scores.of("QuickDraw to Caltech", material.caltech.sketches, material.caltech.photos, classes)
            else:
                photos = material.sketchy.photos
                rows |= scores.of(f"{split}, Sketchy's sketches", material.sketchy.sketches, photos, classes)
                rows |= scores.of(f"{split}, QuickDraw's drawings", material.quickdraw, photos, classes)
    for name, value in rows.items():
        print(f"{name:<60} {value:.3f}")
    return {"rows": rows}


class Material:
    """The datasets of a folder that holds `sketchy_mini`, `quickdraw_for_sketchy` and `quickdraw_caltech`, under one
    set of class names, Sketchy's; class vectors lie in `vectors` beside it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.words = folder.parent / "vectors" / WORDS
        for path in [*(folder / name for name in MATERIAL), self.words]:
            if not path.exists():
                raise UserError(f"received {folder}, expected {path} too; name the folder of sketchy_mini with --data")
        self.sketchy = open_dataset(str(folder / MATERIAL[0]))
        self.caltech = _renamed(open_dataset(str(folder / MATERIAL[2])))
        drawn = sorted((folder / MATERIAL[1] / "sketch").glob("*/*.png"))
        self.quickdraw = [Example(str(path.absolute()), path.parent.name, "sketch", "") for path in drawn]

    def without(self, classes: Iterable[str]) -> Dataset:
        """All drawings and photos together, but for those of some classes."""
        left = set(classes)
        sketches = [*self.sketchy.sketches, *self.quickdraw, *self.caltech.sketches]
        photos = [*self.sketchy.photos, *self.caltech.photos]
        shot = {item.label for item in photos}
        return dataclasses.replace(
            self.sketchy,
            name=NAME,
            root=str(self.folder),
            sketches=[item for item in sketches if item.label in shot - left],
            photos=[item for item in photos if item.label not in left],
            classes=sorted(shot - left),
            notes=[],
        )


def _renamed(dataset: Dataset) -> Dataset:
    def items(side: Sequence[Example]) -> list[Example]:
        return [dataclasses.replace(item, label=SAME.get(item.label, item.label)) for item in side]

    return dataclasses.replace(dataset, sketches=items(dataset.sketches), photos=items(dataset.photos))


def train(material: Material, name: str, left: Sequence[str]) -> Path:
    """The recipe, without some classes; the run's folder."""
    from tf_ssgn.train import train_on

    dataset = material.without(left)
    seen = tuple(dataset.classes)
    split = Split(name, seen, tuple(left), (), checksum(seen, left))
    config = configuration.override(configuration.preset(NAME), {"semantics.vectors": str(material.words.absolute())})
    return train_on(config, dataset, str(material.folder), split, str(RUNS / name))


class Scores:
    """Figures of a run: several views of a drawing, one of a photo, as the shipped model has them."""

    def __init__(self, run: Path):
        from tf_ssgn.runs.encoder import RunEncoder
        from tf_ssgn.training.run_folder import open_run

        self.run = open_run(run)
        self.encoder = RunEncoder(self.run)

    def of(
        self, name: str, sketches: Sequence[Example], photos: Sequence[Example], classes: Sequence[str]
    ) -> dict[str, float]:
        """mAP@all of the sketches of some classes that have photos, among the photos of all of them.

        In rows of their own, which are no zero-shot figures of sketches: told the class's name, and by its name alone.
        Beside them, what these rows need: the class's own name, and a guide that was solved on true class vectors.
        """
        queries, gallery = (self.encoder.images(items, classes) for items in (sketches, photos))
        codes = self.encoder.codes(gallery)["code"]
        drawings = self.encoder.codes(queries)["code"]
        drawn = sorted(set(queries.labels))
        other = dict(zip(drawn, [*drawn[1:], drawn[0]], strict=True))
        true, wrong = (
            self.run.semantics.of(tuple(names)) for names in (queries.labels, [other[name] for name in queries.labels])
        )
        told = np.asarray(self.encoder.trainer.ssgn.told)
        asked = {
            f"{name}, {len(drawn)} of {len(classes)} classes": drawings,
            f"{name}, told the class's name": unit(drawings + true @ told),
            f"{name}, the name alone": unit(true @ told),
            f"{name}, told the name of another class": unit(drawings + wrong @ told),
            f"{name}, told through the guide of predictions": self._in_place_of_the_prediction(queries, true),
        }
        return {
            row: float(_families(code, queries.labels, codes, gallery.labels)["map_all"]) for row, code in asked.items()
        }

    def _in_place_of_the_prediction(self, queries: Images, vectors: np.ndarray) -> np.ndarray:
        ssgn = self.encoder.trainer.ssgn
        config = ssgn.config
        ssgn.config = dataclasses.replace(config, told=False)
        try:
            return self.encoder.codes(queries, vectors)["code"]
        finally:
            ssgn.config = config

    def drawn(self) -> dict[str, float]:
        """The drawn dataset, of which training saw nothing: how many of a drawing's first photos are right, among the
        photos of all its classes."""
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder) / "drawn")
            dataset = open_dataset(str(Path(folder) / "drawn"))
            sides = [self.encoder.images(items, dataset.classes) for items in (dataset.sketches, dataset.photos)]
            codes = [self.encoder.codes(side)["code"] for side in sides]
        families = _families(codes[0], sides[0].labels, codes[1], sides[1].labels)
        title = f"the drawn dataset, {len(dataset.classes)} classes"
        return {f"{title}, P@{SHOWN}": families[f"precision_at_{SHOWN}"], f"{title}, mAP@all": families["map_all"]}


def _families(queries: np.ndarray, labels: Sequence[str], gallery: np.ndarray, theirs: Sequence[str]) -> dict[str, Any]:
    metrics: dict[str, Any] = score_features(queries, labels, gallery, theirs, k=(SHOWN,))[configuration.LEADING_FAMILY]
    return metrics


def ship(run: Path) -> str:
    """Writes the shipped files of a finished run; returns and prints the sha256 over what was learnt."""
    from tf_ssgn.common import npz
    from tf_ssgn.data.semantics.class_vectors import class_vectors
    from tf_ssgn.training.fit import restore_trainer
    from tf_ssgn.training.run_folder import open_run

    target = resolve.HEADS / NAME
    opened = open_run(run)
    arrays = {}
    for key, variable in shipped.head(restore_trainer(opened).ssgn).items():
        value = np.asarray(variable)
        # The statistics span many orders of magnitude; all else is rounded, which moves a code by less than 1e-3.
        arrays[key] = value if value.ndim == 1 else value.astype(np.float16)
    config = dataclasses.replace(opened.config, semantics=configuration.Semantics())
    source = npz.read_npz(opened.config.semantics.vectors, ("names", "vectors"), HEAD_BYTES)
    known = class_vectors(opened.classes, opened.config.semantics.vectors)
    words = {
        **source,
        # Training saw class vectors about their mean; so does whoever asks with a word.
        "centre": (known / np.linalg.norm(known, axis=1, keepdims=True)).mean(axis=0),
        "class_vectors": opened.semantics.of(opened.classes).astype(np.float16),
    }
    about = {
        "config": configuration.to_dict(config),
        "seen": list(opened.classes),
        "card": {"split": opened.split.name, "dataset": " + ".join(MATERIAL), "weights": "a package", "versions": {}},
    }
    atomic.write_json(target / "config.json", about)
    _write_npz(target / "head.npz", arrays)
    _write_npz(target / "words.npz", words)
    digest = hashlib.sha256()
    for name in LEARNT:
        digest.update((target / name).read_bytes())
    size = sum((target / name).stat().st_size for name in shipped.FILES)
    cli.log(f"wrote {target}, {size / 2**20:.1f} MiB")
    print(digest.hexdigest())
    return digest.hexdigest()


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """The same bytes for the same arrays: NumPy dates every member of a file to 1980."""
    with atomic.writing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
