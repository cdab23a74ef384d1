"""Speed and memory of training, each against the floor that any implementation pays in the same run.

Times on a shared machine mean little, so both sides of a ratio alternate in one process and their best are compared.
`run(True)` takes the published sizes; `run(False)` the same code on a small part with a fixed seed.
"""

import collections
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.benchmarks import best, chosen, jpegs, said
from tf_ssgn.common.cli import prepare_tensorflow
from tf_ssgn.common.progress import track
from tf_ssgn.common.vectors import unit
from tf_ssgn.config import Config
from tf_ssgn.data.datasets.items import Example

SIDES = (500, 375)  # of the JPEG that the input pipeline is measured on
SIZE = 224  # side of what it makes
BATCH = 32
CLASSES, SEMANTIC = 100, 300
PARTS = {
    "pipeline": "input pipeline against bare tf.io",
    "extraction": "extraction against TensorFlow's forward pass",
    "epoch": "cached epoch against uncached",
    "mixed": "VGG16 step, mixed_bfloat16 against float32",
    "memory": "memory of a run",
    "runs": "seeds and splits of sketchy_mini",
}
# The whole of Sketchy-Extended as the published lists count it.
SKETCHY_PHOTOS, SKETCHY_SKETCHES = 73_002, 75_471


def run(full: bool, data: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Measures and prints `only` one of `PARTS`, or all, and returns part -> its figures; `ratio` is what has a
    `target`.

    `data` is a folder of JPEG photos, in place of generated ones; for `runs` it holds `sketchy_mini`.
    """
    parts = chosen(only, [part for part in PARTS if part != "runs" or only])  # those take an hour
    prepare_tensorflow()
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = []
        if only not in ("runs", "memory"):
            paths = jpegs(data)[:512] if data else _photos(folder / "photos", 512 if full else 64)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "pipeline": lambda: _pipeline(paths * (4 if full else 1), rounds=5 if full else 3),
            "extraction": lambda: _extraction(paths[: 256 if full else 32], folder, rounds=5 if full else 1),
            "epoch": lambda: _epoch(paths[: 2 * 128 if full else 16], rounds=3 if full else 1),
            "mixed": lambda: _mixed(*(("vgg16", SIZE, 8, 3, True) if full else ("tiny", 32, 2, 1, False))),
            "memory": lambda: _memory(folder / "many", *((SKETCHY_PHOTOS, SKETCHY_SKETCHES) if full else (120, 120))),
            "runs": lambda: _runs(full, data, folder),
        }
        for part in parts:
            results[part] = measures[part]()
            print(f"{PARTS[part]}: {said(results[part])}", flush=True)
    return results


def _pipeline(paths: Sequence[str], rounds: int) -> dict[str, Any]:
    """Guards, decode, resize and batch against reading, decoding and resizing just as accurately, without guards."""
    from tf_ssgn.data.images.reading import image_batches

    floor = _bare(paths)
    ours = functools.partial(image_batches, paths, "photo", SIZE, 0, BATCH)
    times = best(rounds, lambda: collections.deque(floor, 0), lambda: collections.deque(ours(), 0))  # keep nothing
    rates = [len(paths) / taken for taken in times]
    return {"images_per_s": rates[1], "bare_images_per_s": rates[0], "ratio": times[0] / times[1], "target": 0.95}


def _bare(paths: Sequence[str]) -> Any:
    """A dataset of the photos as `tf.io` reads them, in batches."""
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert
    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.image.resize(image, [SIZE, SIZE], method="bilinear", antialias=True)

    files = tf.data.Dataset.from_tensor_slices(list(paths))
    return files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(2)


def _extraction(paths: Sequence[str], folder: Path, rounds: int) -> dict[str, Any]:
    """Files to a feature cache on disk, by whatever is fastest here, against TensorFlow's forward pass of as many
    images that are in memory already; `largest_difference` of a tap, as a share of the largest."""
    from tf_ssgn.models.backbones import build_backbone
    from tf_ssgn.runtime.features import FeatureCache

    backbone = build_backbone("efficientnet_lite0", SIZE, "package", pooling="energy")
    items = [Example(path, "x", "photo", "") for path in paths]
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype(np.float32)
    turn = iter(range(10**6))

    def forward() -> None:
        for _ in range(len(paths) // BATCH):
            backbone.predict_on_batch(images)

    def extract() -> None:
        FeatureCache(folder / f"cache{next(turn)}", backbone, "efficientnet_lite0").taps(items, 0)

    times = best(rounds, forward, extract)
    rates = [len(paths) / taken for taken in times]
    few = items[:BATCH]
    slow = FeatureCache(None, backbone, "efficientnet_lite0").taps(few, 0)[0]
    fast = FeatureCache(folder / "few", backbone, "efficientnet_lite0").taps(few, 0)[0]
    return {
        "images_per_s": rates[1],
        "forward_images_per_s": rates[0],
        "ratio": times[0] / times[1],
        "largest_difference": float(np.abs(fast - slow).max() / np.abs(slow).max()),
        "target": 2.0,
    }


def _epoch(paths: Sequence[str], rounds: int) -> dict[str, Any]:
    """A step on taps from the cache, against one whose pairs go through the frozen backbone first. An epoch is as many
    such steps on either side; the default config, but for the weights."""
    from tf_ssgn.data.images.reading import image_batches

    config = configuration.override(configuration.preset("sketchy-mini"), {"model.weights": "none"})
    trainer = made_up_trainer(config)
    batch = config.training.batch_classes * config.training.batch_per_class
    taps = int(trainer.backbone.output_shape[-1])
    batches = _batches((taps,), (taps * (2 if config.model.contours else 1),), batch)

    def cached(steps: int = 10) -> None:
        trainer.fit(batches(), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    def uncached() -> None:
        for images, _ in image_batches(paths, "photo", SIZE, 0, BATCH):
            trainer.backbone.predict_on_batch(images[:, 0])

    times = best(rounds, cached, uncached)
    step = times[0] / 10
    pictures = batch * (3 if config.model.contours else 2)
    without = times[1] * pictures / len(paths) + step
    return {
        "step_s": step,
        "uncached_step_s": without,
        "pictures_per_step": pictures,
        "ratio": without / step,
        "target": 50,
    }


def _mixed(backbone: str, size: int, batch: int, rounds: int, stages: bool) -> dict[str, Any]:
    """A training step of SSGN, with its `stages` or without, with all of a backbone, in both precisions."""
    steps = []
    for precision in ("float32", "mixed_bfloat16"):
        fields = {
            "model.backbone": backbone, "model.weights": "none", "model.contours": 0, "training.finetune_from": "all",
            "training.precision": precision, "data.image_size": size, "model.coarse": stages, "model.fine": stages,
        }  # fmt: skip
        trainer = made_up_trainer(configuration.override(configuration.preset("sketchy"), fields))
        batches = _batches((size, size, 3), (size, size, 3), batch)
        steps.append(lambda t=trainer, b=batches: t.fit(b(), steps_per_epoch=1, shuffle=False, verbose=0))
    times = best(rounds, *steps)
    return {
        "amx": "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii"),
        "float32_step_s": times[0],
        "mixed_bfloat16_step_s": times[1],
        "ratio": times[0] / times[1],
        "target": "4 with AMX",
    }


def _memory(folder: Path, photos: int, sketches: int) -> dict[str, Any]:
    """Peak resident memory of `train` with the tiny backbone on that many files, in a process of its own."""
    flags = _many_files(folder, photos, sketches)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "tf_ssgn.train", *flags], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    errors = process.stderr.read()
    _, code, usage = os.wait4(process.pid, 0)
    if code:
        raise RuntimeError(f"the run ended with {code}: {errors[-500:]}")
    return {
        "photos": photos,
        "sketches": sketches,
        "seconds": time.perf_counter() - start,
        "peak_gib": usage.ru_maxrss / 2**20,
        "target": "below 8 GiB",
    }


def _runs(full: bool, data: str | None, folder: Path) -> dict[str, Any]:
    """Three seeds on three splits of `sketchy_mini`, trained and evaluated over views, from an empty feature cache."""
    from tf_ssgn.benchmarks.quality import SEEDS, SPLITS, material_in
    from tf_ssgn.runs.evaluate import evaluate_run
    from tf_ssgn.train import train

    material = material_in(data)
    fields: dict[str, Any] = {"semantics.vectors": material["vectors"]}
    if not full:
        fields |= {"model.backbone": "tiny", "model.weights": "none", "data.image_size": 32, "training.epochs": 1}
        fields["data.validation_classes"] = 0
        fields |= dict.fromkeys(
            (f"{part}.{views}" for part in ("training", "evaluation") for views in ("views", "photo_views")), 0
        )
    figures: dict[str, Any] = {"minutes": 0.0, "target": "80 minutes"}
    start = time.perf_counter()
    for seed in range(SEEDS if full else 1):
        for split in (*SPLITS, "sketchy-25-sem-pcyc") if full else SPLITS[:1]:
            run, cache = str(folder / f"{split}-{seed}"), str(folder / "cache")
            config = configuration.override(configuration.preset("sketchy-mini"), fields | {"training.seed": seed})
            train(config, material["data"], split, run, cache)
            metrics, _ = evaluate_run(run, cache=cache)
            figures[f"{split}, seed {seed}: mAP@all"] = metrics["families"][configuration.LEADING_FAMILY]["map_all"]
            figures["minutes"] = (time.perf_counter() - start) / 60
    return figures


def _many_files(folder: Path, photos: int, sketches: int) -> list[str]:
    """A dataset of that many small pictures, all different; returns the flags of a run of one epoch on it."""
    from PIL import Image

    random = np.random.default_rng(0)
    names = [f"class_{number:03d}" for number in range(min(125, photos // 4))]
    for modality, count in (("photo", photos), ("sketch", sketches)):
        for name in names:
            (folder / modality / name).mkdir(parents=True)
        for index in track(range(count), count, f"{modality} files"):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / modality / names[index % len(names)] / f"{index:06d}.jpg", quality=70)
    unseen = max(2, len(names) // 5)
    (folder / "split.json").write_text(json.dumps({"seen": names[unseen:], "unseen": names[:unseen]}))
    vectors = random.standard_normal((len(names), SEMANTIC)).astype(np.float32)
    np.savez(folder / "semantics.npz", names=np.array(names), vectors=vectors)
    flags = {"preset": "demo", "data": folder, "run": folder / "run", "cache": folder / "cache"}
    flags |= {"training.epochs": 1, "data.image_size": 32, "model.backbone": "tiny", "model.weights": "none"}
    return [str(word) for key, value in flags.items() for word in (f"--{key}", value)]


def made_up_trainer(config: Config):
    """A compiled trainer of the config over made-up class vectors."""
    from tf_ssgn.training.trainer import build_trainer, compile_trainer

    vectors = np.random.default_rng(0).standard_normal((CLASSES, SEMANTIC)).astype(np.float32)
    trainer = build_trainer(config, unit(vectors))
    compile_trainer(trainer, 1000)
    return trainer


def _batches(sketch: tuple[int, ...], photo: tuple[int, ...], batch: int) -> Callable[[], Any]:
    """() -> a dataset without end of one made-up batch."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    batches = {
        "sketch": random.uniform(0, 1, (batch, *sketch)).astype(np.float32),
        "photo": random.uniform(0, 1, (batch, *photo)).astype(np.float32),
        "label": np.arange(batch, dtype=np.int32) % CLASSES,
    }
    return lambda: tf.data.Dataset.from_tensors((batches,)).repeat()


def _photos(folder: Path, count: int) -> list[str]:
    """JPEG files of `SIDES` with about as much detail as photos have: 40 to 50 KB each."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    paths = []
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).resize(SIDES, Image.Resampling.BICUBIC)
        noise = random.normal(0, 6, (SIDES[1], SIDES[0], 1))
        pixels = np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{index:04d}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=88)
    return paths
