"""Train SSGN on sketches and photos of seen classes.

python -m tf_ssgn.train --preset sketchy-mini --data sketchy_mini --split sketchy-21 \\
    --model.weights mobilenet_v2.weights.h5 --semantics.vectors word2vec.npz --run runs/s21

Any field of the config is a flag. Running the same command again resumes, or says that the run is finished.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from tf_ssgn import config as configuration
from tf_ssgn.common import cli
from tf_ssgn.config import HUB, PRESETS, Config
from tf_ssgn.errors import UserError

if TYPE_CHECKING:
    from tf_ssgn.data.datasets.items import Dataset
    from tf_ssgn.data.datasets.splits import Split


def parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog="python -m tf_ssgn.train",
        usage="python -m tf_ssgn.train --data DIR --run DIR [--preset NAME] [--split NAME-or-FILE] [--FIELD X ...]",
        description=__doc__,
    )
    flag = parser.add_argument
    flag("--preset", default="sketchy-mini", help=f"starting point: {', '.join(PRESETS)}")
    flag("--data", required=True, metavar="DIR", help="dataset folder; `prepare list` names the layouts")
    flag("--split", metavar="NAME-or-FILE", help="a published split or a JSON file; DIR/split.json if there")
    flag("--run", required=True, metavar="DIR", help="run folder; made, resumed or found finished")
    flag("--seed", type=int, help="short for --training.seed")
    flag("--cache", metavar="DIR", help="feature cache; else TF_SSGN_CACHE, else the user's cache folder")
    flag(
        "--strategy",
        choices=("mirrored", "multiworker"),
        help="share each batch out over this machine's devices, or over the workers that TF_CONFIG lists",
    )
    group = parser.add_argument_group("config fields, with the defaults of preset sketchy-mini")
    for name, (_, item, value) in configuration.fields(configuration.preset("sketchy-mini")).items():
        if name != "preset":
            choices = item.metadata["choices"]
            text = item.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            group.add_argument(
                f"--{name}", metavar="X", help=f"{text} [{'empty' if shown == '' else shown}]".replace("%", "%%")
            )
    for name in configuration.DROPPED:  # for the line that says what to do instead
        flag(f"--{name}", help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int | None:
    arguments = vars(parser().parse_args(argv))
    fields = {name: value for name, value in arguments.items() if "." in name and value is not None}
    if arguments["seed"] is not None:
        fields["training.seed"] = arguments["seed"]
    config = configuration.override(configuration.preset(arguments["preset"]), fields)
    train(config, arguments["data"], arguments["split"], arguments["run"], arguments["cache"], arguments["strategy"])
    return 0


def train(
    config: Config, data: str, split: str | None, folder: str, cache: str | None = None, strategy: str | None = None
) -> Path:
    """Trains, resumes or finds finished the run in `folder`; returns its path. The chain of the command in one call."""
    from tf_ssgn.data.datasets.items import open_dataset
    from tf_ssgn.data.datasets.splits import load_split

    if strategy and config.training.finetune_from:
        raise UserError(
            f"--strategy: received with --training.finetune_from {config.training.finetune_from}, expected a frozen "
            "backbone: each device would standardise by its own share of a batch; leave one of the two out"
        )
    dataset = open_dataset(data, duplicates=config.data.duplicates, exclude=config.data.exclude)
    for note in dataset.notes:
        cli.log(f"note: {note}")
    chosen = load_split(_split_of(data, split), dataset.classes)
    if not chosen.seen:
        raise UserError(f"the split {chosen.name} has no seen classes, so there is nothing to train on")
    for note in chosen.notes:
        cli.log(f"note: {note}")
    return train_on(config, dataset, data, chosen, folder, cache, strategy)


def train_on(
    config: Config,
    dataset: Dataset,
    data: str,
    chosen: Split,
    folder: str,
    cache: str | None = None,
    strategy: str | None = None,
) -> Path:
    """`train` on an opened dataset; `data` is the folder that the run notes and that may hold class vectors."""
    from tf_ssgn.common.atomic import LEFTOVER
    from tf_ssgn.data.datasets.splits import carve_validation
    from tf_ssgn.training.devices import open_devices
    from tf_ssgn.training.run_folder import ARCHITECTURE, Run, note_data, open_run

    start = time.monotonic()
    devices = open_devices(strategy)
    cli.log(f"split {chosen.name}, sha256 {chosen.checksum}: {len(chosen.seen)} seen, {len(chosen.unseen)} unseen")
    if not chosen.validation and config.data.validation_classes:
        chosen = carve_validation(chosen, config.data.validation_classes, config.training.seed)
    source = _vectors_of(data, config)
    config = configuration.override(config, {"semantics.vectors": source, "model.backbone": _backbone_of(config)})

    path = Path(folder)
    if (path / "config.json").exists():
        run = open_run(path)
        known, run = run.data, _moved(run, os.path.abspath(data), config)
        _refuse_other(run, config, chosen)
        if run.finished:
            if known != run.data:
                note_data(run)
            cli.log(f"the run {path} is finished; evaluate it with `python -m tf_ssgn.evaluate {path}`")
            return path
    else:
        # By a run that was killed meanwhile; or by another worker, which may be making the folder this moment.
        begun = ("semantics.npz", ARCHITECTURE, LEFTOVER) if devices.chief else ("*",)
        foreign = [p for p in path.iterdir() if not any(fnmatch(p.name, b) for b in begun)] if path.is_dir() else []
        if foreign or (path.exists() and not path.is_dir()):
            what = "holds other things" if path.is_dir() else "is a file"
            raise UserError(f"--run: received {folder!r}, which {what}; expected a folder that is new, empty or a run")
        semantics = _semantics(chosen, config, cache)
        run = Run(path, config, os.path.abspath(data), chosen, semantics, _versions())
        known = run.data

    _fit(run, dataset, cache, devices)
    if known != run.data and devices.chief:
        note_data(run)  # only now: that its images are those of the run was found out on the way
    cli.log(f"trained in {time.monotonic() - start:.0f} s; next: python -m tf_ssgn.evaluate {path}")
    return path


def _fit(run, dataset, cache, devices) -> None:
    import keras

    from tf_ssgn.common.folders import cache_folder
    from tf_ssgn.models.backbones import build_backbone
    from tf_ssgn.runtime.features import FeatureCache
    from tf_ssgn.training import fit
    from tf_ssgn.training.run_folder import create_run, locked

    config, model = run.config, run.config.model
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(config.training.precision)
    backbone = build_backbone(
        model.backbone, config.data.image_size, model.weights, model.taps, config.training.finetune_from, model.pooling
    )
    keras.config.set_dtype_policy("float32")
    folder = None if config.training.finetune_from else Path(cache) if cache else cache_folder()
    features = FeatureCache(folder, backbone, config.model.backbone)
    known = set(run.split.all_seen)
    sketches, photos = (
        fit.read_images(
            features,
            [item for item in items if item.label in known],
            views,
            config.data.max_bad_files,
            bool(model.contours),
        )
        for items, views in ((dataset.sketches, config.training.views), (dataset.photos, config.training.photo_views))
    )
    fit.check(run, sketches, photos)
    if not devices.chief:
        fit.train_run(run, sketches, photos, devices)
        return
    if not (run.path / "config.json").exists():  # the folder appears only once all inputs were found good
        create_run(run, backbone)
    with locked(run):
        fit.train_run(run, sketches, photos, devices)


def _split_of(data: str, split: str | None) -> str:
    own = Path(data) / "split.json"
    if split is None and not own.is_file():
        raise UserError(
            f"--split is missing and there is no {own}; expected a published split (`python -m tf_ssgn.prepare list`) "
            "or a JSON file"
        )
    return split or str(own)


def _vectors_of(data: str, config: Config) -> str:
    from tf_ssgn.data.semantics.class_vectors import refuse_wordnet

    own = Path(data) / "semantics.npz"
    if not config.semantics.vectors and not own.is_file():
        raise UserError(
            "--semantics.vectors is missing; expected a file of class or word vectors (.npz, .bin, .vec, .txt) "
            "or hub:HANDLE; the method is conditioned on the meaning of class names"
        )
    source = config.semantics.vectors or str(own)
    refuse_wordnet(source)
    return source if source.startswith("hub:") else os.path.abspath(source)


def _backbone_of(config: Config) -> str:
    """A preset in a folder by its absolute path, so that a run resumes from anywhere."""
    name = config.model.backbone
    folder = name.removeprefix(HUB)
    return HUB + os.path.abspath(folder) if name.startswith(HUB) and os.path.isdir(folder) else name


def _semantics(split, config: Config, cache: str | None):
    """Unit class vectors, centred on the seen ones."""
    import numpy as np

    from tf_ssgn.common.folders import cache_folder
    from tf_ssgn.common.vectors import unit
    from tf_ssgn.data.semantics.vector_cache import cached_vectors, centred
    from tf_ssgn.training.run_folder import ClassVectors

    seen, source = split.all_seen, config.semantics.vectors
    folder = Path(cache) if cache else cache_folder()
    vectors = cached_vectors(seen, source, folder)
    names = seen
    try:
        vectors = np.concatenate([vectors, cached_vectors(split.unseen, source, folder)]) if split.unseen else vectors
        names = seen + split.unseen
    except UserError as error:  # only `explain` and the rows with the class name need them
        cli.log(f"note: unseen classes go without vectors ({error}); rows with the class name are left out")
    if len(seen) > 1 and np.ptp(unit(vectors[: len(seen)]), axis=0).max() < 1e-6:
        raise UserError(f"{source}: all {len(seen)} classes have the same vector; use vectors that tell them apart")
    return ClassVectors(names, centred(vectors, len(seen)))


def _moved(run, data: str, config: Config):
    """The run with its dataset in the folder `data`, and with it the class vectors that lay there."""
    before, now = run.config.semantics.vectors, config.semantics.vectors
    if before.startswith(run.data + os.sep) and now == data + before.removeprefix(run.data):
        run = dataclasses.replace(run, config=configuration.override(run.config, {"semantics.vectors": now}))
    return dataclasses.replace(run, data=data)


def _refuse_other(run, config: Config, split) -> None:
    changed = configuration.differences(config, run.config)
    if split.checksum != run.split.checksum:
        changed.append(f"split: {split.name} here, {run.split.name} there")
    if changed:
        raise UserError(
            f"the run {run.path} was begun with another config ({'; '.join(changed)}); "
            "repeat its own flags to resume it, or name another --run"
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import keras

    names = ("tf_ssgn", "tensorflow", "keras", "numpy")
    return {name: version(name) for name in names} | {"backend": keras.backend.backend()}


if __name__ == "__main__":
    cli.run(main)
