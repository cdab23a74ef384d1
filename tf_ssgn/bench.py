"""Measure: each subject prints a table with the machine's facts and writes JSON.

python -m tf_ssgn.bench evaluate                             # a small part, in seconds
python -m tf_ssgn.bench evaluate --full --out evaluate.json
python -m tf_ssgn.bench quality --full --data MATERIAL        # the folder that holds sketchy_mini
"""

import importlib
import inspect
import os
import pkgutil
import platform
from pathlib import Path
from typing import Any

from tf_ssgn import benchmarks
from tf_ssgn.common import atomic, cli
from tf_ssgn.errors import UserError

LONG_TESTS = ("crash", "fuzz", "page", "reload", "resume", "soak")  # once subjects of this command


def main(argv: list[str] | None = None) -> int | None:
    names = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    subjects = sorted(names)
    parser = cli.Parser(prog="python -m tf_ssgn.bench", description=__doc__)
    flag = parser.add_argument
    flag("subject", metavar="SUBJECT", help=", ".join(subjects))
    flag("--full", action="store_true", help="the full counts; without it a small part with a fixed seed")
    flag(
        "--data",
        metavar="DIR",
        help="measure on these photos; for quality and the runs of train the folder that holds sketchy_mini, with "
        "weights/ and vectors/ beside it",
    )
    flag(
        "--only",
        metavar="PART",
        help="one part alone, for quality one split (subjects that have parts; a wrong name lists them)",
    )
    flag("--out", metavar="FILE", help="where the JSON goes [bench-SUBJECT.json]")
    flag("--json", action="store_true", help="also print the JSON on one line")
    arguments = parser.parse_args(argv)
    subject = arguments.subject
    if subject in LONG_TESTS:
        raise UserError(f"the subject {subject} is now a test; in a clone of the repository: make long ONLY={subject}")
    if subject not in subjects:
        raise UserError(f"the subject is {subject!r}, expected one of {', '.join(subjects)}")
    facts = machine()
    cli.log("; ".join(f"{key} {value}" for key, value in facts.items()))
    run = importlib.import_module(f"tf_ssgn.benchmarks.{subject}").run
    options: dict[str, Any] = {"full": arguments.full}
    wrong = {"data": "makes its own data", "only": "has no parts"}
    for name in wrong:
        if (value := getattr(arguments, name)) is not None:
            if name not in inspect.signature(run).parameters:
                raise UserError(f"--{name}: the subject {subject} {wrong[name]}; leave it out")
            options[name] = value
    result = run(**options)
    result = cli.jsonable({"subject": subject, "full": arguments.full, "machine": facts, **result})
    out = Path(arguments.out or f"bench-{subject}.json")
    atomic.write_json(out, result)
    cli.log(f"wrote {out}")
    if arguments.json:
        cli.print_json(result)
    return 0


def machine() -> dict[str, Any]:
    """What a figure was measured on."""
    cpu = platform.processor() or platform.machine()
    memory = 0.0
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
        memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    except OSError:
        pass
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    cli.run(main)
