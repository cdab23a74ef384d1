"""Evaluate a trained run on classes it never saw, or the features of any other model.

python -m tf_ssgn.evaluate runs/s21 --json
python -m tf_ssgn.evaluate runs/s21 --data OTHER --split other.json
python -m tf_ssgn.evaluate runs/seed0 runs/seed1 runs/seed2       # mean and spread over seeds
python -m tf_ssgn.evaluate runs/v2 runs/vgg --ensemble            # several runs as one model
python -m tf_ssgn.evaluate runs/s21 --against runs/baseline       # paired significance; evaluate the other one first
python -m tf_ssgn.evaluate --features features.npz                # queries, query_labels, gallery, gallery_labels

Writes metrics.json, report.html and figures/*.svg.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_ssgn.common import cli
from tf_ssgn.common.names import listed, printable
from tf_ssgn.config import LEADING_FAMILY, preset
from tf_ssgn.errors import UserError
from tf_ssgn.settings import LARGEST_K, MOST_NEIGHBOURS, MOST_VIEWS

# Flags that need a model.
OF_A_RUN = ("data", "split", "duplicates", "views", "photo_views", "generalized", "hash", "cache")
VIEWS = cli.number(0, MOST_VIEWS)
OWN_SPLIT = ("data", "split", "duplicates", "generalized", "hash")  # flags that an ensemble has no use for


def parser() -> cli.Parser:
    command = cli.Parser(prog="python -m tf_ssgn.evaluate", description=__doc__)
    flag = command.add_argument
    flag("runs", nargs="*", metavar="RUN", help="run folder; several: also mean and spread over them")
    flag("--features", metavar="FILE", help="evaluate the arrays of an .npz instead of a run")
    flag("--against", metavar="OTHER", help="compare query by query with another run (another .npz with --features)")
    flag("--split", metavar="S", help="another split than the run's own: a name or a JSON file")
    flag(
        "--data",
        metavar="DIR",
        help="another dataset than the run's own; without --split by DIR/split.json, else by the run's split if DIR "
        "has its classes, else on all its classes",
    )
    flag(
        "--duplicates",
        action=argparse.BooleanOptionalAction,
        help="Sketchy: original photos twice in the gallery, as in the published lists; default: the run's choice",
    )
    flag("--views", type=VIEWS, metavar="N", help="extra views averaged per sketch; default: the run's")
    flag("--photo-views", type=VIEWS, metavar="N", help="extra views averaged per photo; default: the run's")
    flag("--k", type=_cuts, metavar="K,...", help="cut-offs; default: the run's, for features 100,200")
    flag("--ensemble", action="store_true", help="the runs as one model: the mean of their cosines")
    flag("--generalized", action="store_true", help="also with seen classes among queries and gallery")
    flag("--hash", type=int, metavar="BITS", help="also as ITQ codes of so many bits, Hamming distance")
    flag(
        "--transductive", type=cli.number(1, MOST_NEIGHBOURS), metavar="K",
        help="also after query and database expansion over K neighbours, 10 is common; it uses the whole unlabelled "
        "gallery, so its figures stand apart",
    )  # fmt: skip
    flag("--cache", metavar="DIR", help="feature cache; else TF_SSGN_CACHE, else the user's cache folder")
    flag("--to", metavar="DIR", help="with --features: also write metrics.json, report.html and figures")
    flag("--json", action="store_true", help="print metrics.json on one line")
    return command


def _cuts(text: str) -> tuple[int, ...]:
    try:
        cuts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        cuts = (0,)
    if not 1 <= cuts[0] <= cuts[-1] <= LARGEST_K:
        raise argparse.ArgumentTypeError(
            f"received {text!r:.80}, expected whole numbers of 1 or more, up to {LARGEST_K:,}, like 100,200"
        )
    return cuts


def main(argv: list[str] | None = None) -> int | None:
    command = parser()
    arguments = command.parse_args(argv)
    _refuse_wrong_flags(arguments, command)
    if arguments.features:
        metrics = evaluate_features(
            arguments.features, k=arguments.k, transductive=arguments.transductive, against=arguments.against,
            to=arguments.to,
        )  # fmt: skip
    elif arguments.ensemble:
        from tf_ssgn.runs.ensemble import evaluate_ensemble

        metrics = evaluate_ensemble(
            arguments.runs,
            arguments.views,
            arguments.photo_views,
            k=arguments.k,
            transductive=arguments.transductive,
            cache=arguments.cache,
        )
    else:
        from tf_ssgn.runs.evaluate import Further, Subject, evaluate_run
        from tf_ssgn.training.run_folder import open_run

        for run in arguments.runs[1:]:
            open_run(run)  # a mistake is told before minutes are spent on the first
        subject = Subject(
            arguments.data, arguments.split, arguments.duplicates, arguments.views, arguments.photo_views, arguments.k
        )
        further = Further(arguments.generalized, arguments.hash, arguments.transductive, arguments.against)
        results = [evaluate_run(run, subject, further, arguments.cache) for run in arguments.runs]
        for _, folder in results:
            cli.log(f"wrote {folder / 'metrics.json'} and {folder / 'report.html'}")
        if len(results) > 1:
            return _print_spread(arguments.runs, [metrics for metrics, _ in results], arguments.json)
        metrics = results[0][0]
    if arguments.json:
        cli.print_json(metrics)
    else:
        _print(metrics)
    return 0


def _refuse_wrong_flags(arguments: argparse.Namespace, command: cli.Parser) -> None:
    if bool(arguments.runs) == bool(arguments.features):
        raise UserError("expected either run folders or --features FILE; see python -m tf_ssgn.evaluate --help")
    if files := [run for run in arguments.runs if run.lower().endswith(".npz")]:
        raise UserError(f"{files[0]} is a file of features, not a run folder; evaluate it with --features {files[0]}")

    def set_of(names: Sequence[str]) -> str:
        return ", ".join(f"--{name}" for name in names if getattr(arguments, name) != command.get_default(name))

    if arguments.features and (flags := set_of(OF_A_RUN)):
        raise UserError(f"{flags}: received with --features, which has no model or dataset; leave it out")
    if arguments.ensemble and (arguments.features or arguments.against):
        raise UserError("--ensemble: received with features or --against, expected run folders alone")
    if arguments.ensemble and (flags := set_of(OWN_SPLIT)):
        raise UserError(f"{flags}: received with --ensemble, which takes each run on its own split")
    if arguments.to and not arguments.features:
        raise UserError("--to: received with a run, whose results go into its own folder; leave it out")
    if arguments.against and len(arguments.runs) > 1:
        raise UserError(f"--against: received with {len(arguments.runs)} runs, expected one; compare two at a time")


def _print(metrics: dict[str, Any]) -> None:
    from tf_ssgn.evaluation.report import tables

    print(tables.format_table(metrics))
    if variants := tables.variants(metrics, LEADING_FAMILY):
        print(f"\nby the {LEADING_FAMILY} definition\n{variants}")
    if told := tables.told(metrics, LEADING_FAMILY):
        print(f"\n{told}")
    if "against" in metrics:
        other = metrics["against"]
        print(f"\nagainst {other['name']}\n{tables.direction(other)}")
        print(tables.comparison(other["families"]))


def _print_spread(runs: Sequence[str], results: Sequence[dict[str, Any]], as_json: bool) -> int:
    """Mean and spread over runs, as training seeds differ; they must have been measured alike."""
    from tf_ssgn.evaluation import statistics
    from tf_ssgn.evaluation.report import tables

    measured = [(one["split"]["checksum"], one["counts"]["queries"], one["counts"]["gallery"]) for one in results]
    if len(set(measured)) > 1:
        shown = ", ".join(f"{run}: {one['split']['name']}" for run, one in zip(runs, results, strict=True))
        raise UserError(f"the runs are not comparable ({shown}); expected one split, one set of queries, one gallery")
    seeds = [one["seed"] for one in results]
    if len(set(seeds)) < len(seeds):
        cli.log(f"note: the runs have the seeds {', '.join(map(str, seeds))}; a spread over equal seeds means little")
    across = statistics.across_seeds([one["families"] for one in results])
    if as_json:
        named = {
            printable(run): {"seed": one["seed"], "families": one["families"]}
            for run, one in zip(runs, results, strict=True)
        }
        alike = {key: results[0][key] for key in ("dataset", "split", "duplicates", "counts", "ties")}
        cli.print_json({**alike, "runs": named, "across_runs": across})
        return 0
    for run, one in zip(runs, results, strict=True):
        print(f"{printable(run)}, seed {one['seed']}\n{tables.format_table(one)}\n")
    print(f"{len(results)} runs: mean and its 95% interval (Student's t), sample standard deviation, smallest, largest")
    print(tables.spread(across))
    return 0


def evaluate_features(
    file: str,
    *,
    k: Sequence[int] | None = None,
    transductive: int | None = None,
    against: str | None = None,
    to: str | None = None,
) -> dict[str, Any]:
    """All families over `queries`, `query_labels`, `gallery`, `gallery_labels` of an `.npz`.

    `transductive` is k of `expansion.expand`, for figures that stand apart; `against` another such file with the same
    queries in the same order; `to` a folder for `metrics.json`, `report.html` and the figures.
    """
    import numpy as np

    from tf_ssgn.common import atomic
    from tf_ssgn.evaluation import expansion, inspection, protocol, score_features, statistics
    from tf_ssgn.evaluation.inputs import read_features
    from tf_ssgn.evaluation.report import charts
    from tf_ssgn.evaluation.report import page as report

    cuts = tuple(k or preset("sketchy").evaluation.k)
    features, unused = read_features(file)
    other = read_features(against)[0] if against else None
    if other and not np.array_equal(other.query_labels, features.query_labels):
        raise UserError(f"{against} has other query_labels than {file}; expected the same queries in the same order")
    if to:
        try:  # before minutes are spent on what could not be written
            Path(to).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--to: cannot make the folder {to} ({error.strerror}); expected a new or an own folder"
            ) from None
    result = protocol.evaluate_zero_shot(*features, k=cuts, progress=True)
    metrics: dict[str, Any] = {"dataset": printable(str(file)), **result.metrics, "notes": []}
    if unused:
        metrics["notes"].append(f"the file also holds {listed(unused)}, which no figure uses")
        cli.log(f"note: {metrics['notes'][-1]}")
    if lacking := [name for name, entry in result.metrics["per_class"].items() if not entry["photos"]]:
        held = result.metrics["confusion"]["columns"]
        metrics["notes"].append(
            f"{len(lacking)} of {metrics['counts']['classes']} query classes have no photo in the gallery: "
            f"{listed(lacking, 5)}; it holds {listed(held, 5)}"
        )
        cli.log(f"warning: {metrics['notes'][-1]}")
    if other:
        theirs = protocol.per_query_features(*other, cuts, progress=True)
        sides = {"of": printable(str(file)), "name": printable(str(against))}
        metrics["against"] = {**sides, "families": statistics.compare(result.per_query, theirs)}
    if transductive:
        queries, gallery = expansion.expand(features.queries, features.gallery, transductive)
        families = score_features(queries, features.query_labels, gallery, features.gallery_labels, k=cuts)
        metrics["transductive"] = {str(transductive): families}
    metrics = cli.jsonable(metrics)
    if to:
        points = inspection.code_map(*features)
        report.write_report(Path(to) / "report.html", metrics, title=Path(file).name, points=points)
        charts.write_figures(Path(to) / "figures", metrics, points)
        atomic.write_json(Path(to) / "metrics.json", metrics)  # last: what it says is then beside it
        cli.log(f"wrote {Path(to) / 'metrics.json'} and {Path(to) / 'report.html'}")
    return metrics


if __name__ == "__main__":
    cli.run(main)
