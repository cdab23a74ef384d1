"""What all commands share: one-line errors, exit codes, typed flags for config fields, the last line of `--json`."""

import argparse
import errno
import gc
import glob
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tf_ssgn.errors import UserError

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130
EXAMPLES = "examples:"
# What a disk does that is full or not ours, wherever it strikes; any other OSError is a bug.
DISK_ERRORS = (
    errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOLCK,
)  # fmt: skip


# The extra that brings a package, where it is not `serve`.
EXTRAS = {
    **dict.fromkeys(("jax", "jaxlib"), "jax"),
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client"), "web"),
    **{"pyarrow": "parquet", "pyspark": "spark", "pymilvus": "milvus", "faiss": "bench", "opentelemetry": "otel"},
}

# Where an NVIDIA driver shows its devices: of its own, and in the Windows subsystem for Linux.
GPU_NODES = ("/dev/nvidia*", "/dev/dxg")


def prepare_tensorflow() -> None:
    """Keeps TensorFlow's C++ start-up messages off stderr and chooses its faster convolutions; call it before
    TensorFlow is imported."""
    # Where there is no GPU, TensorFlow reports that as an error, whatever CUDA_VISIBLE_DEVICES says.
    gpu = any(glob.glob(node) for node in GPU_NODES)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if gpu else "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Without AVX-512 TensorFlow leaves oneDNN off, and MobileNetV2 took 1.7 times as long (64 against 37 images/s).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def log(message: str) -> None:
    """Prints progress to stderr, so that stdout holds results only."""
    if sys.stderr is not None:  # closed: `print` would take stdout for it
        print(message, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Prints one JSON object on one line; NaN and infinities become null."""
    text = json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # JSON has a way of its own to write what this output cannot
        text = json.dumps(jsonable(value), allow_nan=False)
    print(text, flush=True)


def jsonable(value: Any) -> Any:
    """Plain JSON types from dataclass-free nested values; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class _Help(argparse.HelpFormatter):
    """Keeps the lines of a text with examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\npython -m " in text or text.startswith(EXAMPLES):
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, like all others; it takes no argument that holds a NUL. `examples`
    are command lines, without `python -m`, that the end of `--help` shows."""

    def __init__(self, *positional: Any, examples: Sequence[str] = (), **named: Any):
        lines = "".join(f"\n  python -m tf_ssgn.{example}" for example in examples)
        super().__init__(*positional, **{"formatter_class": _Help, **named, "epilog": lines and EXAMPLES + lines})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for word in sys.argv[1:] if args is None else args:
            if "\0" in word:  # no shell can pass one, but a caller of `main` can, and `open` raises ValueError
                raise UserError(f"received the argument {word!r:.80}, expected text without NUL")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see {self.prog} --help")


def number(least: float, most: float = math.inf, what: str = "") -> Callable[[str], Any]:
    """The type of a flag: a number within these bounds, a whole one if `least` is; `what` says of what."""

    def read(text: str) -> float:
        try:
            value = type(least)(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            bounds = f"{what}{least} to {most:.0f}" if most < math.inf else f"a whole number of {least} or more"
            raise argparse.ArgumentTypeError(f"received {text!r:.80}, expected {bounds}")
        return value

    return read


def missing_package(name: str) -> str:
    """The line for a Python that tf_ssgn was not installed into, or not with the extra that is needed."""
    extra = EXTRAS.get(name, "serve")
    return (
        f"the package {name} is not installed for {sys.executable}; activate the environment that tf_ssgn was "
        f"installed into (. .venv/bin/activate), or install it with what it needs (pip install -e '.[{extra}]')"
    )


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> None:
    """Runs a command's `main` and turns its outcome into an exit code: `UserError` becomes one line on stderr and 2,
    Ctrl-C 130. Anything else is a bug and keeps its traceback."""
    prepare_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an output of another encoding cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(argv) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        log(f"error: {error}")
        code = EXIT_MISTAKE
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "tf_ssgn"):
            raise
        log(f"error: {missing_package(package)}")
        code = EXIT_MISTAKE
    except BrokenPipeError:  # `... | head` closed our stdout
        sys.stdout = None  # type: ignore[assignment]
        code = 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        place = error.filename or "a file"
        log(f"error: {place}: {error.strerror}; check space and rights there, then run the same command again")
        code = EXIT_MISTAKE
    except KeyboardInterrupt:
        log("interrupted; run the same command again to continue")
        code = EXIT_INTERRUPTED
    gc.freeze()  # nothing is looked through once more for what could be freed: half a second, after TensorFlow
    sys.exit(code)
