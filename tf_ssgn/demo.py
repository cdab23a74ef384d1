"""All of tf_ssgn in one go on drawn pictures: draw, index, serve, query; then train, evaluate, export.

python -m tf_ssgn.demo                  # everything into demo/
python -m tf_ssgn.demo --serve          # open the page to draw on
python -m tf_ssgn.demo --to elsewhere --seed 1

First the shipped model searches, which saw no drawn picture; then a model is trained on 24 of the 32 drawn classes.
Needs no data and no network. Every step is the command that it names, so each can be repeated by hand.
"""

import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tf_ssgn import settings
from tf_ssgn.common import cli
from tf_ssgn.errors import UserError
from tf_ssgn.settings import MODEL, START_SECONDS

DEFAULT = "demo"
ANSWERS = 8  # photos per sketch in the picture
PHOTOS, SKETCHES = 30, 20  # of each class: what two cores index and train on in two minutes
ASKED = 2  # sketches of each class that the share of right answers is counted on
LAST = "answers.png"  # of what the demo makes
CELL = 88  # pixels of one picture there


def main(argv: list[str] | None = None) -> int | None:
    parser = cli.Parser(prog="python -m tf_ssgn.demo", description=__doc__)
    parser.add_argument("--to", default=DEFAULT, metavar="DIR", help="folder for everything that is made [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the drawings and of the training [0]")
    parser.add_argument(
        "--serve", action="store_true", help="serve it and open the page to draw on; makes only what is not there yet"
    )
    arguments = parser.parse_args(argv)
    from tf_ssgn.serving import SERVER_NEEDS, require_extra

    require_extra(SERVER_NEEDS)
    folder = Path(arguments.to)
    if not (arguments.serve and (folder / LAST).exists()):
        make(folder, arguments.seed)
    if arguments.serve:
        step("serve", "--model", MODEL, "--gallery", folder / "gallery", "--open")
    return 0


def make(folder: Path, seed: int) -> None:
    """Everything in the folder, and a few words on where to look."""
    start = time.monotonic()
    data, run, gallery, picture = folder / "data", folder / "run", folder / "gallery", folder / LAST
    numbers = ("--photos-per-class", PHOTOS, "--sketches-per-class", SKETCHES)
    step("prepare", "synthetic", data, "--seed", seed, *numbers)
    if not indexed(gallery):
        step("index", "build", data / "photo", "--model", MODEL, "--to", gallery)
    share = served(gallery, data, folder, picture)
    step("train", "--preset", "demo", "--data", data, "--run", run, "--seed", seed)
    metrics = evaluated(run)
    step("export", run, "--to", folder / "saved_models")

    kinds, asked = len(classes(data)), queries(data)
    print(f"""
The shipped model `{MODEL}` saw no drawn picture. Of the first {ANSWERS} photos that it finds for a drawing, among all
{kinds} classes, {share:.0%} are right (P@{ANSWERS} {share:.3f}; guessing would give {1 / kinds:.3f}).""")
    print(table(metrics, len(asked)))
    print(f"""
done in {time.monotonic() - start:.0f} s. Look at
  {picture}             drawings, and the photos that `{MODEL}` found, of all classes
  {run / "report.html"}         the whole evaluation
draw something yourself, in the browser:
  {draw_command(folder)}
while that runs, in another terminal (after `. .venv/bin/activate`, where make demo installed everything)
  python -m tf_ssgn.query {asked[0][1]} --server localhost:{settings.SERVING.port} --html out.html
and then
  python -m tf_ssgn.train --help       train on sketches and photos of your own""")


def draw_command(folder: Path) -> str:
    """What serves this demo and opens its page, with the interpreter that runs now: no activation is needed."""
    words = [os.path.relpath(sys.executable), "-m", "tf_ssgn.demo", "--serve"]
    words += [] if folder == Path(DEFAULT) else ["--to", str(folder)]
    return shlex.join(words)


def step(command: str, *arguments: Any) -> None:
    """Runs one command in this process; importing TensorFlow nine times would be most of the demo."""
    import importlib

    cli.prepare_tensorflow()  # a notebook calls this without `cli.run`
    words = [str(argument) for argument in arguments]
    cli.log(f"\n$ python -m tf_ssgn.{command} {shlex.join(words)}")
    importlib.import_module(f"tf_ssgn.{command}").main(words)


def evaluated(run: Path) -> dict[str, Any]:
    from tf_ssgn.runs.evaluate import evaluate_run

    cli.log(f"\n$ python -m tf_ssgn.evaluate {run}")
    return evaluate_run(run)[0]


def table(metrics: dict[str, Any], classes: int) -> str:
    """The trained codes beside the untrained backbone and guessing, on so many unseen classes of equal size."""
    ours = metrics["families"]["sem_pcyc"]
    cut = min(int(name.rpartition("_")[2]) for name in ours if name.startswith("precision_at_"))
    chance = dict.fromkeys(("map_all", f"precision_at_{cut}"), 1 / classes)
    rows = {"guessing": chance, "untrained backbone": metrics["stages"]["untrained"]["sem_pcyc"], "SSGN": ours}
    figures = [f"{name:<34} {one['map_all']:8.3f} {one[f'precision_at_{cut}']:8.3f}" for name, one in rows.items()]
    head = f"\n{f'{classes} unseen classes (family sem_pcyc)':<34} {'mAP@all':>8} {f'P@{cut}':>8}"
    note = f"P@{cut}: how many of the first {cut} photos are right, where only photos of these classes are searched"
    return "\n".join([head, *figures, note])


def indexed(gallery: Path) -> bool:
    """Whether the gallery is there already, made by this very model."""
    import tf_ssgn

    if not gallery.exists():
        return False
    try:
        tf_ssgn.Gallery.open(gallery).require_model(tf_ssgn.load(MODEL).fingerprint)
    except UserError:
        return False
    return True


def served(gallery: Path, data: Path, folder: Path, picture: Path) -> float:
    """Starts a server of its own on a free port, asks it as any client would, and stops it again; returns P@8."""
    words = ["--model", MODEL, "--gallery", str(gallery), "--port", "0", "--http-port", "-1"]
    cli.log(f"\n$ python -m tf_ssgn.serve {shlex.join(words)} &")
    with open(folder / "serve.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tf_ssgn.serve", *words], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        address = ready(server, START_SECONDS)
        if not address:
            raise UserError(
                f"the server was not ready within {START_SECONDS} s; {folder / 'serve.log'} says how far it came"
            )
        step("query", queries(data)[0][1], "--server", address, "-k", ANSWERS, "--html", folder / "answers.html")
        draw_answers(address, data, picture)
        return precision(address, data)
    finally:
        server.terminate()
        try:
            server.wait(timeout=settings.SERVING.grace_seconds + 5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ready(server: subprocess.Popen[str], seconds: float) -> str:
    """The address of a server's ready line; empty where none came in that time, or the server ended before."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert server.stdout is not None
    threading.Thread(target=lambda out=server.stdout: lines.put(out.readline()), daemon=True).start()
    try:
        line = re.match(r"ready grpc=(\S+)", lines.get(timeout=seconds))
    except queue.Empty:
        return ""
    return line.group(1) if line else ""


def classes(data: Path) -> list[str]:
    return sorted(folder.name for folder in (data / "sketch").iterdir())


def precision(address: str, data: Path) -> float:
    """The mean share of right ones among the first photos, over the first sketches of every class."""
    from tf_ssgn.client import Client

    right = asked = 0
    with Client(address, timeout=START_SECONDS) as client:
        for label in classes(data):
            for sketch in sorted((data / "sketch" / label).iterdir())[:ASKED]:
                right += sum(hit.label == label for hit in client.search(sketch, k=ANSWERS))
                asked += ANSWERS
    return right / asked


def queries(data: Path) -> list[tuple[str, Path]]:
    """The unseen classes, and the first drawing of each."""
    from tf_ssgn.data.datasets.splits import read_split

    unseen = read_split(str(data / "split.json")).unseen
    return [(label, sorted((data / "sketch" / label).iterdir())[0]) for label in sorted(unseen)]


def draw_answers(address: str, data: Path, picture: Path) -> None:
    """A drawing in each row, and the photos found among all classes, framed by right and wrong. The rows are the
    classes that the second act tests on: they were chosen before any answer was seen."""
    from tf_ssgn.client import Client
    from tf_ssgn.common.atomic import writing
    from tf_ssgn.evaluation.report.pictures import Grid, Picture, sheet

    grid = Grid("", [])
    with Client(address) as client:
        for label, sketch in queries(data):
            hits = client.search(sketch, k=ANSWERS)
            grid.rows.append((Picture(sketch), [Picture(data / hit.id, hit=hit.label == label) for hit in hits]))
    with writing(picture) as temporary:
        sheet(grid, CELL).save(temporary)


if __name__ == "__main__":
    cli.run(main)
