"""The service over a gallery on a real Milvus Lite server that dies and comes back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrieval.milvus_server import Server as MilvusServer
from tests.serving import serving_tiny as tiny
from tf_ssgn import serve
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.milvus.writer import MilvusWriter
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.serving.core.reload import Reloader
from tf_ssgn.serving.core.service import ModelRequest, Service

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


def ids_of(service: Service, seed: int) -> list[str]:
    version = service.current
    assert version is not None
    request = ModelRequest(np.array([tiny.drawing(seed)], object), np.array([3], np.int32))
    answer = service.batcher.wait(service.work(version, "embed_sketch", request, Call(time.monotonic() + 20)))
    return answer["ids"][0].tolist()


def test_searches_stop_and_go_on_with_the_server(
    model: Any, photos: Path, gallery: Gallery, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    milvus = MilvusServer(tmp_path / "data")
    where = milvus.address("photos")
    service = Service()
    try:
        update.build(MilvusWriter(where), [photos], model)
        folder = tiny.model_folder(tmp_path_factory.getbasetemp())
        reloader = Reloader(service, folder, where, lambda _: model)
        reloader.first()
        vector = model.embed_sketch(tiny.drawing(2))
        expected = [hit.id for hit in gallery.search(vector, 3)]
        assert ids_of(service, 2) == expected

        milvus.kill()
        with pytest.raises(Fault, match="embeddings but no searches") as refused:
            ids_of(service, 2)
        assert refused.value.code == "UNAVAILABLE" and "127.0.0.1" not in str(refused.value)
        embedded = ModelRequest(np.array([tiny.drawing(2)], object))
        assert service.current is not None
        out = service.batcher.wait(service.work(service.current, "embed_sketch", embedded, Call(time.monotonic() + 20)))
        np.testing.assert_allclose(out["embedding"][0], vector, atol=1e-5)
        reloader.refresh()  # what is loaded stays

        milvus.restart()
        stop = time.monotonic() + 20
        while True:
            try:
                assert ids_of(service, 2) == expected
                break
            except Fault:
                assert time.monotonic() < stop
                time.sleep(0.2)
        before = service.current
        reloader.refresh()
        assert service.current is before, "the same collection is not opened anew"
    finally:
        service.batcher.close()
        milvus.kill()


@pytest.mark.parametrize(
    ("gallery", "said"), [("milvus://host", "expected milvus://HOST"), ("milvus://u:p@host/x", "environment")]
)
def test_an_address_that_is_none_is_refused_at_once(gallery: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        serve.main(["--model", str(tmp_path), "--gallery", gallery])
