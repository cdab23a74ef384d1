"""The client against the real server: pictures of all kinds in, hits and one-line errors out."""

from __future__ import annotations

import io
import socket
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving import serving_tiny as tiny
from tf_ssgn.client import Answer, AsyncClient, Client, ImageError, RemoteHit, RequestError
from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.serving.client.calls import _split, label_of
from tf_ssgn.serving.client.client import is_loopback
from tf_ssgn.settings import SERVING


@pytest.fixture(scope="module")
def client(server: Any) -> Any:
    with Client(server.address) as made:
        yield made


def picture(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(tiny.drawing(seed)))


def test_search_by_everything_that_holds_a_picture(client, photos) -> None:
    path = photos / "circle" / "3.png"
    image = picture(3)
    arrays = np.asarray(image), np.asarray(image.convert("RGBA"))
    for sketch in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, *arrays):
        hits = client.search(sketch, k=2)
        assert len(hits) == 2
        assert hits[0] == RemoteHit("photo/circle/3.png", hits[0].score, "circle")
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert hits[0].score >= hits[1].score
    assert client.search(np.asarray(image.convert("L")), k=1)[0].id == "photo/circle/3.png"
    assert client.search_photo(path, k=1)[0].id == "photo/circle/3.png"


def test_a_word_beside_a_sketch_or_alone(client, model) -> None:
    sketch = tiny.drawing(3)
    np.testing.assert_allclose(
        client.embed_sketch(sketch, word="Circles"), model.embed_sketch(sketch, word="circle"), atol=1e-6
    )
    alone = client.embed_sketch(None, word="circle")
    np.testing.assert_allclose(alone, model.embed_sketch(None, word="circle"), atol=1e-6)
    assert [hit.score for hit in client.search(sketch, k=3, word="circle")] != [
        hit.score for hit in client.search(sketch, k=3)
    ]
    assert len(client.search(None, k=3, word="circle")) == 3
    for word, said in (
        ("cirkle", r"'cirkle' is not among.*status 8"),
        (7, "received '7'"),
        ("x" * 65, "64 characters"),
    ):
        with pytest.raises(UserError, match=said):
            client.search(sketch, word=word)
    with pytest.raises(UserError):
        client.search(None)


def test_default_k_and_more_than_there_are(client, gallery) -> None:
    assert len(client.search(tiny.drawing(1))) == SERVING.default_k
    assert len(client.search(tiny.drawing(1), k=SERVING.k)) == len(gallery)


def test_a_batch_longer_than_one_request_with_faults_in_it(client) -> None:
    sketches = [tiny.drawing(seed % 12) for seed in range(40)]
    sketches[5], sketches[35] = b"", bytes(9 * 2**20)
    answers = client.search_batch(sketches, k=1)
    assert [answer.status for answer in answers if answer.status] == [Status.EMPTY, Status.TOO_LARGE]
    assert answers[5] == Answer([], Status.EMPTY) and answers[35].hits == []
    for seed, answer in enumerate(answers):
        if seed not in (5, 35):
            assert answer.hits[0].id == f"photo/{tiny.CLASSES[seed % 12 % 3]}/{seed % 12}.png"
    assert client.search_batch([]) == []


def test_embeddings_equal_those_in_process(client, model) -> None:
    images = [tiny.drawing(seed) for seed in range(35)]
    for name in ("embed_sketch", "embed_photo"):
        batch = getattr(client, name)(images)
        single = getattr(client, name)(images[0])
        assert batch.dtype == np.float32 and batch.shape == (35, tiny.DIMENSION) and single.shape == (tiny.DIMENSION,)
        expected = model.call(name, {"image_bytes": np.array(images, object)})["embedding"]
        one = getattr(client, name)(io.BytesIO(images[0]))  # not its lines
        np.testing.assert_allclose(one, expected[0], atol=1e-6)
        np.testing.assert_allclose(batch, expected, atol=1e-6)
        np.testing.assert_allclose(single, expected[0], atol=1e-6)


def test_pictures_may_come_from_a_generator(client) -> None:
    images = [tiny.drawing(seed) for seed in range(3)]
    listed, drawn = client.search_batch(images, k=1), client.search_batch((image for image in images), k=1)
    assert listed == drawn and [answer.hits[0].id[:6] for answer in drawn] == ["photo/"] * 3
    for name in ("embed_sketch", "embed_photo"):
        call = getattr(client, name)
        assert (call(iter(images)) == call(images)).all() and (call(dict.fromkeys(images)) == call(images)).all()
        with pytest.raises(UserError, match="empty list"):
            call(iter(()))
    assert client.search_batch(iter(())) == []
    for one in (images[0], "a.png", np.zeros((8, 8), np.uint8), 7, None):  # a text's letters are no paths
        with pytest.raises(UserError, match="as a batch, expected a list of pictures"):
            client.search_batch(one)


@pytest.mark.parametrize("token", ["\ufefft", " t\n", "\ufeff t \r\n", "t"])
def test_what_editors_put_around_a_token_is_no_part_of_it(token: str) -> None:
    with Client("localhost:1", token=token) as made:
        assert ("authorization", "Bearer t") in made._metadata


@pytest.mark.parametrize("token", ["", " \n", "\ufeff", "caf\u00e9", "a\nb", "a\0b"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(UserError, match="received a token that no header can carry"):
        Client("localhost:1", token=token)


def test_explain_metadata_status(client) -> None:
    told = client.explain(tiny.drawing(1))
    assert told.coarse.shape == told.fine.shape == (tiny.DIMENSION,) and told.semantics.shape == (tiny.SEMANTIC,)
    assert [name for name, _ in told.classes] == list(tiny.CLASSES)
    about = client.metadata()
    assert (about["model"], about["version"]) == ("ssgn", 1)
    assert about["signatures"]["search"]["inputs"] == {
        "image_bytes": {"dtype": "string", "shape": [-1]},
        "k": {"dtype": "int32", "shape": [-1]},
    }
    assert client.status() == [{"version": 1, "state": "AVAILABLE", "error": ""}]


@pytest.mark.parametrize(
    ("sketch", "said"),
    [
        (b"", "no bytes.*status 1"),
        (b"GIF89a", "not a format.*status 2"),
        (tiny.drawing(1)[:60], "damaged.*status 3"),
        (bytes(8 * 2**20 + 1), "status 4"),
        (np.full((4, 4), 255, np.uint8), "too small.*status 5"),
        (np.full((50, 50), 255, np.uint8), "blank.*status 6"),
        (Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "blank.*status 6"),
        (Image.open(io.BytesIO(tiny.drawing(1)[:60])), "damaged.*status 3"),
    ],
    ids=["empty", "gif", "cut", "too many bytes", "too small", "blank", "transparent", "cut, opened lazily"],
)
def test_a_faulty_picture_says_what_is_wrong(client, sketch, said: str) -> None:
    for call in (client.search, client.embed_sketch, client.explain):
        with pytest.raises(ImageError, match=said):
            call(sketch)


@pytest.mark.parametrize(
    "sketch",
    [
        "nowhere.png",
        "a\0b",
        ".",
        None,
        7,
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros(8, np.uint8),
        io.StringIO("text"),
    ],
    ids=lambda sketch: str(sketch).partition(" at ")[0],
)
def test_what_is_no_picture_is_the_callers_mistake(client, sketch) -> None:
    with pytest.raises(UserError, match="received|cannot read"):
        client.search(sketch)


@pytest.mark.parametrize("k", [0, -1, SERVING.k + 1, 2**31, 2**70, 1.5, "3", None, True], ids=str)
def test_bad_k(client, k) -> None:
    with pytest.raises(UserError, match="received k"):
        client.search(tiny.drawing(1), k=k)


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":8500", "localhost:0", "a:b", "a:99999", "a:²"])
def test_bad_addresses(address: str) -> None:
    with pytest.raises(UserError, match="HOST:PORT"):
        Client(address)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_server_is_said_in_one_line() -> None:
    with Client(f"localhost:{free_port()}") as client, pytest.raises(RequestError, match="no answer") as caught:
        client.search(tiny.drawing(1))
    assert caught.value.code == "UNAVAILABLE" and "\n" not in str(caught.value)


def test_a_server_that_comes_a_little_later_is_found(model) -> None:
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    with Server(Service(), port=0) as late:  # listening, but UNAVAILABLE while it loads
        threading.Timer(0.2, lambda: late.publish(served(model, None, 1))).start()
        with Client(late.address, timeout=20) as client:
            assert client.embed_sketch(tiny.drawing(1)).shape == (tiny.DIMENSION,)


def test_a_silent_server_runs_into_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.5) as client:
            with pytest.raises(RequestError, match="did not answer within 0.5 s|no answer"):
                client.search(tiny.drawing(1))


def test_refusals_are_not_tried_again(server) -> None:
    with Client(server.address, model="other") as client:
        begun = time.monotonic()
        with pytest.raises(RequestError, match="other.*NOT_FOUND") as caught:
            client.search(tiny.drawing(1))
        assert caught.value.code == "NOT_FOUND"
        assert time.monotonic() - begun < 5


def test_requests_stay_within_both_limits() -> None:
    big = bytes(8 * 2**20)
    assert [len(batch) for batch in _split([b"x"] * 70)] == [32, 32, 6]
    assert [len(batch) for batch in _split([big] * 5)] == [3, 2]
    assert list(_split([])) == []


def test_labels_and_hosts() -> None:
    assert [label_of(item) for item in ("photo/cat/1.jpg", "photo/1.jpg", "1.jpg", "a/b/c/d.png")] == [
        "cat",
        "photo",
        "",
        "c",
    ]
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "[::1]", "10.0.0.1", "example.org")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_asyncio_client_says_what_the_other_one_says(server) -> None:
    import asyncio

    drawings = [tiny.drawing(seed) for seed in range(5)]

    async def ask() -> list:
        async with AsyncClient(server.address) as client:
            with pytest.raises(ImageError) as caught:
                await client.search(b"text")
            assert caught.value.status == Status.UNKNOWN_FORMAT
            return await asyncio.gather(
                *(client.search(drawing, k=3) for drawing in drawings),
                client.search_photo(drawings[0], k=2),
                client.search_batch([*drawings, b""], k=1),
                client.metadata(),
                client.status(),
                client.embed_sketch(drawings),
                client.embed_photo(drawings[0]),
                client.explain(drawings[0]),
            )

    *hits, by_photo, batch, metadata, status, vectors, vector, explanation = asyncio.run(ask())
    with Client(server.address) as client:
        for drawing, found in zip(drawings, hits, strict=True):
            assert [hit.id for hit in found] == [hit.id for hit in client.search(drawing, k=3)]
        assert [hit.id for hit in by_photo] == [hit.id for hit in client.search_photo(drawings[0], k=2)]
        assert [answer.status for answer in batch] == [0] * 5 + [Status.EMPTY]
        assert metadata == client.metadata() and status == client.status()
        np.testing.assert_allclose(vectors, client.embed_sketch(drawings), atol=1e-5)
        np.testing.assert_allclose(vector, client.embed_photo(drawings[0]), atol=1e-5)
        assert explanation.classes[0] == client.explain(drawings[0]).classes[0]


def test_the_asyncio_client_without_a_server() -> None:
    import asyncio

    async def ask() -> None:
        async with AsyncClient(f"localhost:{free_port()}") as client:
            await client.status()

    with pytest.raises(RequestError, match="no answer") as caught:
        asyncio.run(ask())
    assert caught.value.code == "UNAVAILABLE"


def test_labels_are_the_gallerys_own(model, tmp_path) -> None:
    from tf_ssgn.retrieval.folder import builder
    from tf_ssgn.retrieval.folder.gallery import Gallery
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    (tmp_path / "photo" / "folder").mkdir(parents=True)
    for seed in range(2):
        (tmp_path / "photo" / "folder" / f"{seed}.png").write_bytes(tiny.drawing(seed))
    (tmp_path / "table.csv").write_text("id,label\nphoto/folder/0.png,a cat\n")
    builder.build(tmp_path / "gallery", [tmp_path / "photo"], model, metadata=tmp_path / "table.csv")
    service = Service()
    service.publish(served(model, Gallery.open(tmp_path / "gallery"), 1))
    with Server(service, port=0) as server, Client(server.address) as client:
        hits = client.search(tiny.drawing(0), k=2)
    assert {hit.id: hit.label for hit in hits} == {"photo/folder/0.png": "a cat", "photo/folder/1.png": "folder"}


@pytest.mark.parametrize("mode", ["La", "LA", "PA", "P", "1", "CMYK", "YCbCr", "HSV", "RGBa", "RGBX"])
def test_every_mode_of_pillow_can_be_sent(mode: str) -> None:
    from tf_ssgn.data.images.content import image_bytes

    assert Image.open(io.BytesIO(image_bytes(Image.new(mode, (9, 8))))).size == (9, 8)


@pytest.mark.parametrize("mode,top", [("I;16", 65535), ("I", 65535), ("F", 1.0)])
def test_deep_greys_are_scaled_and_not_clipped(mode: str, top: float) -> None:
    from tf_ssgn.data.images.content import image_bytes

    grey = np.asarray(picture(3).convert("L"), np.float64)
    kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    deep = Image.fromarray((grey / 255 * top).astype(kinds[mode]))
    assert deep.mode == mode
    sent = np.asarray(Image.open(io.BytesIO(image_bytes(deep))).convert("L"), np.float64)
    assert np.abs(sent - grey).max() <= 1
