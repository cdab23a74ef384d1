"""Gets data ready: draws a synthetic dataset, checks a local copy of a published one, lists what is known."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common import cli
from tf_ssgn.config import PRESETS
from tf_ssgn.errors import UserError
from tf_ssgn.settings import RASTER, SYNTHETIC, Raster

if TYPE_CHECKING:
    from tf_ssgn.data.check import Findings

EXAMPLES = {
    "list": ["prepare list", "prepare list --json"],
    "synthetic": ["prepare synthetic drawn --photos-per-class 20"],
    "check": ["prepare check DATA --dataset sketchy", "prepare check DATA --dataset folder --split split.json --json"],
    "semantics": ["prepare semantics --vectors word2vec.npz --names giraffe zebra"],
    "strokes": ["prepare strokes quickdraw --to DATA/sketch --per-class 600"],
}
DATASETS = ("sketchy", "tuberlin", "quickdraw", "folder")


def parser() -> cli.Parser:
    shown = [example for examples in EXAMPLES.values() for example in examples[:1]]
    command = cli.Parser(prog="python -m tf_ssgn.prepare", description=__doc__, examples=shown)
    verbs = command.add_subparsers(metavar="COMMAND", required=True)

    def verb(
        name: str, do: Callable[[argparse.Namespace], int], text: str, description: str | None = None
    ) -> Callable[..., Any]:
        sub = verbs.add_parser(name, help=text, description=description, examples=EXAMPLES[name])
        sub.set_defaults(do=do)
        return sub.add_argument

    flag = verb("list", _list, "datasets, folder layouts, splits with their checksums, presets")
    flag("--json", action="store_true", help="print one JSON object instead")

    flag = verb("synthetic", _synthetic, "draw a dataset of photo-like pictures and sketches into DIR")
    flag("folder", metavar="DIR", help="a new or empty folder")
    flag("--photos-per-class", type=cli.number(1), default=SYNTHETIC.photos_per_class, help="(%(default)s)")
    flag("--sketches-per-class", type=cli.number(1), default=SYNTHETIC.sketches_per_class, help="(%(default)s)")
    flag("--size", type=cli.number(1), default=SYNTHETIC.size, help="side in pixels (%(default)s)")
    flag("--seed", type=int, default=SYNTHETIC.seed, help="(%(default)s)")

    flag = verb(
        "check",
        _check,
        "verify a local copy of a dataset; says what to get and where it belongs",
        description="Reads every file once. Exit code 0: complete; 1: problems, each with what to do; 2: a mistake in "
        "the call.",
    )
    flag("folder", metavar="DIR", help="the folder that holds the dataset, in any published layout")
    flag("--dataset", required=True, choices=DATASETS, help="folder: one's own, nothing to compare with")
    flag("--split", default="", metavar="NAME-or-FILE", help="also check this split's queries and gallery")
    flag("--duplicates", action="store_true", help="Sketchy: count the original photos twice, as lists do")
    flag(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out files and folders of this name, or with a / of this path below DIR, as `train --data.exclude` "
        "does; may be repeated",
    )
    flag("--json", action="store_true", help="print one JSON object instead")

    flag = verb("semantics", _semantics, "class vectors from a file, and each class's nearest neighbours")
    flag("--vectors", required=True, metavar="FILE", help=".npz, .bin, .txt, .vec, or hub:HANDLE-OR-FOLDER")
    flag("--names", nargs="+", default=[], metavar="NAME", help="class names")
    flag("--split", default="", metavar="NAME-or-FILE", help="the classes of this split")
    flag("--cache", metavar="DIR", help="else TF_SSGN_CACHE, else the user's cache folder")
    flag("-k", type=cli.number(1), default=5, help="neighbours of each class (%(default)s)")

    flag = verb("strokes", _strokes, "QuickDraw .ndjson files or SVG drawings to PNG files, DIR/<class>/<key>.png")
    flag("source", metavar="SOURCE", help="a folder of *.ndjson, *.ndjson.gz or <class>/*.svg, or one such file")
    flag("--to", required=True, metavar="DIR", help="the folder of sketches to write")
    flag("--size", type=cli.number(1), default=RASTER.size, help="side in pixels (%(default)s)")
    flag("--line-width", type=float, default=RASTER.line_width, help="in pixels; an SVG has its own (%(default)s)")
    flag("--padding", type=int, default=RASTER.padding, help="white border in pixels (%(default)s)")
    flag("--per-class", type=cli.number(1), default=0, help="at most so many of each class (all)")
    flag("--recognized", action="store_true", help="only drawings that the game recognised")
    flag("--json", action="store_true", help="also print one JSON object")
    return command


def main(argv: list[str] | None = None) -> int | None:
    args = parser().parse_args(argv)
    return args.do(args)


def _list(args: argparse.Namespace) -> int:
    from tf_ssgn.data.datasets.layouts import LAYOUTS
    from tf_ssgn.data.datasets.published import DATASETS as PUBLISHED
    from tf_ssgn.data.datasets.published import SPLIT_COUNTS, classes_of
    from tf_ssgn.data.datasets.splits import published
    from tf_ssgn.data.folders import EXTENSIONS

    datasets = {
        name: {"classes": len(classes_of(name)), "sketches": known.sketches, "photos": known.photos}
        for name, known in PUBLISHED.items()
    }
    splits = {}
    for name, split in published().items():
        counts = SPLIT_COUNTS.get(name)
        splits[name] = {
            "dataset": split["dataset"],
            "seen": len(split["seen"]) + len(split["validation"]),
            "validation": len(split["validation"]),
            "unseen": len(split["unseen"]),
            "queries": counts.queries if counts else None,
            "gallery": counts.gallery if counts else None,
            "checksum": split["checksum"],
            "note": split["note"],
        }
    if args.json:
        cli.print_json({"datasets": datasets, "layouts": LAYOUTS, "splits": splits, "presets": list(PRESETS)})
        return 0
    print("datasets (published counts)")
    for name, facts in datasets.items():
        print(f"  {name:22}{facts['classes']:4} classes  {facts['sketches']:8,} sketches  {facts['photos']:8,} photos")
    print(f"layouts (recognised without a flag; images are {' '.join(EXTENSIONS)})")
    for layout in LAYOUTS:
        print(f"  {layout}")
    print("splits (--split NAME, or a JSON file of your own: " + '{"seen": [...], "unseen": [...]})')
    for name, row in splits.items():
        held_out = f" ({row['validation']} for validation)" if row["validation"] else ""
        print(f"  {name:22}{row['seen']:4} seen{held_out}, {row['unseen']} unseen  sha256 {row['checksum'][:16]}")
        if row["note"]:
            print(f"  {'':22}     {row['note']}")
    print(f"presets (train --preset NAME)\n  {', '.join(PRESETS)}")
    return 0


def _synthetic(args: argparse.Namespace) -> int:
    from tf_ssgn.data.drawing import dataset as synthetic

    synthetic.write_dataset(
        args.folder,
        photos_per_class=args.photos_per_class,
        sketches_per_class=args.sketches_per_class,
        size=args.size,
        seed=args.seed,
    )
    cli.log(
        f"wrote {args.folder}; train on it: python -m tf_ssgn.train --preset demo --data {args.folder} "
        f"--split {args.folder}/split.json --semantics.vectors {args.folder}/semantics.npz --run runs/demo"
    )
    return 0


def _check(args: argparse.Namespace) -> int:
    from tf_ssgn.data.check import check

    report = check(args.folder, args.dataset, args.split, duplicates=args.duplicates, exclude=args.exclude)
    if args.json:
        cli.print_json(report.to_dict())
    else:
        print(describe(report))
    return 1 if report.problems else 0


def describe(report: Findings) -> str:
    """The report for a terminal: counts, notes, problems, verdict."""
    lines = [f"{report.dataset} in {report.root}", f"layout    {report.layout or 'none that is known'}"]
    if report.split:
        lines.append(f"split     {report.split}, sha256 {report.checksum}")
    for what, count in report.counts.items():
        published = f", published {count['published']:,}" if count["published"] is not None else ""
        lines.append(f"{what:10}{count['found']:,}{published}")
    lines += [f"note      {text}" for text in report.notes]
    lines += [f"problem   {text}" for text in report.problems]
    problems = len(report.problems)
    lines.append(f"not complete: {problems} problem{'s' * (problems > 1)}" if problems else "complete")
    return "\n".join(lines)


def _semantics(args: argparse.Namespace) -> int:
    from tf_ssgn.common.folders import cache_folder
    from tf_ssgn.common.names import printable
    from tf_ssgn.data.datasets.splits import read_split
    from tf_ssgn.data.semantics.class_vectors import neighbours, source_digest
    from tf_ssgn.data.semantics.vector_cache import cached_vectors

    if bool(args.names) == bool(args.split):
        both = "both --names and --split" if args.names else "neither --names nor --split"
        raise UserError(f"received {both}; expected one of them: the classes to find vectors for")
    names = args.names
    if args.split:
        split = read_split(args.split)
        names = [*split.all_seen, *split.unseen]
        cli.log(f"split {split.name}, sha256 {split.checksum}")
    vectors = cached_vectors(names, args.vectors, Path(args.cache) if args.cache else cache_folder())
    for name, near in zip(names, neighbours(vectors, names, args.k), strict=True):
        print(f"{printable(name):22}" + "  ".join(f"{printable(other)} {cosine:.2f}" for other, cosine in near))
    cli.log(f"{len(names)} vectors of {vectors.shape[1]} dimensions; source sha256 {source_digest(args.vectors)}")
    return 0


def _strokes(args: argparse.Namespace) -> int:
    from tf_ssgn.data.strokes.folder import write_rasters

    raster = Raster(args.size, args.line_width, args.padding)
    written = write_rasters(args.source, args.to, raster, args.per_class, args.recognized)
    for fault in written.faults[:10]:
        cli.log(f"left out: {fault}")
    if len(written.faults) > 10:
        cli.log(f"left out: {len(written.faults) - 10:,} more")
    if written.unrecognized:
        cli.log(f"left out: {written.unrecognized:,} drawings that were not recognised")
    if not written.counts:
        raise UserError(f"{args.source}: none of its {len(written.faults):,} drawings can be used; nothing was written")
    cli.log(f"wrote {written.counts.total():,} drawings of {len(written.counts)} classes below {args.to}")
    if args.json:
        cli.print_json({"classes": written.counts, "faults": written.faults, "unrecognized": written.unrecognized})
    return 0


if __name__ == "__main__":
    cli.run(main)
