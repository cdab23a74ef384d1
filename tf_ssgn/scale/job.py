"""Bulk embedding as a plain PySpark job, for clusters where jobs are submitted:

spark-submit --master spark://HOST:7077 --conf spark.executor.memory=4g \\
    $(python -c "import tf_ssgn.scale.job as job; print(job.__file__)") \\
    s3a://bucket/photos --model saved_models/NAME --to s3a://bucket/embedded

with the environment that has tf_ssgn activated here, or named by PYSPARK_PYTHON.
"""

import argparse

from tf_ssgn.common import cli
from tf_ssgn.errors import UserError
from tf_ssgn.settings import RUNTIMES


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog="tf_ssgn.scale.job", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="DIR|URI|TABLE", help="folders, a URI prefix, or a table of URIs")
    parser.add_argument("--model", required=True, metavar="M", help="the exported model, saved_models/NAME")
    parser.add_argument("--runtime", default="auto", choices=RUNTIMES, help="what computes the model")
    parser.add_argument("--to", required=True, metavar="P", help="folder or URI of the parquet that is written")
    parser.add_argument("--master", metavar="URL", help="Spark's master; default: what spark-submit says")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="as `index build --exclude`")
    run(parser.parse_args(argv), "sources")


def run(options: argparse.Namespace, sources: str) -> None:
    """Embeds and reports; `sources` names the option that holds them."""
    from tf_ssgn.scale import spark
    from tf_ssgn.scale.card import read_card
    from tf_ssgn.scale.session import session

    if getattr(options, "metadata", None):
        raise UserError("--metadata: --engine spark takes labels from a table of URIs; leave it out")
    card = read_card(options.model)
    with session(options.master) as driver:
        report = spark.embed(
            driver, getattr(options, sources), card, options.to, runtime=options.runtime, exclude=options.exclude
        )
    for uri, why in report.skipped[:10]:
        cli.log(f"skipped {uri!r}: {why}")
    done = {name: getattr(report, name) for name in ("embedded", "resumed", "unchanged", "removed")}
    done["skipped"] = report.bad
    said = ", ".join(f"{count:,} {name}" for name, count in done.items() if count)
    cli.log(f"{options.to}: {report.count:,} photos, version {report.version}" + (f" ({said})" if said else ""))
    if options.json:
        cli.print_json({"to": options.to, "count": report.count, "version": report.version, **done})


if __name__ == "__main__":
    cli.run(main)
