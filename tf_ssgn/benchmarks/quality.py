"""Quality on `sketchy_mini`: SSGN beside its baselines, and what each of its parts adds.

Each run is a folder below `bench-quality/`; a finished one is not trained again, so what was interrupted goes on where
it stopped. The table goes to `docs/results.md` and grows with every variant. Unseen classes choose nothing: all
variants are listed here, and all of them are in the table.
"""

import gc
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn import benchmarks
from tf_ssgn import config as configuration
from tf_ssgn.common import atomic, cli
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.report.facts import NAME_ALONE, NOT_ZERO_SHOT, TOLD
from tf_ssgn.evaluation.statistics import across_seeds

RUNS = Path("bench-quality")
RESULTS = Path("docs/results.md")
SPLITS = ("sketchy-21", "sketchy-25")
SEEDS = 3
MAIN = "SSGN"
SECOND = "SSGN on MobileNetV2"
# Extra views of sketches and of photos; None: as the config says.
AS_SEARCHED = "one view of a photo"
VIEWS: dict[str, tuple[int | None, int | None]] = {AS_SEARCHED: (None, 0), "views": (None, None)}
# The preset's number of epochs was chosen on validation classes once; choosing it again doubles the time of a run.
FIXED: dict[str, Any] = {"data.validation_classes": 0}
NEIGHBOURS = 10  # of the transductive figures
# What a run is, as fields of the config that differ from the preset's.
MAIN_VARIANTS: dict[str, dict[str, Any]] = {
    MAIN: {},
    SECOND: {"model.backbone": "mobilenet_v2", "model.weights": "mobilenet_v2_1.0_224_notop.weights.h5"},
}
# Runs of all seeds as one model: the variants that belong to it.
ENSEMBLES = {"all seeds together": (MAIN,), "two backbones, all seeds together": (MAIN, SECOND)}
HEAD = {
    "model.kept": 0, "model.code": 512, "model.coarse": False, "model.fine": False, "model.told": False,
    "training.ridge": 0, "losses.reconstruction": 0, "losses.kl": 0, "losses.regression": 0, "losses.semantic": 0,
}  # fmt: skip
# One seed each.
ABLATIONS: dict[str, dict[str, Any]] = {
    "nothing kept": {"model.kept": 0, "model.code": 512},
    "kept numbers no longer than trained ones": {"model.kept_weight": 1},
    "a projection for each modality": {"model.fusion": "private"},
    "one tap instead of three": {"model.taps": "top"},
    "no coarse stage": {"model.coarse": False},
    "no fine stage": {"model.fine": False},
    "no guides": {"training.ridge": 0},
    "no regression loss": {"losses.regression": 0},
    "no classification loss": {"losses.classification": 0},
    "no contrastive loss": {"losses.contrastive": 0},
    "contours": {"model.contours": 0.2},
    "taps weighed by their width": {"model.balance": False},
    "GloVe vectors": {"semantics.vectors": "sketchy_glove.npz"},
    "MiniLM vectors": {"semantics.vectors": "everyday_words_minilm.npz"},
    "K = 1": {"model.samples": 1},
    # The backbone's last block and its last convolution learn too; every step then computes it, so plain views only.
    "fine-tuned": {"training.finetune_from": "blocks_15_expand_conv", "training.views": 0, "training.photo_views": 0},
    "discriminative head": HEAD,
    # Knowledge preservation (Liu et al. 2019) in place of the contrast, on the same head.
    "SAKE-style head": HEAD | {"losses.contrastive": 0, "losses.preservation": 1, "losses.teacher_classes": 1000},
    # One stage, no semantics, no fusion, in a fixed space (Yelamarthi et al. 2018). It takes far longer to learn.
    "conditional VAE": {
        "data.validation_classes": 20, "training.epochs": 60,
        "model.hidden": 512, "model.kept": 0, "model.code": 512, "model.told": False,
        "model.taps": "top", "model.fusion": "private", "model.coarse": False, "model.residual": False,
        "losses.regression": 0, "losses.classification": 0, "losses.semantic": 0, "losses.contrastive": 0,
        "training.ridge": 0,
    },
}  # fmt: skip
STAGES = {"untrained": "untrained backbone", "sketch_code": "sketch's own code", "coarse": "coarse code", "fine": MAIN}


def run(full: bool, data: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Trains, evaluates, prints and writes the table: three seeds and all ablations, or one seed of the main variant.

    Args:
        data: the folder that holds `sketchy_mini`; weights and class vectors lie in `weights` and `vectors` beside it.
        only: one split alone, without a table: several processes can share the work and a last one, of all splits,
            gathers it.
    """
    splits = benchmarks.chosen(only, SPLITS)
    material = material_in(data)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    joined: dict[str, dict[str, Any]] = {}
    seeds = range(SEEDS if full else 1)
    wanted = [(name, seed) for name in MAIN_VARIANTS if full or name == MAIN for seed in seeds]
    if full:
        wanted += [(name, 0) for name in ABLATIONS]
    for name, seed in wanted:
        changes = (MAIN_VARIANTS | ABLATIONS)[name]
        for split in splits:
            results.setdefault(name, {}).setdefault(split, []).append(measure(name, changes, split, seed, material))
        for title, members in ENSEMBLES.items() if full else ():
            if (name, seed) == (members[-1], SEEDS - 1):
                joined[title] = {split: together(members, split) for split in splits}
        if full and not only and RESULTS.parent.is_dir():  # in a clone
            atomic.write_text(RESULTS, table(results, joined))
    if not only:
        print(table(results, joined))
    return {"runs": results, "together": joined}


def material_in(data: str | None) -> dict[str, str]:
    """Paths of `sketchy_mini`, of the folder of weights and of class vectors, from the folder that holds the first."""
    folder = benchmarks.material(data)
    shared = folder.parent
    material = {
        "data": folder / "sketchy_mini",
        "weights": shared / "weights",
        "vectors": shared / "vectors" / "sketchy_word2vec.npz",
    }
    others = [
        material["weights"] / changes["model.weights"]
        if "model.weights" in changes
        else material["vectors"].with_name(changes["semantics.vectors"])
        for changes in (MAIN_VARIANTS | ABLATIONS).values()
        if {"model.weights", "semantics.vectors"} & changes.keys()
    ]
    for path in [*material.values(), *others]:
        if not path.exists():
            raise UserError(f"received {folder}, expected {path} too; name the folder of sketchy_mini with --data")
    return {name: str(path.resolve()) for name, path in material.items()}


def measure(name: str, changes: dict[str, Any], split: str, seed: int, material: dict[str, str]) -> dict[str, Any]:
    """One run, or what is known of it: mAP@all of its stages and fine-grained accuracy, with one view and several.

    `seconds` is what training took, with features at hand.
    """
    import keras

    from tf_ssgn.runs.evaluate import Further, Subject, evaluate_run
    from tf_ssgn.train import train
    from tf_ssgn.training.run_folder import open_run

    folder = _folder(name, split, seed)
    kept = RUNS / f"{folder.name}.json"
    own: dict[str, Any] = FIXED | {"semantics.vectors": material["vectors"], "training.seed": seed}
    own |= {field: changes[field] for field in FIXED if field in changes}
    if "semantics.vectors" in changes:  # another file of the same folder
        own["semantics.vectors"] = str(Path(material["vectors"]).with_name(changes["semantics.vectors"]))
    if changes.get("model.weights", "").endswith(".h5"):
        own["model.weights"] = str(Path(material["weights"]) / changes["model.weights"])
    if "losses.preservation" in changes:
        own["losses.teacher"] = _teacher()
    config = configuration.override(configuration.preset("sketchy-mini"), changes | own)
    if kept.exists():
        other = configuration.differences(config, open_run(folder).config)
        if other:
            raise UserError(f"{folder} was measured with another config ({'; '.join(other)}); remove {RUNS} or move it")
        known: dict[str, Any] = json.loads(kept.read_text())
        return known
    cli.log(f"{name}, {split}, seed {seed}")
    start = time.perf_counter()
    train(config, material["data"], split, str(folder))
    result: dict[str, Any] = {"seconds": round(time.perf_counter() - start, 1)}
    for label, (views, photo_views) in VIEWS.items():
        subject = Subject(views=views, photo_views=photo_views)
        metrics, _ = evaluate_run(folder, subject, Further(transductive=NEIGHBOURS))
        stages = {key: metrics["stages"][key][LEADING_FAMILY]["map_all"] for key in STAGES if key in metrics["stages"]}
        result[label] = stages | {"retrieved": metrics["families"][LEADING_FAMILY]["map_all"]}
        result[label] |= {key: metrics["fine_grained"][key] for key in ("acc_at_1", "acc_at_5")}
        result[label] |= {row: families[LEADING_FAMILY]["map_all"] for row, families in metrics.get("told", {}).items()}
        result[label] |= {f"acc@1, {row}": value for row, value in metrics.get("told_fine_grained", {}).items()}
        result[label]["transductive"] = metrics["transductive"][str(NEIGHBOURS)][LEADING_FAMILY]["map_all"]
    atomic.write_json(kept, result)
    keras.utils.clear_session()  # of many runs in one process each would keep its graphs
    gc.collect()
    return result


def _teacher() -> str:
    """The classifier that belongs to the backbone's weights, from the same package, as a file for `losses.teacher`."""
    from tf_ssgn.common.backbones import BACKBONES
    from tf_ssgn.models import package_weights

    package = BACKBONES[configuration.Model().backbone].package
    assert package is not None  # the default backbone is one that a package brings
    path = RUNS / "teacher.npz"
    state = package_weights.read_state(package_weights.checked(package_weights.find_package(package), package))
    with atomic.writing(path) as temporary:
        np.savez(temporary, kernel=state["_fc.weight"].T, bias=state["_fc.bias"])
    return str(path.absolute())


def together(members: Sequence[str], split: str) -> dict[str, Any]:
    """The runs of all seeds of some variants as one model."""
    from tf_ssgn.runs.ensemble import evaluate_ensemble

    folders = [_folder(name, split, seed) for name in members for seed in range(SEEDS)]
    result = {}
    for label, (views, photo_views) in VIEWS.items():
        metrics = evaluate_ensemble(folders, views, photo_views, transductive=NEIGHBOURS)
        result[label] = {
            "retrieved": metrics["families"][LEADING_FAMILY]["map_all"],
            "transductive": metrics["transductive"][str(NEIGHBOURS)][LEADING_FAMILY]["map_all"],
        }
    return result


def _folder(name: str, split: str, seed: int) -> Path:
    return RUNS / f"{name.replace(' ', '-')}-{Path(split).stem}-{seed}"


def table(measured: dict[str, dict[str, list[dict[str, Any]]]], joined: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown; `joined` is `together` by ensemble and split, empty for one seed."""
    splits = list(measured[MAIN])
    main = [measured[MAIN][split] for split in splits]
    missing = ", ".join(name for name in MAIN_VARIANTS | ABLATIONS if name not in measured)
    head = ("| | " + " | ".join(splits) + " |", "|---|" + "---|" * len(splits))
    lines = [
        "# Results", "",
        "Written by `python -m tf_ssgn.bench quality --full`. mAP@all in the definition of the `sem_pcyc` family,",
        "unseen classes only, EfficientNet-Lite0 frozen, on a subset of Sketchy with 25 photos and 25 sketches in each",
        "class; figures published for the full benchmark are no comparison. Each cell: eight views of a sketch and one",
        "of a photo, as `search` has it / eight of both; mean over the seeds, with the sample standard deviation where",
        "there are several.", *([f"Not run with today's recipe yet: {missing}."] if missing else []), "",
        f"## Stages of {MAIN}, {len(measured[MAIN][splits[0]])} seeds", "",
        "The sketch's own code is also a discriminative baseline: the same shared projection, classification and",
        "contrast, which the decoders do not touch, beside what the backbone knew. The heads below are plain ones.", "",
        *head,
    ]  # fmt: skip
    lines += [_row(name, main, key) for key, name in STAGES.items()]
    lines += ["", "Fine-grained, a sketch's own photo among those of its class:", "", *head]
    lines += [_row("acc@1", main, "acc_at_1"), _row("acc@5", main, "acc_at_5")]
    told = [row for row in (TOLD, NAME_ALONE, f"acc@1, sketch, {TOLD}") if row in measured[MAIN][splits[0]][0]["views"]]
    if told:
        lines += ["", "## With the class name", "", NOT_ZERO_SHOT, "", *head]
        lines += [_row(row, main, row) for row in told]
    lines += [
        "", "## Beyond one model and plain ranking", "",
        f"Together: the codes of all {len(measured[MAIN][splits[0]])} seeds joined (`evaluate RUN RUN --ensemble`).",
        *(["The second backbone is MobileNetV2."] if len(joined) == len(ENSEMBLES) else []),
        f"Transductive: query and database expansion over {NEIGHBOURS} neighbours (`--transductive {NEIGHBOURS}`);",
        "it uses the whole unlabelled gallery and leans on its classes of 25 photos each; no zero-shot figure, and no",
        "comparison for those above.", "",
        *head,
    ]  # fmt: skip
    ensembles = {title: [[cells[split]] for split in splits] for title, cells in joined.items()}
    lines += [_row(title, cells, "retrieved") for title, cells in ensembles.items()]
    lines.append(_row("transductive", main, "transductive"))
    lines += [_row(f"{title}, transductive", cells, "transductive") for title, cells in ensembles.items()]
    flags = "flags, beside `--preset sketchy-mini --data.validation_classes 0`"
    lines += ["", "## Variants", "", f"| | seeds | {' | '.join(splits)} | {flags} |", "|---" * (3 + len(splits)) + "|"]
    for name, results in measured.items():
        row = _row(f"{name} | {len(results[splits[0]])}", [results[split] for split in splits], "retrieved")
        flags = " ".join(f"--{field} {value}" for field, value in (MAIN_VARIANTS | ABLATIONS).get(name, {}).items())
        lines.append(f"{row} {f'`{flags}`' if flags else ''} |")
    return "\n".join(lines) + "\n"


def _row(name: str, cells: Sequence[list[dict[str, Any]]], key: str) -> str:
    texts = []
    for runs in cells:
        parts = []
        for label in VIEWS:
            spread = across_seeds([{"f": {"m": run[label].get(key)}} for run in runs])["f"]["m"]
            several = f" ± {spread['std']:.3f}" if len(runs) > 1 else ""
            parts.append(f"{spread['mean']:.3f}{several}")
        texts.append(" / ".join(parts))
    return f"| {name} | " + " | ".join(texts) + " |"
