"""`python -m tf_ssgn.index`: makes and keeps a gallery of photos."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common import cli
from tf_ssgn.data.folders import counted
from tf_ssgn.errors import UserError
from tf_ssgn.settings import MODEL, RUNTIMES

if TYPE_CHECKING:
    from tf_ssgn.retrieval.photos import Embedder
    from tf_ssgn.retrieval.writer import Report, Writer

EXAMPLES = {
    "build": [
        "index build PHOTOS --model saved_models/s21 --to galleries/s21",
        "index build PHOTOS --model saved_models/s21 --to galleries/s21 --metadata labels.csv",
    ],
    "add": ["index add MORE --to galleries/s21"],
    "sync": ["index sync --to galleries/s21", "index sync --to galleries/s21 --exclude '*_thumb.jpg' --exclude drafts"],
    "delete": [
        "index delete galleries/s21 --path PHOTOS/old",
        "index delete galleries/s21 --where \"label = 'giraffe' AND width < 200\"",
    ],
    "compact": ["index compact galleries/s21"],
    "verify": ["index verify galleries/s21"],
    "stats": ["index stats galleries/s21 --json"],
    "export": ["index export galleries/s21 --parquet vectors.parquet"],
    "import": ["index import vectors.parquet --to galleries/copy --model saved_models/s21"],
}
_SHOWN = 10  # skipped files and damages that are listed; --json lists all


def main(argv: list[str] | None = None) -> int | None:
    options = parser().parse_args(argv)
    return options.do(options)


def parser() -> argparse.ArgumentParser:
    command = cli.Parser(
        prog="python -m tf_ssgn.index",
        description="Make a gallery of photos and keep it in step.",
        examples=[example for verb in EXAMPLES.values() for example in verb],
    )
    verbs = command.add_subparsers(title="what to do", required=True, metavar="VERB", parser_class=cli.Parser)

    def verb(name: str, do: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", examples=EXAMPLES[name])
        sub.set_defaults(do=do)
        sub.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
        return sub

    def model(sub: argparse.ArgumentParser, new: bool) -> None:
        default = "%(default)s" if new else "the one the gallery was made with"
        text = f"an exported model, saved_models/NAME, or a shipped one [{default}]"
        flag = sub.add_argument
        flag("--model", default=MODEL if new else None, metavar="M", help=text)
        text = "what computes the model; auto: the faster one installed"
        flag("--runtime", default="auto", choices=RUNTIMES, help=text)

    build = verb("build", _build, "embed every photo below some folders into a new gallery; run it again to resume")
    flag = build.add_argument
    flag("folders", nargs="+", metavar="DIR")
    model(build, new=True)
    flag("--to", required=True, metavar="G", help="the gallery's folder, new or empty; with spark, that of the parquet")
    flag(
        "--engine",
        default="local",
        choices=("local", "spark"),
        help="spark: on a cluster, of folders, a URI prefix or a table of URIs, into parquet that `import` reads; run "
        "it again for what is new, changed or gone (docs/scale.md)",
    )
    flag("--master", metavar="URL", help="Spark's master, as spark://HOST:7077 [local[*]]")

    add = verb("add", _add, "embed new and changed photos; the same call again changes nothing")
    add.add_argument("folders", nargs="+", metavar="DIR")
    sync = verb("sync", partial(_add, remove=True), "add what is new or changed and remove what vanished")
    sync.add_argument("folders", nargs="*", metavar="DIR", help="default: all folders that were ever added")
    for sub in (build, add, sync):
        flag = sub.add_argument
        flag("--metadata", metavar="FILE", help="labels and columns of photos, .csv or .parquet, by `id` or `path`")
        flag(
            "--exclude",
            action="append",
            default=[],
            metavar="GLOB",
            help="leave out files and folders of this name, or with a / of this path below DIR; later calls follow it "
            "too; may be repeated",
        )
    for sub in (add, sync):
        model(sub, new=False)
        sub.add_argument("--to", required=True, metavar="G", help="the gallery")

    delete = verb("delete", _delete, "delete items by photo path, id or condition")
    delete.add_argument("gallery", metavar="G")
    flag = delete.add_mutually_exclusive_group(required=True).add_argument
    flag("--path", action="append", default=[], metavar="P", help="a photo, or a folder with all below it")
    flag("--id", action="append", default=[], metavar="I", help="an item's id")
    flag("--where", metavar="EXPR", help="SQL over the items' columns: \"label = 'cat'\"")

    for name, do, text in (
        ("compact", _compact, "merge additions, drop deleted items, rebuild the index"),
        ("verify", _verify, "check every byte and the search; what a crash left behind is named, and is no error"),
        ("stats", _stats, "print what is in a gallery"),
    ):
        verb(name, do, text).add_argument("gallery", metavar="G")

    export = verb("export", _export, "write items and vectors to a file")
    export.add_argument("gallery", metavar="G")
    export.add_argument("--parquet", required=True, metavar="FILE")

    load = verb(
        "import",
        _import,
        "make a gallery of vectors made elsewhere (.npy, or .npz and .parquet with vectors, ids, labels, paths), or of "
        "what `build --engine spark` wrote",
    )
    load.add_argument("file", metavar="FILE")
    load.add_argument("--to", required=True, metavar="G", help="the gallery's folder, new or empty")
    model(load, new=True)
    return command


def _model(path: str, runtime: str) -> Embedder:
    import tf_ssgn

    model = tf_ssgn.load(path, runtime=runtime)
    cli.log(f"runtime {model.runtime}")
    return model


def _model_of(options: argparse.Namespace, writer: Writer) -> Embedder:
    """The model given, else the one that the gallery was made with."""
    if options.model:
        return _model(options.model, options.runtime)
    from tf_ssgn.retrieval.files import to_file

    path = to_file(writer.model_path())
    if not Path(path).exists():
        raise UserError(f"the gallery's model is no longer at {path}; say where it is with --model")
    return _model(path, options.runtime)


def _writer(where: str) -> Writer:
    from tf_ssgn.retrieval.open import open_writer

    return open_writer(where)


def _build(options: argparse.Namespace) -> None:
    if options.engine == "spark":
        from tf_ssgn.scale import job

        options.master = options.master or "local[*]"
        job.run(options, "folders")
        return
    if options.master:
        raise UserError("--master is Spark's; say --engine spark too")
    from tf_ssgn.retrieval import update
    from tf_ssgn.retrieval.files import resolve

    resolve(options.folders, ())  # this and the next before the model takes its seconds to load
    writer = _writer(options.to)
    writer.check_new()
    model = _model(options.model, options.runtime)
    _report(options, writer, update.build(writer, options.folders, model, options.metadata, options.exclude))


def _add(options: argparse.Namespace, remove: bool = False) -> None:
    from tf_ssgn.retrieval import update
    from tf_ssgn.retrieval.files import resolve

    resolve(options.folders, ())  # a mistake is told before the model takes its seconds to load
    writer = _writer(options.to)
    model = _model_of(options, writer)
    _report(options, writer, update.add(writer, options.folders, model, options.metadata, options.exclude, remove))


def _delete(options: argparse.Namespace) -> None:
    if options.where is not None and not options.where.strip():
        raise UserError("--where: received nothing; expected an SQL expression, as \"label = 'cat'\"")
    writer = _writer(options.gallery)
    report = writer.delete(ids=options.id, paths=options.path, where=options.where or "")
    if not report.removed:
        cli.log("nothing matched; the gallery is unchanged")
    _report(options, writer, report)


def _compact(options: argparse.Namespace) -> None:
    writer = _writer(options.gallery)
    _report(options, writer, writer.compact())


def _verify(options: argparse.Namespace) -> None:
    result = _writer(options.gallery).verify()
    for damage in result["damage"][:_SHOWN]:
        cli.log(f"damaged: {damage}")
    if result["unfinished"]:
        cli.log(f"an unfinished {result['unfinished']} is there, harmless; run that command again to resume it")
    if result["leftovers"]:
        cli.log(f"{len(result['leftovers'])} leftovers of a crash are there, harmless; the next writer removes them")
    if options.json:
        cli.print_json(result)
    if count := len(result["damage"]):
        places = f"{count} place{'s' * (count > 1)}"
        raise UserError(f"{options.gallery} is damaged in {places}; restore it or build it again")
    cli.log(f"{options.gallery}: {result['count']:,} items, sound")


def _stats(options: argparse.Namespace) -> None:
    result = _writer(options.gallery).stats()
    if options.json:
        cli.print_json(result)
        return
    for key, value in result.items():
        if value not in (None, {}, []):
            print(f"{key:>15}  {value if isinstance(value, (str, int)) else json.dumps(value, ensure_ascii=False)}")


def _export(options: argparse.Namespace) -> None:
    count = _writer(options.gallery).export_parquet(options.parquet)
    cli.log(f"{count:,} items written to {options.parquet}")
    if options.json:
        cli.print_json({"count": count, "file": options.parquet})


def _import(options: argparse.Namespace) -> None:
    from tf_ssgn.scale.dataset import is_dataset

    writer = _writer(options.to)
    if is_dataset(options.file):
        from tf_ssgn.scale.card import read_card
        from tf_ssgn.scale.gallery import import_dataset

        _report(options, writer, import_dataset(options.file, writer, read_card(options.model)))
        return
    _report(options, writer, writer.import_file(options.file, _model(options.model, options.runtime)))


def _report(options: argparse.Namespace, writer: Writer, report: Report) -> None:
    for path, reason in report.skipped[:_SHOWN]:
        cli.log(f"skipped {json.dumps(path, ensure_ascii=False)}: {reason}")
    if len(report.skipped) > _SHOWN:
        cli.log(f"... and {len(report.skipped) - _SHOWN:,} more (all with --json)")
    if report.left_out:
        cli.log(f"{report.left_out.total():,} files are no photos and were left out: {counted(report.left_out)}")
    if report.unmatched:
        cli.log(f"{len(report.unmatched):,} rows of the metadata belong to no photo below these folders")
        shown = ", ".join(json.dumps(key, ensure_ascii=False) for key in report.unmatched[:_SHOWN])
        cli.log(f"without a photo: {shown}" + (" and more (all with --json)" if len(report.unmatched) > _SHOWN else ""))
    counted_there = ("embedded", "reused", "resumed", "unchanged", "removed")
    done: dict[str, Any] = {name: getattr(report, name) for name in counted_there}
    done |= {"unmatched": len(report.unmatched), "skipped": len(report.skipped)}
    said = ", ".join(f"{count:,} {name}" for name, count in done.items() if count)
    cli.log(f"{writer.where}: {report.count:,} items, version {report.version}" + (f" ({said})" if said else ""))
    if tip := writer.advice():
        cli.log(tip)
    if options.json:
        files = [{"path": path, "reason": reason} for path, reason in report.skipped]
        done |= {"skipped_files": files, "unmatched_rows": report.unmatched, "left_out": dict(report.left_out)}
        cli.print_json({"gallery": writer.where, "count": report.count, "version": report.version, **done})


if __name__ == "__main__":
    cli.run(main)
