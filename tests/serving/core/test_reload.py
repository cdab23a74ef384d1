"""Newer versions of model and gallery: swapped under load without a failed request, or refused."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import tf_ssgn
from tests.serving import serving_tiny as tiny
from tf_ssgn.client import Client
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.serving.core import reload
from tf_ssgn.serving.core.reload import Reloader
from tf_ssgn.serving.core.service import Service, VersionState
from tf_ssgn.serving.rpc.server import Server

COPY = "7"  # a version of another number and the same content


@pytest.fixture
def folders(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Copies of the model's and of the gallery's folder, to be changed."""
    base = tmp_path_factory.getbasetemp()
    shutil.copytree(tiny.model_folder(base), tmp_path / "model")
    shutil.copytree(tiny.gallery_folder(base), tmp_path / "gallery")
    return tmp_path / "model", tmp_path / "gallery"


@pytest.fixture
def load(model: Any) -> Any:
    """Loads for real, except for a sound copy of version 1, which the session has loaded."""

    def of(folder: Path) -> Any:
        return model if folder.name in ("1", COPY) else tf_ssgn.load(folder, runtime="tensorflow")

    return of


@pytest.fixture
def reloader(folders: tuple[Path, Path], load: Any) -> Reloader:
    return Reloader(Service(), *folders, load=load)


def new_version(model: Path, number: int, fingerprint: str = tiny.FINGERPRINT) -> Path:
    """Copies version 1, by a rename at the end as `export` does it."""
    shutil.copytree(model / "embed" / "1", model / "embed" / ".new")
    card = model / "embed" / ".new" / "assets.extra" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "fingerprint": fingerprint}))
    return (model / "embed" / ".new").rename(model / "embed" / str(number))


def draw(folder: Path, seed: int) -> Path:
    path = folder / "more" / f"{seed}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny.drawing(seed))
    return folder


def test_adds_and_deletes_become_visible(reloader, folders, model, tmp_path) -> None:
    first = reloader.first()
    service = reloader._service
    reloader.refresh()
    assert service.current is first, "nothing new, nothing loaded"
    builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)
    reloader.refresh()
    assert service.current.model is first.model and len(service.current.gallery) == 13
    assert service.current.gallery.find("photos/more/50.png")
    changes.delete(folders[1], ids=["photos/more/50.png"])
    reloader.refresh()
    assert len(service.current.gallery) == 12 and len(first.gallery) == 12


def test_a_newer_model_takes_over_and_the_status_tells(reloader, folders) -> None:
    first = reloader.first()
    service = reloader._service
    assert service.states == {1: VersionState("AVAILABLE")}
    new_version(folders[0], int(COPY))
    reloader.refresh()
    assert service.states == {1: VersionState("END"), 7: VersionState("AVAILABLE")}
    assert service.current.version == 7 and service.current.gallery is first.gallery


@pytest.mark.parametrize("damage", ["of another model", "not whole", "blank answers"])
def test_a_bad_model_is_refused_once_and_the_old_one_stays(reloader, folders, damage, capsys, monkeypatch) -> None:
    first = reloader.first()
    service = reloader._service
    if damage == "blank answers":

        class Blank:
            fingerprint, dimension = first.model.fingerprint, first.model.dimension
            card, has_words = first.model.card, False

            def call(self, signature: str, inputs: Any) -> Any:
                out = first.model.call(signature, inputs)
                return {**out, "status": np.full_like(out["status"], 6)}

        reloader._load = lambda folder: Blank()
    version = new_version(folders[0], 2, "0" * 64 if damage == "of another model" else tiny.FINGERPRINT)
    if damage == "not whole":
        (version / "variables").rename(version / "gone")
        (version / "saved_model.pb").write_bytes(b"rubbish")
    capsys.readouterr()
    reloader.refresh()
    reloader.refresh()
    assert service.current is first
    assert service.states[1] == VersionState("AVAILABLE")
    assert service.states[2].name == "END" and service.states[2].error
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "refused" in line]
    assert "old one stays" in line
    reloader._load = lambda folder: first.model
    new_version(folders[0], 3)
    reloader.refresh()
    assert service.current.version == 3


def test_a_damaged_gallery_is_refused(reloader, folders, model, tmp_path) -> None:
    first = reloader.first()
    builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)
    newest = max((folders[1] / "versions").iterdir())
    content = newest.read_bytes()
    newest.write_bytes(content[:-20])
    reloader.refresh()
    assert reloader._service.current is first
    newest.write_bytes(content)
    draw(tmp_path / "photos", 51)
    builder.add(folders[1], [tmp_path / "photos"], model)
    reloader.refresh()
    assert len(reloader._service.current.gallery) == 14


def test_a_gallery_that_does_not_find_its_own_is_refused(reloader, folders, monkeypatch, model, tmp_path) -> None:
    first = reloader.first()
    builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)
    search = Gallery.search_batch
    monkeypatch.setattr(Gallery, "search_batch", lambda self, vectors, k: search(self, -vectors, np.minimum(k, 2)))
    with pytest.raises(UserError, match="does not find its own items"):
        reload.check_gallery(Gallery.open(folders[1]))
    reloader.refresh()
    assert reloader._service.current is first
    monkeypatch.undo()
    reload.check_gallery(first.gallery)


def test_many_equal_items_are_as_good_as_one_another(model, tmp_path) -> None:
    for copy in range(15):
        path = tmp_path / "photos" / "same" / f"{copy}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.drawing(1))
    builder.build(tmp_path / "g", [tmp_path / "photos"], model)
    reload.check_gallery(Gallery.open(tmp_path / "g"))


def test_a_gallery_replaced_as_a_whole_and_one_that_vanished(reloader, folders, model, tmp_path) -> None:
    reloader.first()
    service = reloader._service
    builder.build(tmp_path / "other", [draw(tmp_path / "photos", 50)], model)
    shutil.move(folders[1], tmp_path / "old")
    reloader.refresh()
    assert len(service.current.gallery) == 12
    shutil.move(tmp_path / "other", folders[1])
    reloader.refresh()
    assert (len(service.current.gallery), service.current.gallery.version) == (1, 1)


def test_the_first_version_must_fit(reloader, folders) -> None:
    new_version(folders[0], 2, "0" * 64)
    with pytest.raises(UserError, match="another model"):
        reloader.first()
    assert reloader._service.states[2].name == "END" and reloader._service.current is None


def test_no_request_fails_while_versions_come_and_go(folders, load, model, tmp_path) -> None:
    service = Service()
    with Server(service, port=0) as server:
        reloader = Reloader(service, *folders, load=load, ready=server.ready)
        reloader.first()
        stop, wrong, answered = threading.Event(), [], []

        def ask(seed: int) -> None:
            with grpc.insecure_channel(server.address) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                asked = predict_pb2.PredictRequest()
                asked.model_spec.name = "ssgn"
                asked.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([tiny.drawing(seed)]))
                asked.inputs["k"].CopyFrom(tf.make_tensor_proto([1]))
                expected = f"photo/{tiny.CLASSES[seed % 3]}/{seed}.png".encode()
                while not stop.wait(0.005):  # four clients at full speed would slow the changes down
                    try:
                        found = stub.Predict(asked, timeout=20).outputs["ids"].string_val[0]
                    except grpc.RpcError as error:
                        wrong.append(error.code())
                    else:
                        answered.append(found)
                        if found != expected:
                            wrong.append(found)

        clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for client in clients:
            client.start()
        for number in range(5):
            builder.add(folders[1], [draw(tmp_path / "photos", 50 + number)], model)
            reloader.refresh()
            assert len(service.current.gallery) == 13 + number
        changes.delete(folders[1], where="label = 'more'")
        from tf_ssgn.retrieval.folder.compaction import compact

        compact(folders[1])
        reloader.refresh()
        new_version(folders[0], 3)
        reloader.refresh()
        stop.set()
        for client in clients:
            client.join(30)
        assert not wrong and len(answered) > 20
        with Client(server.address) as client:
            assert [entry["version"] for entry in client.status() if entry["state"] == "AVAILABLE"] == [3]


def test_it_looks_by_itself(folders, load, model, tmp_path) -> None:
    from tf_ssgn.settings import Serving

    reloader = Reloader(Service(Serving(poll_seconds=0.05)), *folders, load=load)
    reloader.first()
    reloader.start()
    try:
        builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)
        seen = threading.Event()
        for _ in range(200):
            if len(reloader._service.current.gallery) == 13:
                seen.set()
                break
            seen.wait(0.05)
        assert seen.is_set()
    finally:
        reloader.stop()


def test_a_refused_pair_ends_in_a_state_that_says_why(reloader, folders, model, tmp_path, monkeypatch) -> None:
    """A newer model whose newer gallery is no good was called LOADING for ever."""
    first = reloader.first()
    service = reloader._service
    new_version(folders[0], int(COPY))
    builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)

    def refuse(gallery: Any) -> None:
        raise UserError("too few vectors find themselves")

    monkeypatch.setattr(reload, "check_gallery", refuse)
    assert "too few vectors" in reloader.refresh()
    assert service.current is first and service.states[1] == VersionState("AVAILABLE")
    assert service.states[7].name == "END" and "too few vectors" in service.states[7].error
    assert "too few vectors" in reloader.refresh(), "refused as before, and not tried again"


def test_the_old_model_follows_the_gallery_where_only_the_new_model_is_refused(
    reloader, folders, model, tmp_path
) -> None:
    first = reloader.first()
    new_version(folders[0], 2, "0" * 64)
    builder.add(folders[1], [draw(tmp_path / "photos", 50)], model)
    assert reloader.refresh()
    assert reloader._service.current.model is first.model and len(reloader._service.current.gallery) == 13
    assert reloader._service.states[2].name == "END"


def test_who_asks_for_a_newer_version_is_told_why_it_was_refused(folders, load) -> None:
    service = Service()
    reloader = Reloader(service, *folders, load=load)
    with Server(service, port=0, refresh=reloader.refresh) as server, grpc.insecure_channel(server.address) as channel:
        reloader.first()
        asked = model_management_pb2.ReloadConfigRequest()
        asked.config.model_config_list.config.add(name="ssgn")
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        assert models.HandleReloadConfigRequest(asked, timeout=20).status.error_code == 0
        new_version(folders[0], 2, "0" * 64)
        for _ in range(2):  # and so is who asks again
            with pytest.raises(grpc.RpcError) as refused:
                models.HandleReloadConfigRequest(asked, timeout=60)
            assert refused.value.code().name == "FAILED_PRECONDITION"
            assert "the old one stays: " in refused.value.details() and "another model" in refused.value.details()
        assert service.states[1] == VersionState("AVAILABLE") and service.states[2].name == "END"
