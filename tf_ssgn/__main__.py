"""Names the commands: python -m tf_ssgn"""

from __future__ import annotations

from tf_ssgn import __version__

COMMANDS = {
    "demo": "all of the below on a drawn dataset, in minutes",
    "prepare": "draw a dataset, check a copy of a published one, list splits and layouts, look at class vectors",
    "train": "train a model on the seen classes of a dataset",
    "evaluate": "measure a run, or features of any model, by every published definition",
    "export": "a run as SavedModels, versioned as TensorFlow Serving wants them",
    "index": "make and keep a gallery of photos",
    "serve": "answer sketches with photos: gRPC, REST and a page to draw on",
    "query": "ask a server from the terminal",
    "bench": "measure speed and quality on this machine",
}


def main() -> None:
    width = max(map(len, COMMANDS))
    print(f"tf_ssgn {__version__}: draw something, get photographs of it\n")
    print("\n".join(f"  python -m tf_ssgn.{name:{width}}  {does}" for name, does in COMMANDS.items()))
    print("\nEach has --help. To begin: python -m tf_ssgn.demo")


if __name__ == "__main__":
    main()
