"""The cache of frozen features: raw taps per image and view on disk, shared by all runs, seeds and splits.

One folder per way of computing (backbone, weights, image size, preprocessing, precision); in it immutable packs
`<random>.npz` with `names` (content hash, modality, view; `contour` is the contour drawing of a photo) and for each
tap, under its layer's name, float32 `[n, channels]`: runs that fuse fewer taps read those of others.
Every writer makes packs of its own under a temporary name, so concurrent runs share the folder without locks; a damaged
pack fails its checksum, is removed, and its images are computed again.
"""

import functools
import hashlib
import importlib.util
import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tf_ssgn.common.atomic import stamp, writing
from tf_ssgn.common.cli import log
from tf_ssgn.common.hashes import file_sha256
from tf_ssgn.common.npz import DAMAGED_ARCHIVE
from tf_ssgn.common.progress import Progress
from tf_ssgn.common.status import Status
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.errors import UserError, reason
from tf_ssgn.settings import FEATURE_BATCH, PACK_IMAGES, PREPROCESSING_VERSION


class FeatureCache:
    """Taps of images by a frozen backbone (images `[B, size, size, 3]` to taps `[B, D]`), computed once.

    Packs are kept below `folder` in one named after the way of computing, its `name` first, for people who look; None
    keeps nothing on disk, for a backbone that is still changing.
    """

    def __init__(self, folder: str | os.PathLike | None, backbone, name: str):
        from tf_ssgn.models.backbones import architecture_of, energy_tap, pooling_of, tap_sizes, weights_hash

        self.backbone = backbone
        self.sizes = tap_sizes(backbone)
        self.image_size = int(backbone.input_shape[1])
        self.folder: Path | None = None
        self._frozen = False
        if folder is None:
            return
        pooling = pooling_of(backbone)
        if tap := energy_tap(backbone):
            pooling += f" of {tap}"
        what = architecture_of(backbone) or name
        key = [what, self.image_size, PREPROCESSING_VERSION, weights_hash(backbone), pooling]
        dtypes = sorted({layer.compute_dtype for layer in backbone.layers})
        if dtypes != ["float32"]:
            key += dtypes  # the taps of a mixed precision are others
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        readable = re.sub(r"[^\w.]+", "-", Path(name).name)
        self.folder = Path(folder) / f"{readable}-{self.image_size}-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._frozen = dtypes == ["float32"]
        # Packs are shared by backbones with other taps, a converted backbone is not.
        self._name = f"{self.folder.name}-{hashlib.sha256(json.dumps(list(self.sizes)).encode()).hexdigest()[:8]}"

    def taps(self, items: Sequence[Example], views: int) -> tuple[np.ndarray, np.ndarray]:
        """The taps of all items, from disk where known: float32 `[N, 1 + views, D]`, and status int32 `[N]`; a row
        whose status is not 0 is zero."""
        stamps = [stamp(item.path) for item in items]
        hashes = [_content_hash(item.path) for item in items]
        taps = np.zeros((len(items), 1 + views, int(self.backbone.output_shape[-1])), np.float32)
        status = np.full(len(items), Status.OK, np.int32)
        wanted: dict[bytes, list[tuple[int, int]]] = {}
        for row, (item, digest) in enumerate(zip(items, hashes, strict=True)):
            if not digest:
                status[row] = Status.EMPTY
                continue
            for view in range(1 + views):
                wanted.setdefault(_name(digest, item.modality, view), []).append((row, view))
        missing = self._read(wanted, taps)
        rows = sorted({row for name in missing for row, _ in wanted[name]})
        for modality in ("sketch", "photo", "contour"):
            self._compute(
                modality, [row for row in rows if items[row].modality == modality], items, hashes, stamps, taps, status
            )
        return taps, status

    def _read(self, wanted: dict[bytes, list[tuple[int, int]]], taps: np.ndarray) -> set[bytes]:
        """Fills `taps` from the packs; returns the names that no pack has all taps of."""
        missing = set(wanted)
        for path in sorted(self.folder.glob("[!.]*.npz")) if self.folder else ():
            try:
                with np.load(path, allow_pickle=False) as pack:
                    names = pack["names"].tolist()
                    if missing.isdisjoint(names) or not self.sizes.keys() <= set(pack.files):
                        continue
                    parts = [pack[tap] for tap in self.sizes]
                    for part, size in zip(parts, self.sizes.values(), strict=True):
                        if part.shape != (len(names), size):
                            raise ValueError(f"a tap of shape {part.shape}, expected {(len(names), size)}")
                    values = np.concatenate(parts, axis=-1)
            except DAMAGED_ARCHIVE as error:
                log(f"feature cache: {path} is damaged ({reason(error)}); its images are computed again")
                path.unlink(missing_ok=True)
                continue
            for index, name in enumerate(names):
                if name in missing:
                    missing.discard(name)
                    for row, view in wanted[name]:
                        taps[row, view] = values[index]
        return missing

    def _compute(
        self,
        modality: str,
        rows: list[int],
        items: Sequence[Example],
        hashes: Sequence[str],
        stamps: Sequence[tuple[int, int, int] | None],
        taps: np.ndarray,
        status: np.ndarray,
    ) -> None:
        """Runs the backbone over images, writing a pack every `PACK_IMAGES` of them."""
        from tf_ssgn.data.images.reading import image_batches
        from tf_ssgn.models.contours import contours

        if not rows:
            return
        views = taps.shape[1]
        names: list[bytes] = []
        values: list[np.ndarray] = []
        done = 0
        paths = [items[row].path for row in rows]
        forward = self._forward
        # A batch holds whole images with all their views, about FEATURE_BATCH pictures together.
        batches = image_batches(paths, modality, self.image_size, views - 1, max(1, FEATURE_BATCH // views))
        with Progress(len(rows), f"features of {modality} images") as bar:
            for images, codes in batches:
                pictures = images.reshape(-1, *images.shape[2:])
                if modality == "contour":
                    pictures = contours(pictures)
                computed = forward(np.asarray(pictures))
                computed = np.asarray(computed, np.float32).reshape(len(codes), views, -1)
                for code, image_taps in zip(codes, computed, strict=True):
                    row = rows[done]
                    done += 1
                    status[row] = code
                    if code == Status.OK:
                        taps[row] = image_taps
                    if code == Status.OK and stamp(items[row].path) == stamps[row]:  # else the hash is of other pixels
                        names += [_name(hashes[row], modality, view) for view in range(views)]
                        values += list(image_taps)
                bar.advance(len(codes))
                if len(values) >= PACK_IMAGES or not self.folder:
                    self._write(names, values)
                    names, values = [], []
        self._write(names, values)

    @functools.cached_property
    def _forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """The fastest way to compute the taps of images here; a backbone that is still changing goes the plain way."""
        import keras

        if keras.backend.backend() == "jax":
            return jitted(self.backbone)
        if self._frozen and keras.backend.backend() == "tensorflow" and importlib.util.find_spec("openvino"):
            from tf_ssgn.runtime.taps import Taps

            try:
                return Taps(self.backbone, self._name)
            except UserError as error:
                log(f"features through TensorFlow, which takes about twice as long: {error}")
        return self.backbone.predict_on_batch

    def _write(self, names: list[bytes], values: list[np.ndarray]) -> None:
        if not self.folder or not names:
            return
        ends = np.cumsum(list(self.sizes.values()))[:-1]
        parts = dict(zip(self.sizes, np.split(np.stack(values), ends, axis=-1), strict=True))
        with writing(self.folder / f"{secrets.token_hex(8)}.npz") as temporary:
            np.savez(temporary, **parts, names=np.array(names))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=2)  # a backbone in training comes again after each epoch
def jitted(backbone) -> Callable[[np.ndarray], np.ndarray]:
    """For JAX. Keras's own `predict` gives the buffers of all variables away, and DINOv2 has one of them twice."""
    import jax

    call = jax.jit(lambda values, images: backbone.stateless_call(*values, images, training=False)[0])

    def forward(images: np.ndarray) -> np.ndarray:
        sides = (backbone.trainable_variables, backbone.non_trainable_variables)
        return np.asarray(call([[variable.value for variable in side] for side in sides], images))

    return forward


def _content_hash(path: str) -> str:
    """Of the file's bytes, so that a renamed file keeps its features; "" for one that cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _name(digest: str, modality: str, view: int) -> bytes:
    return f"{digest[:40]}-{modality}-{view}".encode()
