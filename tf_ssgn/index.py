"""`python -m tf_ssgn.index`: makes and keeps a gallery of photos."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common import cli
from tf_ssgn.data.folders import counted
from tf_ssgn.errors import UserError
from tf_ssgn.runs.load import RUNTIMES

if TYPE_CHECKING:
    from tf_ssgn.retrieval.embedding import Embedder, Report

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
    made = cli.Parser(
        prog="python -m tf_ssgn.index",
        description="Make a gallery of photos and keep it in step.",
        examples=[example for verb in EXAMPLES.values() for example in verb],
    )
    verbs = made.add_subparsers(title="what to do", required=True, metavar="VERB", parser_class=cli.Parser)

    def verb(name: str, do: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", examples=EXAMPLES[name])
        sub.set_defaults(do=do)
        sub.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
        return sub

    def model(sub: argparse.ArgumentParser, required: bool) -> None:
        text = "the exported model, saved_models/NAME" + (
            "" if required else "; default: the one the gallery was made with"
        )
        sub.add_argument("--model", required=required, metavar="M", help=text)
        sub.add_argument(
            "--runtime",
            default="auto",
            choices=RUNTIMES,
            help="what computes the model; auto: the faster one that is installed",
        )

    build = verb("build", _build, "embed every photo below some folders into a new gallery; run it again to resume")
    build.add_argument("folders", nargs="+", metavar="DIR")
    model(build, required=True)
    build.add_argument(
        "--to", required=True, metavar="G", help="the gallery's folder, new or empty; with spark, that of the parquet"
    )
    build.add_argument(
        "--engine",
        default="local",
        choices=("local", "spark"),
        help="spark: on a cluster, of folders, a URI prefix or a table of URIs, into parquet that `import` reads; run "
        "it again for what is new, changed or gone (docs/scale.md)",
    )
    build.add_argument("--master", metavar="URL", help="Spark's master, as spark://HOST:7077 [local[*]]")

    add = verb("add", _add, "embed new and changed photos; the same call again changes nothing")
    add.add_argument("folders", nargs="+", metavar="DIR")
    sync = verb("sync", _sync, "add what is new or changed and remove what vanished")
    sync.add_argument("folders", nargs="*", metavar="DIR", help="default: all folders that were ever added")
    for sub in (build, add, sync):
        sub.add_argument(
            "--metadata", metavar="FILE", help="labels and columns of photos, .csv or .parquet, by `id` or `path`"
        )
        sub.add_argument(
            "--exclude",
            action="append",
            default=[],
            metavar="GLOB",
            help="leave out files and folders of this name, or with a / of this path below DIR; later calls follow it "
            "too; may be repeated",
        )
    for sub in (add, sync):
        model(sub, required=False)
        sub.add_argument("--to", required=True, metavar="G", help="the gallery")

    delete = verb("delete", _delete, "delete items by photo path, id or condition")
    delete.add_argument("gallery", metavar="G")
    which = delete.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--path", action="append", default=[], metavar="P", help="a photo, or a folder with all below it"
    )
    which.add_argument("--id", action="append", default=[], metavar="I", help="an item's id")
    which.add_argument("--where", metavar="EXPR", help="SQL over the items' columns: \"label = 'cat'\"")

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
    model(load, required=True)
    return made


def _model(path: str, runtime: str) -> Embedder:
    import tf_ssgn

    model = tf_ssgn.load(path, runtime=runtime)
    cli.log(f"runtime {model.runtime}")
    return model


def _model_of(options: argparse.Namespace) -> Embedder:
    """The model given, else the one that the gallery was made with."""
    if options.model:
        return _model(options.model, options.runtime)
    from tf_ssgn.retrieval.files import to_file
    from tf_ssgn.retrieval.folder.store import Store

    if _in_milvus(options, options.to):
        from tf_ssgn.retrieval.milvus.gallery import MilvusGallery

        with MilvusGallery.open(options.to) as gallery:
            path = to_file(gallery.about["model"]["path"])
    else:
        path = to_file(Store(options.to).manifest()["model"]["path"])
    if not Path(path).exists():
        raise UserError(f"the gallery's model is no longer at {path}; say where it is with --model")
    return _model(path, options.runtime)


def _build(options: argparse.Namespace) -> None:
    if options.engine == "spark":
        from tf_ssgn.scale import job

        options.master = options.master or "local[*]"
        job.run(options, "folders")
        return
    if options.master:
        raise UserError("--master is Spark's; say --engine spark too")
    from tf_ssgn.retrieval.folder import builder
    from tf_ssgn.retrieval.folder.store import Store

    for folder in options.folders:  # this and the next before the model takes its seconds to load
        if not Path(folder).is_dir():
            raise UserError(f"no folder {folder!a}; expected a folder of photos")
    if _in_milvus(options, options.to, "metadata"):
        from tf_ssgn.retrieval.milvus import writer as milvus_writer

        model = _model(options.model, options.runtime)
        _report(options, options.to, milvus_writer.build(options.to, options.folders, model, options.exclude))
        return
    Store(options.to).refuse_foreign()
    _report(
        options,
        options.to,
        builder.build(
            options.to, options.folders, _model(options.model, options.runtime), options.metadata, options.exclude
        ),
    )


def _in_milvus(options: argparse.Namespace, gallery: str, *refused: str) -> bool:
    """Whether a gallery is in Milvus; UserError for options that it does not have."""
    from tf_ssgn.retrieval.milvus.connection import address, is_address

    if not is_address(gallery):
        return False
    address(gallery)
    for name in refused:
        if getattr(options, name):
            raise UserError(f"--{name}: a gallery in Milvus does not take it; leave it out")
    return True


def _add(options: argparse.Namespace) -> None:
    if _in_milvus(options, options.to, "metadata"):
        from tf_ssgn.retrieval.milvus import writer as milvus_writer

        _report(
            options, options.to, milvus_writer.add(options.to, options.folders, _model_of(options), options.exclude)
        )
        return
    from tf_ssgn.retrieval.folder import builder

    _report(
        options,
        options.to,
        builder.add(options.to, options.folders, _model_of(options), options.metadata, options.exclude),
    )


def _sync(options: argparse.Namespace) -> None:
    if _in_milvus(options, options.to, "metadata"):
        from tf_ssgn.retrieval.milvus import writer as milvus_writer

        _report(
            options, options.to, milvus_writer.sync(options.to, options.folders, _model_of(options), options.exclude)
        )
        return
    from tf_ssgn.retrieval.folder import builder

    _report(
        options,
        options.to,
        builder.sync(options.to, options.folders, _model_of(options), options.metadata, options.exclude),
    )


def _delete(options: argparse.Namespace) -> None:
    from tf_ssgn.retrieval.folder import changes

    if options.where is not None and not options.where.strip():
        raise UserError("--where: received nothing; expected an SQL expression, as \"label = 'cat'\"")
    if _in_milvus(options, options.gallery):
        from tf_ssgn.retrieval.milvus import writer as milvus_writer

        report = milvus_writer.delete(options.gallery, ids=options.id, paths=options.path, sql=options.where or "")
    else:
        report = changes.delete(options.gallery, ids=options.id, paths=options.path, where=options.where or "")
    if not report.removed:
        cli.log("nothing matched; the gallery is unchanged")
    _report(options, options.gallery, report)


def _compact(options: argparse.Namespace) -> None:
    if _in_milvus(options, options.gallery):
        raise UserError("a gallery in Milvus is compacted by its server; there is nothing to do")
    from tf_ssgn.retrieval.embedding import Report
    from tf_ssgn.retrieval.folder.compaction import compact

    manifest = compact(options.gallery)
    _report(options, options.gallery, Report(manifest["count"], manifest["version"]))


def _verify(options: argparse.Namespace) -> None:
    from tf_ssgn.retrieval.folder import verify
    from tf_ssgn.retrieval.milvus import check as milvus_check

    check = milvus_check if _in_milvus(options, options.gallery) else verify
    result = check.verify(options.gallery)
    for damage in result["damage"][:_SHOWN]:
        cli.log(f"damaged: {damage}")
    if result["unfinished"]:
        cli.log(f"an unfinished {result['unfinished']} is there, harmless; run that command again to resume it")
    if result["leftovers"]:
        cli.log(f"{len(result['leftovers'])} leftovers of a crash are there, harmless; the next writer removes them")
    if options.json:
        cli.print_json(result)
    if result["damage"]:
        count = len(result["damage"])
        raise UserError(
            f"{options.gallery} is damaged in {count} place{'s' * (count > 1)}; restore it or build it again"
        )
    cli.log(f"{options.gallery}: {result['count']:,} items, sound")


def _stats(options: argparse.Namespace) -> None:
    from tf_ssgn.retrieval.folder import verify
    from tf_ssgn.retrieval.milvus import check as milvus_check

    look = milvus_check if _in_milvus(options, options.gallery) else verify
    result = look.stats(options.gallery)
    if options.json:
        cli.print_json(result)
        return
    for key, value in result.items():
        if value not in (None, {}, []):
            print(f"{key:>15}  {value if isinstance(value, (str, int)) else json.dumps(value, ensure_ascii=False)}")


def _export(options: argparse.Namespace) -> None:
    from tf_ssgn.retrieval.folder.changes import export_parquet
    from tf_ssgn.retrieval.folder.gallery import Gallery

    if _in_milvus(options, options.gallery):
        from tf_ssgn.retrieval.milvus.check import export_parquet as export_rows

        count = export_rows(options.gallery, options.parquet)
    else:
        count = export_parquet(Gallery.open(options.gallery), options.parquet)
    cli.log(f"{count:,} items written to {options.parquet}")
    if options.json:
        cli.print_json({"count": count, "file": options.parquet})


def _import(options: argparse.Namespace) -> None:
    from tf_ssgn.retrieval.folder import changes
    from tf_ssgn.scale.dataset import is_dataset

    if _in_milvus(options, options.to):
        from tf_ssgn.scale.to_milvus import import_file

        _report(options, options.to, import_file(options.file, options.to, options.model))
        return
    if is_dataset(options.file):
        from tf_ssgn.scale.card import read_card
        from tf_ssgn.scale.gallery import import_dataset

        _report(options, options.to, import_dataset(options.file, options.to, read_card(options.model)))
        return

    _report(
        options, options.to, changes.import_vectors(options.file, options.to, _model(options.model, options.runtime))
    )


def _report(options: argparse.Namespace, gallery: str, report: Report) -> None:
    for path, reason in report.skipped[:_SHOWN]:
        cli.log(f"skipped {json.dumps(path, ensure_ascii=False)}: {reason}")
    if len(report.skipped) > _SHOWN:
        cli.log(f"... and {len(report.skipped) - _SHOWN:,} more (all with --json)")
    if report.left_out:
        cli.log(f"{report.left_out.total():,} files are no photos and were left out: {counted(report.left_out)}")
    if report.unmatched:
        cli.log(f"{report.unmatched:,} rows of the metadata belong to no photo below these folders")
    done: dict[str, Any] = {
        "embedded": report.embedded,
        "reused": report.reused,
        "resumed": report.resumed,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "unmatched": report.unmatched,
        "skipped": len(report.skipped),
    }
    said = ", ".join(f"{count:,} {name}" for name, count in done.items() if count)
    cli.log(f"{gallery}: {report.count:,} items, version {report.version}" + (f" ({said})" if said else ""))
    from tf_ssgn.retrieval.folder.compaction import advice
    from tf_ssgn.retrieval.folder.store import Store

    if not _in_milvus(options, gallery) and (tip := advice(Store(gallery).manifest())):
        cli.log(tip)
    if options.json:
        files = [{"path": path, "reason": reason} for path, reason in report.skipped]
        cli.print_json(
            {
                "gallery": gallery,
                "count": report.count,
                "version": report.version,
                **done,
                "skipped_files": files,
                "left_out": dict(report.left_out),
            }
        )


if __name__ == "__main__":
    cli.run(main)
