"""Names the commands, and runs one of them: `tf-ssgn COMMAND` is `python -m tf_ssgn.COMMAND`."""

import importlib
import sys

from tf_ssgn import __version__
from tf_ssgn.common import cli
from tf_ssgn.errors import UserError

COMMANDS = {
    "search": "find photos of yours by drawing: index a folder and open the page",
    "demo": "all of the below on a drawn dataset, in minutes",
    "prepare": "draw a dataset, check a copy of a published one, list splits and layouts, look at class vectors",
    "train": "train a model on the seen classes of a dataset",
    "evaluate": "measure a run, or features of any model, by five published definitions",
    "export": "a run as SavedModels, versioned as TensorFlow Serving wants them",
    "index": "make and keep a gallery of photos",
    "serve": "answer sketches with photos: gRPC, REST and a page to draw on",
    "query": "ask a server from the terminal",
    "bench": "measure speed and quality on this machine",
}


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(f"tf_ssgn {__version__}: draw something, get photographs of it\n")
        print("\n".join(f"  tf-ssgn {name:{width}}  {does}" for name, does in COMMANDS.items()))
        print("\nEach has --help, and is python -m tf_ssgn.COMMAND as well. To begin: tf-ssgn search FOLDER")
    elif words[0] == "--version":
        print(f"tf_ssgn {__version__}")
    else:
        cli.run(_command, words)


def _command(words: list[str] | None) -> int | None:
    name, *rest = words or [""]
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}; expected one of {', '.join(COMMANDS)}")
    return importlib.import_module(f"tf_ssgn.{name}").main(rest)


if __name__ == "__main__":
    main()
