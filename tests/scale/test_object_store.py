"""Photos and results in an object store: a server that speaks S3, in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import fs

from tf_ssgn.retrieval.photos import Skipped
from tf_ssgn.scale import places
from tf_ssgn.scale.plan import _listed

NAMES = ("cat 0/0%20x.png", "cat 0/deep/1.jpg", "dög/2.png", "dög/notes.txt")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket with a few photos, reached as a user reaches a store of their own: through the environment."""
    server = pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            address = f"127.0.0.1:{running.get_host_and_port()[1]}"
            for name, value in {
                "ACCESS_KEY_ID": "a",
                "SECRET_ACCESS_KEY": "b",
                "ENDPOINT_URL": f"http://{address}",
            }.items():
                patch.setenv(f"AWS_{name}", value)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            store = fs.S3FileSystem(endpoint_override=address, scheme="http", allow_bucket_creation=True)
            store.create_dir("photos")
            picture = io.BytesIO()
            Image.new("RGB", (20, 10), "red").save(picture, "PNG")
            for name in NAMES:
                with store.open_output_stream(f"photos/{name}") as stream:
                    stream.write(picture.getvalue())
            yield "s3://photos"
    finally:
        running.stop()
        places._system.cache_clear()


def test_every_photo_below_a_prefix_is_listed_and_read(bucket: str) -> None:
    folders = [about.base_name for about in places.children(places.place("s3a://photos"))]
    assert folders == ["cat 0", "dög"]
    rows = pa.Table.from_batches(
        _listed(iter([pa.RecordBatch.from_pydict({"name": [None, *folders]})]), bucket, [])
    ).to_pylist()
    assert [row["id"] for row in rows] == [f"photos/{name}" for name in NAMES[:3]]
    assert [row["label"] for row in rows] == ["cat 0", "deep", "dög"]
    for row in rows:
        content, size, modified = places.read_photo(row["uri"])
        assert (len(content), modified) == (row["size"], row["modified"]) and size == row["size"]
    with pytest.raises(Skipped, match="No such file"):
        places.read_photo(f"{bucket}/nothing.png")
    with pytest.raises(OSError, match="bucket does not exist"):
        list(places.children(places.place("s3://elsewhere")))


def test_results_are_written_whole_and_removed(bucket: str) -> None:
    manifest = places.place(f"{bucket}/out/manifests/000001.json")
    places.write_whole(manifest, b"{}")
    assert places.read(manifest) == b"{}"
    assert [about.base_name for about in places.children(places.place(f"{bucket}/out/manifests"))] == ["000001.json"]
    places.remove(places.place(f"{bucket}/out"))
    assert not places.exists(manifest)
