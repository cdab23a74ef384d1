"""Write SavedModels for TF Serving: the embedding, and with a gallery also exact and ScaNN search.

python -m tf_ssgn.export runs/s21 --to saved_models/s21
python -m tf_ssgn.export runs/s21 --to saved_models/s21 --gallery galleries/s21
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common import cli
from tf_ssgn.errors import UserError

if TYPE_CHECKING:
    from tf_ssgn.retrieval.folder.gallery import Gallery


def main(argv: list[str] | None = None) -> int | None:
    parser = cli.Parser(prog="python -m tf_ssgn.export", description=__doc__)
    flag = parser.add_argument
    flag("run", metavar="RUN", help="run folder")
    flag("--to", required=True, metavar="DIR", help="where NAME/embed, NAME/search_... go")
    flag("--gallery", metavar="G", help="also export search over this gallery")
    flag("--views", type=int, default=0, metavar="N", help="extra views of a sketch [0]")
    flag("--photo-views", type=int, metavar="N", help="extra views of a photo [as many as of a sketch]")
    flag(
        "--vocabulary", metavar="FILE", help="more words that can be told beside a drawing, one in a line [the classes]"
    )
    flag("--json", action="store_true", help="print the written folders as JSON")
    arguments = parser.parse_args(argv)
    written = export(
        arguments.run, arguments.to, arguments.gallery, arguments.views, arguments.photo_views,
        read_words(arguments.vocabulary) if arguments.vocabulary else (),
    )  # fmt: skip
    if arguments.json:
        cli.print_json({name: str(path) for name, path in written.items()})
    else:
        for path in written.values():
            print(path)
    return 0


def export(
    run: str | Path,
    to: str | Path,
    gallery: str | Path | None = None,
    views: int = 0,
    photo_views: int | None = None,
    words: Sequence[str] = (),
) -> dict[str, Path]:
    """Writes the next version of each model whose content changed; kind -> its newest version folder. `words` can be
    told beside a drawing, besides the run's classes; their vectors come from where those of the classes came from."""
    from tf_ssgn.runs.load import from_run

    embedder, card = from_run(run, views, photo_views, words)
    from tf_ssgn.runtime import publish as writer  # TensorFlow, once the run is known to be there
    from tf_ssgn.runtime.saved_model import EMBED_WORD, SIGNATURES

    to = Path(to)
    opened = None if gallery is None else _open_gallery(gallery, card["fingerprint"])  # refused before writing begins
    card |= {"name": to.name} | _metrics(Path(run))
    names = [*SIGNATURES, *([EMBED_WORD] if hasattr(embedder, EMBED_WORD) else [])]
    if EMBED_WORD in names:
        card["words"] = [name.decode() for name in embedder.word_names.numpy()]
    functions = {name: getattr(embedder, name) for name in names}
    written = {
        "embed": writer.publish(
            to / "embed",
            embedder,
            functions,
            card | {"content": writer.content_hash(card), "signatures": list(functions)},
            writer.warm_up_requests(names, with_k=False),
            embedder.encoders(),
        )
    }
    if opened is not None:
        written |= _export_search(to, embedder, card, opened, str(gallery))
    return written


def read_words(file: str | Path) -> list[str]:
    """The words of a text file, one in a line; blank lines do not count."""
    from tf_ssgn.settings import VOCABULARY_BYTES, WORD_CHARACTERS

    try:
        if (size := Path(file).stat().st_size) > VOCABULARY_BYTES:
            raise UserError(f"--vocabulary: {file} has {size:,} bytes, expected a list of words of at most 4 MiB")
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--vocabulary: cannot read {file} ({error}); expected a text file of words") from None
    long = next((line for line in lines if len(line) > WORD_CHARACTERS), None)
    if long is not None:
        raise UserError(f"--vocabulary: {file} has a word of {len(long):,} characters, expected {WORD_CHARACTERS}")
    return list(dict.fromkeys(filter(None, lines)))


def _open_gallery(folder: str | Path, fingerprint: str) -> Gallery:
    from tf_ssgn.retrieval.folder.gallery import Gallery

    gallery = Gallery.open(folder)
    gallery.require_model(fingerprint)
    if not len(gallery):
        raise UserError(f"the gallery {folder} is empty; add photos before exporting search over it")
    return gallery


def _export_search(to: Path, embedder: Any, card: dict[str, Any], gallery: Gallery, folder: str) -> dict[str, Path]:
    from tf_ssgn.retrieval.search import scann_index
    from tf_ssgn.retrieval.search.graph import ExactNeighbours, IndexedNeighbours, ScannNeighbours
    from tf_ssgn.runtime import publish as writer
    from tf_ssgn.runtime.signatures import Search

    vectors, ids = gallery.vectors, gallery.ids
    facts = {"path": folder, "version": gallery.manifest["version"], "count": len(gallery)}
    kinds: dict[str, Any] = {"exact": ExactNeighbours}
    if scann_index.why_not():
        cli.log(f"note: no ScaNN model: {scann_index.why_not()}")
    else:
        kinds["scann"] = ScannNeighbours
        if index := gallery.index_files():
            kinds["scann"] = lambda vectors: IndexedNeighbours(vectors, *index)
    written = {}
    for kind, neighbours in kinds.items():
        content = {"content": writer.content_hash(card, kind, ids, vectors)}  # wherever the gallery lies
        module = Search(embedder, [item.encode() for item in ids], neighbours(vectors))
        names = [name for name in ("search", "search_photo", "search_word") if hasattr(module, name)]
        functions = {name: getattr(module, name) for name in names}
        requests = writer.warm_up_requests(list(functions), with_k=True)
        functions |= {"serving_default": functions["search"]}
        written[f"search_{kind}"] = writer.publish(
            to / f"search_{kind}",
            module,
            functions,
            card | content | {"gallery": facts, "search": kind, "signatures": list(functions)},
            requests,
        )
    return written


def _metrics(run: Path) -> dict[str, Any]:
    """A few figures for the model card, and the extra views they were measured with; none of a run not evaluated."""
    try:
        report = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        values = {family: report["families"][family]["map_all"] for family in ("sake", "sem_pcyc")}
        views = int(report["views"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"metrics": {}}
    figures = {f"mAP@all ({family})": value for family, value in values.items() if value is not None}
    return {"metrics": figures, "metrics_views": views}


if __name__ == "__main__":
    cli.run(main)
