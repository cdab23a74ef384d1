"""The run folder: what a run was, where it stands, and its best weights.

`config.json`, `semantics.npz`, `history.jsonl`, `checkpoints/state.npz`, `best.weights.h5`, `tensorboard/`: enough to
resume, evaluate and export, on another machine too. `sketch_encoder.keras` and `photo_encoder.keras` are for others.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.common.atomic import lock, naming, write_json, writing
from tf_ssgn.common.cli import log
from tf_ssgn.common.hashes import file_sha256
from tf_ssgn.common.npz import DAMAGED_ARCHIVE
from tf_ssgn.data.datasets.splits import Split
from tf_ssgn.errors import UserError, reason

ARCHITECTURE = "backbone"  # what a backbone of keras-hub is, in the form of its presets
SELECT, REFIT, FINISHED = PHASES = ("select", "refit", "finished")
# Of the values that a state holds (`callbacks.EpochEnd`), the types.
STATE = {"epoch": int, "step": int, "best_epoch": int, "best": float, "weights": str, "items": str}


@dataclass(frozen=True)
class ClassVectors:
    """Class vectors as the model sees them, centred on the seen classes' mean, unit rows float32 `[len(names), s]`, of
    all classes, seen and unseen, whose vector is known."""

    names: tuple[str, ...]
    vectors: np.ndarray

    def of(self, classes: tuple[str, ...]) -> np.ndarray:
        """float32 `[len(classes), s]`; all of them must be known."""
        row = {name: index for index, name in enumerate(self.names)}
        return self.vectors[[row[name] for name in classes]]

    def knows(self, classes: tuple[str, ...]) -> bool:
        return set(classes) <= set(self.names)


@dataclass(frozen=True)
class Run:
    """A run folder, opened."""

    path: Path
    config: configuration.Config
    data: str
    split: Split
    semantics: ClassVectors
    versions: dict[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the final weights, in label order."""
        return self.split.all_seen

    @property
    def has_words(self) -> bool:
        """Whether its guide of given class vectors was solved (`SSGN.told`)."""
        return bool(self.config.model.told and self.config.model.residual and self.config.training.ridge)

    @property
    def portable(self) -> configuration.Config:
        """The config, with a backbone of keras-hub taken from the run itself: its preset may not be at hand here."""
        if not self.config.model.backbone.startswith(configuration.HUB):
            return self.config
        model = dataclasses.replace(self.config.model, backbone=f"{configuration.HUB}{self.path / ARCHITECTURE}")
        return dataclasses.replace(self.config, model=model)

    @property
    def state_file(self) -> Path:
        return self.path / "checkpoints" / "state.npz"

    @property
    def weights_file(self) -> Path:
        return self.path / "best.weights.h5"

    @property
    def finished(self) -> bool:
        return self.weights_file.is_file() and load_state(self)[0].get("phase") == FINISHED


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Keeps a second training out of the folder while this one lasts; a killed one leaves no lock behind."""
    with open(run.path / ".lock", "w", encoding="utf-8") as handle:
        with naming(run.path):
            is_ours = lock(handle)
        if not is_ours:
            raise UserError(f"another process is training in {run.path}; wait for it or name another --run")
        yield


def create_run(run: Run, backbone: Any) -> None:
    """Writes what does not change; `config.json` comes last and makes the folder a run."""
    from tf_ssgn.models.hub_backbones import write_architecture

    try:
        run.path.mkdir(parents=True, exist_ok=True)
        write_architecture(backbone, run.path / ARCHITECTURE)
        with writing(run.path / "semantics.npz") as temporary:
            np.savez(temporary, names=np.array(run.semantics.names), vectors=run.semantics.vectors)
        split = {key: getattr(run.split, key) for key in ("name", "seen", "unseen", "validation", "checksum", "notes")}
        write_json(
            run.path / "config.json",
            {"config": configuration.to_dict(run.config), "data": run.data, "split": split, "versions": run.versions},
        )
    except OSError as error:
        raise UserError(f"cannot write the run folder {run.path}: {error.strerror or error}") from None


def note_data(run: Run) -> None:
    """Writes where the run's dataset and class vectors lie now; all else stays as it was written."""
    file = run.path / "config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["data"], content["config"]["semantics"]["vectors"] = run.data, run.config.semantics.vectors
    write_json(file, content)
    log(f"the dataset of the run {run.path} is now {run.data}")


def open_run(path: str | os.PathLike) -> Run:
    """Reads a run folder; UserError where there is none."""
    path = Path(path)
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
        with np.load(path / "semantics.npz", allow_pickle=False) as stored:
            semantics = ClassVectors(tuple(stored["names"].tolist()), stored["vectors"])
        if semantics.vectors.ndim != 2 or len(semantics.names) != len(semantics.vectors):
            raise ValueError(f"semantics.npz has {len(semantics.names)} names for {semantics.vectors.shape} vectors")
        if semantics.vectors.dtype != np.float32 or not np.isfinite(semantics.vectors).all():
            raise ValueError("semantics.npz holds vectors that are not finite float32")
        split: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in content["split"].items()
        }
        if other := configuration.dropped(content["config"]):
            fields = ", ".join(f"{name} {value}" for name, value in other.items())
            log(f"note: {path} was trained with {fields}, which this version has no more; its weights stay as they are")
        if "training.refit" in other:  # its weights know the classes without those held out
            split["validation"] = ()
        roles = [split[role] for role in ("seen", "validation", "unseen")]
        if not all(isinstance(role, tuple) and all(isinstance(name, str) for name in role) for role in roles):
            raise ValueError("its split holds something else than lists of class names")
        if not all(isinstance(text, str) for text in (content["data"], split["name"], split["checksum"])):
            raise ValueError("its data folder, split name or checksum is no text")
        if not semantics.knows(roles[0] + roles[1]):
            raise ValueError("semantics.npz lacks classes of the split")
        return Run(
            path=path,
            config=configuration.from_dict(content["config"]),
            data=content["data"],
            split=Split(**split),
            semantics=semantics,
            versions=content["versions"],
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is not a run folder: it has no {Path(error.filename).name}; make one with "
            "`python -m tf_ssgn.train --run DIR`"
        ) from None
    except (*DAMAGED_ARCHIVE, TypeError, AttributeError) as error:
        raise UserError(
            f"the run folder {path} is damaged ({reason(error)}); train it anew into another folder"
        ) from None


def save_state(run: Run, values: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Writes where the run stands, atomically: small JSON values and the values of all variables."""
    with writing(run.state_file) as temporary:
        np.savez(temporary, state=np.array(json.dumps(values)), **{f"v{i:05d}": a for i, a in enumerate(arrays)})  # type: ignore[arg-type]


def load_state(run: Run, with_arrays: bool = False) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What `save_state` wrote; ({}, []) where nothing was."""
    if not run.state_file.exists():
        return {}, []
    try:
        with np.load(run.state_file, allow_pickle=False) as stored:
            values = json.loads(str(stored["state"]))
            if not isinstance(values, dict) or any(
                not isinstance(values.get(key, kind()), kind) for key, kind in STATE.items()
            ):
                raise ValueError("it holds no state")
            if values.get("phase") not in PHASES:
                raise ValueError("it holds no phase of training")
            arrays = [stored[key] for key in sorted(stored.files) if key.startswith("v")] if with_arrays else []
        return values, arrays
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{run.state_file} is damaged ({reason(error)}); delete it to train from the start") from None


def save_weights(run: Run, trainer, chief: bool = True) -> str:
    """Writes `best.weights.h5`; returns its sha256, which belongs into the state. A worker that is not the chief reads
    the variables just the same (`devices.Devices`) and writes nothing: ""."""
    if not chief:
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_weights(Path(folder) / run.weights_file.name)
        return ""
    try:
        with writing(run.weights_file) as temporary:
            trainer.save_weights(temporary)
            return file_sha256(temporary)
    except (OSError, RuntimeError) as error:  # HDF5 tells a full disk in words, and in either of these
        raise UserError(
            f"cannot write {run.weights_file} ({reason(error)}); check space and rights there, then run the same "
            "command again"
        ) from None


def save_encoders(run: Run, trainer) -> None:
    """Writes `sketch_encoder.keras` and `photo_encoder.keras`: the finished model for whoever has Keras."""
    from tf_ssgn.models.encoders import build_encoders

    for encoder in build_encoders(trainer.backbone, trainer.ssgn):
        with writing(run.path / f"{encoder.name}.keras") as temporary:
            encoder.save(temporary)


def load_weights(run: Run, trainer) -> None:
    if not run.weights_file.is_file():
        raise UserError(f"the run {run.path} has no best.weights.h5 yet; finish it with the train command")
    state = load_state(run)[0]
    # Before the end the weights may be newer than the state: a kill can fall between the two.
    if state.get("phase") == FINISHED and state.get("weights", "") not in ("", file_sha256(run.weights_file)):
        raise UserError(
            f"{run.weights_file} is damaged (its sha256 is not the one that training noted); "
            "take it from a copy of the run, or train again into another folder"
        )
    try:
        trainer.load_weights(run.weights_file)
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{run.weights_file} does not fit the run's config: {reason(error)}") from None


def append_history(run: Run, row: dict[str, Any]) -> None:
    path = run.path / "history.jsonl"
    with naming(path), open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def trim_history(run: Run, phase: str, epoch: int) -> None:
    """Drops rows past the state that a run resumes from: a kill can fall between the history and the checkpoint."""
    path = run.path / "history.jsonl"
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            if row["phase"] != phase or row["epoch"] <= epoch:
                kept.append(json.dumps(row) + "\n")
        except (ValueError, KeyError, TypeError):  # a row cut short by a kill
            continue
    with writing(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
