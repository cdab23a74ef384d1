"""Files to vectors and files to gallery through each runtime, against the bare TensorFlow forward pass.

The bare pass gets its pixels ready made: it reads, decodes and stores nothing. All alternate in one process, so the
ratio of the medians is the figure to watch. Weights are drawn at random: they do not change the time.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import noting, seconds
from tf_ssgn.config import Model
from tf_ssgn.errors import UserError
from tf_ssgn.settings import SERVING

SEMANTIC, CLASSES = 300, 100


def run(
    full: bool, data: str | None = None, backbone: str = "", photos: int = 0, rounds: int = 0, weights: str = "none"
) -> dict[str, Any]:
    """Measures and prints, with the photos below `data`, or drawn ones of 256 pixels.

    Returns `images_per_second` of `bare` (pixels to vectors through TensorFlow), and of `vectors_<runtime>` and
    `gallery_<runtime>`; `ratio` of each to the bare pass; `lowest_cosine` of the runtimes' vectors.
    """
    backbone = backbone or ("mobilenet_v2" if full else "tiny")
    photos, rounds = photos or (256 if full else 64), rounds or (5 if full else 2)
    with tempfile.TemporaryDirectory() as temporary:
        files = photos_of(data, Path(temporary), photos)
        contents = [path.read_bytes() for path in files]
        module, models = build(backbone, weights)
        pixels = module.decode_photo(np.array(contents[: SERVING.batch], object))[0]
        steps: dict[str, tuple[int, Callable[[], Any]]] = {
            "bare": (len(pixels), lambda: module.encode_photo(pixels)["code"].numpy())
        }
        for name, model in models.items():
            steps[f"vectors_{name}"] = (photos, partial(_vectors, model, contents))
            steps[f"gallery_{name}"] = (photos, partial(_gallery, model, files, Path(temporary)))
        times = [[seconds(step) for _, step in steps.values()] for _ in range(1 + rounds)]
        medians = np.median(times[1:], axis=0)
        rates = {name: count / float(taken) for (name, (count, _)), taken in zip(steps.items(), medians, strict=True)}
        vectors = [_vectors(model, contents) for model in models.values()]
    lengths = np.linalg.norm(vectors[0], axis=1) * np.linalg.norm(vectors[-1], axis=1)
    lowest = float((np.einsum("nd,nd->n", vectors[0], vectors[-1]) / lengths).min())
    ratios = {name: rate / rates["bare"] for name, rate in rates.items()}
    note = noting({}, 20)
    for name, rate in rates.items():
        note(name, {"images/s": rate, "ratio": ratios[name]})
    print(f"lowest cosine between the runtimes: {lowest:.7f}")
    about = {"backbone": backbone, "photos": photos}
    return {**about, "images_per_second": rates, "ratio": ratios, "lowest_cosine": lowest}


def build(backbone: str, weights: str) -> tuple[Any, dict[str, Any]]:
    """An untrained model's graph, and what each runtime that is there makes of it, by name."""
    from tf_ssgn.runtime import openvino_model
    from tf_ssgn.runtime.saved_model import EmbeddingModel, tensorflow_functions

    module, card = _untrained(backbone, weights)
    functions = {"tensorflow": tensorflow_functions(module)}
    if not openvino_model.why_not(module):
        functions["openvino"] = openvino_model.openvino_functions(module, card["fingerprint"])
    return module, {
        name: EmbeddingModel(backbone, card, function, f"{name} f32") for name, function in functions.items()
    }


def _untrained(backbone: str, weights: str) -> tuple[Any, dict[str, Any]]:
    """The graph, and what its card says at least."""
    from tf_ssgn.models.backbones import build_backbone
    from tf_ssgn.models.ssgn import SSGN
    from tf_ssgn.runtime.publish import model_fingerprint
    from tf_ssgn.runtime.signatures import EmbeddingGraph

    side = 64 if backbone == "tiny" else 224
    network = build_backbone(backbone, side, weights)
    ssgn = SSGN(Model(backbone=backbone), int(network.output_shape[-1]), SEMANTIC, CLASSES)
    vectors = np.eye(CLASSES, SEMANTIC, dtype=np.float32)
    module = EmbeddingGraph(network, ssgn, 0, 0, [f"class {index}" for index in range(CLASSES)], vectors)
    mark = model_fingerprint(network, ssgn, side, 0, 0, 0)
    return module, {"fingerprint": mark, "dimension": ssgn.config.code, "views": 0, "photo_views": 0}


def write_model(folder: Path, backbone: str) -> None:
    """Exports an untrained model as `folder/embed`."""
    from tf_ssgn.runtime import publish as export
    from tf_ssgn.runtime.saved_model import SIGNATURES

    module, card = _untrained(backbone, "none")
    card = {**card, "semantic_dimension": SEMANTIC, "name": "drawn", "content": "1", "signatures": []}
    unknown = ("backbone", "image_size", "evaluation_views", "evaluation_photo_views", "dataset", "split", "seed")
    card |= dict.fromkeys((*unknown, "weights"), "none")
    functions = {name: getattr(module, name).get_concrete_function() for name in SIGNATURES}
    export.publish(folder / "embed", module, functions, {**card, "seen": []}, [])


def photos_of(data: str | None, temporary: Path, count: int) -> list[Path]:
    """Photos of all classes, by turns evenly over what is there; drawn where no folder is given."""
    folder = Path(data or temporary / "drawn")
    if data is None:
        from tf_ssgn.data.drawing.dataset import write_dataset

        write_dataset(folder, photos_per_class=-(-count // 32), sketches_per_class=1, size=256)
        folder /= "photo"
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(files) < count:
        raise UserError(f"--data: {folder} has {len(files)} photos (PNG, JPEG), expected {count} or more")
    return files[:: len(files) // count][:count]


def _vectors(model: Any, contents: list[bytes]) -> np.ndarray:
    """As `index` and `serve` do it: in batches of the most that a request may have."""
    parts = []
    for start in range(0, len(contents), SERVING.batch):
        batch = np.array(contents[start : start + SERVING.batch], object)
        parts.append(model.call("embed_photo", {"image_bytes": batch})["embedding"])
    return np.concatenate(parts)


def _gallery(model: Any, files: list[Path], temporary: Path) -> None:
    """`index build` of those files."""
    from tf_ssgn.retrieval.folder import builder

    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        source = Path(folder, "photos")
        source.mkdir()
        for number, file in enumerate(files):
            shutil.copyfile(file, source / f"{number}{file.suffix}")
        builder.build(Path(folder, "gallery"), [source], model)
