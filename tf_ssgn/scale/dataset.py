"""What a bulk embedding writes: a folder of parquet files whose versions are whole or absent.

    manifests/000002.json            version 2: model, source, every file of it with rows, bytes and SHA-256
    data/<run>/part-00017-<token>    .parquet: id, uri, label, size, modified, sha256, width, height, status, vector
    bad/<run>/part-00017-<token>     .parquet: id, uri, size, modified, status, reason, final
    runs/<run>/                      an unfinished run: its plan and which parts of it are done

The current version is the manifest of the highest number. It is written under another name and renamed, so a killed
job leaves the version before it; files that no manifest names are a killed job's, and the next one removes them.
Together the files of a version hold each photo once: no other order or merging is needed to read them.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from tf_ssgn.errors import UserError, reason
from tf_ssgn.scale import places
from tf_ssgn.scale.places import Place
from tf_ssgn.settings import KEPT_VERSIONS

FORMAT = 1
MANIFESTS, DATA, BAD, RUNS = "manifests", "data", "bad", "runs"
_NEEDED = ("version", "count", "dimension", "model", "source", "data", "bad")
ITEM = ("id", "uri", "label", "size", "modified", "sha256", "width", "height", "status")
PROBLEM = ("id", "uri", "label", "size", "modified", "status", "reason", "final")


def schemas(dimension: int) -> dict[str, Any]:
    """pyarrow schemas of the files in `data` and `bad`."""
    import pyarrow as pa

    kinds = {"size": pa.int64(), "modified": pa.int64(), "width": pa.int32(), "height": pa.int32()}
    kinds |= {"status": pa.int32(), "final": pa.bool_()}
    data, bad = ([(name, kinds.get(name, pa.string())) for name in names] for names in (ITEM, PROBLEM))
    return {DATA: pa.schema([*data, ("vector", pa.list_(pa.float32(), dimension))]), BAD: pa.schema(bad)}


class EmbeddedDataset:
    """The folder at a path or URI."""

    def __init__(self, uri: str):
        self.uri = uri if places.is_uri(uri) else os.path.abspath(uri)
        self.root = places.place(self.uri)

    def at(self, *names: str) -> Place:
        return self.root.below(*names)

    def listing(self, *names: str) -> list[Any]:
        """What is in a folder of it; empty where there is no such folder."""
        try:
            return list(places.children(self.at(*names)))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise UserError(f"{places.shown(self.uri)} is a file; expected a folder of embedded photos") from None
        except OSError as error:
            raise UserError(f"cannot read {places.shown(self.uri)}: {reason(error)}") from None

    def versions(self) -> list[int]:
        names = [about.base_name.partition(".") for about in self.listing(MANIFESTS)]
        return sorted(int(stem) for stem, _, suffix in names if stem.isdigit() and suffix == "json")

    def manifest(self, version: int | None = None) -> dict[str, Any] | None:
        """The manifest of a version, by default of the current one; None where there is none yet."""
        if version is None:
            versions = self.versions()
            if not versions:
                return None
            version = versions[-1]
        where = self.at(MANIFESTS, f"{version:06d}.json")
        try:
            values = json.loads(places.read(where))
            if not isinstance(values, dict) or any(key not in values for key in _NEEDED):
                raise ValueError("it lacks what a manifest has")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{where.path} is damaged ({reason(error)}); remove it to fall back to the version before"
            ) from None
        if values.get("format", 0) > FORMAT:
            raise UserError(f"{self.uri} has format {values['format']}; this version of tf_ssgn reads up to {FORMAT}")
        return values

    def commit(self, manifest: dict[str, Any], base: int) -> dict[str, Any]:
        """Makes a manifest the version after `base`; UserError where another job has done so meanwhile."""
        where = self.at(MANIFESTS, f"{base + 1:06d}.json")
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        manifest = {"format": FORMAT, "version": base + 1, "written": written, **manifest}
        try:
            places.write_new(where, (json.dumps(manifest, ensure_ascii=False) + "\n").encode())
        except FileExistsError as error:
            raise UserError(
                f"another job has written version {base + 1} of {self.uri} meanwhile ({MANIFESTS}/{error}); run this "
                "one again, and if no other job is at work, without that file"
            ) from None
        return manifest

    def collect(self) -> None:
        """Removes files that the newest versions and unfinished runs do not name."""
        versions = self.versions()
        for version in versions[:-KEPT_VERSIONS]:
            places.remove(self.at(MANIFESTS, f"{version:06d}.json"))
        named: set[str] = set()
        for version in versions[-KEPT_VERSIONS:]:
            manifest = self.manifest(version)
            assert manifest is not None
            named |= {entry["file"] for kind in (DATA, BAD) for entry in manifest[kind]}
        unfinished = {about.base_name for about in self.listing(RUNS)}
        for kind in (DATA, BAD):
            for run in self.listing(kind):
                if run.base_name in unfinished:
                    continue
                files = {f"{kind}/{run.base_name}/{about.base_name}" for about in self.listing(kind, run.base_name)}
                if not files & named:
                    places.remove(self.at(kind, run.base_name))
                else:
                    for file in files - named:
                        places.remove(self.at(file))

    # -- files -------------------------------------------------------------------------------------------------------

    def write(self, kind: str, run: str, name: str, table: Any) -> dict[str, Any]:
        """Writes a table as a file of a kind; what a manifest says of it."""
        import pyarrow.parquet as parquet

        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression="zstd", use_dictionary=["label"])
        content = buffer.getvalue()
        file = f"{kind}/{run}/{name}.parquet"
        places.write(self.at(file), content)
        digest = hashlib.sha256(content).hexdigest()
        return {"file": file, "rows": table.num_rows, "bytes": len(content), "sha256": digest}

    def read(self, entry: dict[str, Any], columns: list[str] | None = None) -> Any:
        """A file's table, its SHA-256 compared, or some of its columns. UserError where it is damaged or gone."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        where = self.at(entry["file"])
        try:
            if columns is None:
                content = places.read(where)
                if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
                    raise ValueError("its content is not the one that the manifest names")
                table = parquet.read_table(pa.BufferReader(content))
            else:
                table = parquet.read_table(where.path, columns=columns, filesystem=where.system)
            if table.num_rows != entry["rows"]:
                raise ValueError(f"it has {table.num_rows:,} rows, expected {entry['rows']:,}")
            return table
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise UserError(
                f"{where.path} is missing or damaged ({reason(error)}); restore it from a copy or embed into another "
                "folder"
            ) from None

    def tables(self, manifest: dict[str, Any], kind: str = DATA) -> Iterator[Any]:
        """All files of a version, each checked."""
        for entry in manifest[kind]:
            yield self.read(entry)


def is_dataset(uri: str) -> bool:
    """Whether a path or URI is such a folder."""
    if not places.is_uri(uri) and not os.path.isdir(uri):
        return False
    return bool(EmbeddedDataset(uri).versions())


def open_embedded(uri: str) -> tuple[EmbeddedDataset, dict[str, Any]]:
    """The folder and its current manifest; UserError where nothing was committed there."""
    dataset = EmbeddedDataset(uri)
    manifest = dataset.manifest()
    if manifest is None:
        started = " (a job was begun and not finished; run it again)" if dataset.listing(RUNS) else ""
        raise UserError(
            f"{places.shown(uri)} holds no embedded photos{started}; make them with "
            "`python -m tf_ssgn.index build ... --engine spark`"
        )
    return dataset, manifest
