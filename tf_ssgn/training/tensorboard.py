"""What TensorBoard shows of a run: the curves of both phases, answers to validation queries, and the map of codes.

`tensorboard --logdir RUN/tensorboard`
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tf_ssgn.common.atomic import write_text
from tf_ssgn.errors import UserError, reason
from tf_ssgn.evaluation.report.pictures import Grid, Picture, sheet
from tf_ssgn.settings import MAP_POINTS
from tf_ssgn.training.callbacks import VALIDATION
from tf_ssgn.training.images import Images
from tf_ssgn.training.run_folder import Run

QUERIES, ANSWERS = 8, 8  # rows and answers a row of the retrieval grid


class Scalars(keras.callbacks.Callback):
    """Loss terms, learning rate and validation mAP, one folder per phase."""

    def __init__(self, run: Run, state: dict[str, Any]):
        super().__init__()
        self.run, self.state = run, state

    def on_train_begin(self, logs=None) -> None:
        self.writer = _writer(self.run, self.state["phase"])

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        import tensorflow as tf

        with _disk(self.run), self.writer.as_default(step=epoch + 1):
            for key, value in (logs or {}).items():
                tf.summary.scalar("validation/map_all" if key == VALIDATION else f"loss/{key}", value)
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate))
            if self.state["best_epoch"]:
                tf.summary.scalar("validation/best_map_all", self.state["best"])
            self.writer.flush()


def show_retrieval(run: Run, state: dict[str, Any], codes: Sequence[np.ndarray], images: Sequence[Images]) -> None:
    """A picture of the first answers to some validation queries: a query a row, right answers framed in green; `codes`
    and `images` are of the queries and of the gallery."""
    import tensorflow as tf

    (queries, gallery), (query_codes, gallery_codes) = images, codes
    rows = np.linspace(0, len(query_codes) - 1, min(QUERIES, len(query_codes))).astype(int)
    grid = Grid("", [])
    for row in rows:
        best = np.argsort(-(gallery_codes @ query_codes[row]), kind="stable")[:ANSWERS]
        hits = [(gallery.items[answer].path, gallery.labels[answer] == queries.labels[row]) for answer in best]
        grid.rows.append((Picture(queries.items[row].path), [Picture(path, hit=hit) for path, hit in hits]))
    writer = _writer(run, state["phase"])
    with _disk(run), writer.as_default(step=state["epoch"]):
        tf.summary.image("validation/answers", np.asarray(sheet(grid))[None])
        writer.flush()


def show_embedding(run: Run, codes: Sequence[np.ndarray], images: Sequence[Images]) -> None:
    """The codes of validation sketches and photos for TensorBoard's embedding projector."""
    folder = run.path / "tensorboard"
    names, rows = ["class\tmodality"], []
    for part, side in zip(codes, images, strict=True):
        chosen = np.linspace(0, len(part) - 1, min(MAP_POINTS, len(part))).astype(int)
        names += [f"{side.items[row].label}\t{side.modality}" for row in chosen]
        rows += ["\t".join(f"{value:.5g}" for value in part[row]) for row in chosen]
    write_text(folder / "codes.tsv", "\n".join(rows) + "\n")
    write_text(folder / "classes.tsv", "\n".join(names) + "\n")
    fields = 'tensor_name: "codes" tensor_path: "codes.tsv" metadata_path: "classes.tsv"'
    write_text(folder / "projector_config.pbtxt", f"embeddings {{ {fields} }}\n")


def _writer(run: Run, phase: str):
    import tensorflow as tf

    with _disk(run):
        return tf.summary.create_file_writer(str(run.path / "tensorboard" / phase))


@contextmanager
def _disk(run: Run) -> Iterator[None]:
    """TensorFlow has its own exceptions for a disk that is full or not ours."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(
            f"cannot write {run.path / 'tensorboard'} ({reason(error)}); check space and rights there, then run the "
            "same command again"
        ) from None
