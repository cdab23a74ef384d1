"""A real SavedModel, a real gallery, a real server, and the stock stubs that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import serving_tiny as tiny
from tf_ssgn.runtime.saved_model import EmbeddingModel


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
    return tiny.model(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.photos(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.gallery(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def server(model: EmbeddingModel, gallery: Any) -> Iterator[Any]:
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    with Server(Service(), port=0) as running:
        running.publish(served(model, gallery, 1))
        yield running


@pytest.fixture(scope="session")
def channel(server: Any) -> Iterator[Any]:
    import grpc

    with grpc.insecure_channel(server.address) as made:
        yield made
