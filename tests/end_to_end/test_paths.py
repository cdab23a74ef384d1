"""How many files a reader has to know to follow one sketch, one photo or one batch; each number only falls.

A file counts if one of its functions is called while the thing is on its way, in any thread: not what starts up before
it, reads flags, or closes after it.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tf_ssgn
from tests import trees
from tests.conftest import REPOSITORY
from tests.eagerly import eagerly

PACKAGE = str(REPOSITORY / "tf_ssgn") + "/"


class Done(Exception):
    """All is seen."""


class Files:
    """The files whose functions are called while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.seen: set[str] = set()

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if self.on and event == "call" and frame.f_code.co_name != "<module>":
            path = frame.f_code.co_filename
            if path.startswith(PACKAGE):
                self.seen.add(path.removeprefix(PACKAGE))

    @contextmanager
    def here(self) -> Iterator[None]:
        """Watches this thread and those that are begun within."""
        sys.setprofile(self)
        threading.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def check(self, most: int) -> None:
        names = sorted(self.seen)
        assert 0 < len(names) <= most, f"{len(names)} files, expected at most {most}: {', '.join(names)}"


def test_a_sketch_from_query_to_the_answer(chain) -> None:
    from tf_ssgn import query
    from tf_ssgn.client import Client
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    sketch = sorted((chain.data / "sketch/giraffe").iterdir())[0]
    files = Files()
    with files.here(), Server(Service(), port=0) as server:
        server.publish(served(tf_ssgn.load(chain.models), tf_ssgn.Gallery.open(chain.gallery), 1))
        args = query.parser().parse_args([str(sketch), "--server", server.address])
        with Client(args.server) as client:
            for files.on in (False, True, True, True):  # the first one warms up
                hits = query._patiently(client.search, args, client)
            files.on = False
    assert len(hits) == 10
    files.check(20)


def test_a_photo_in_index_build(chain, tmp_path, monkeypatch) -> None:
    from tf_ssgn.retrieval import update
    from tf_ssgn.retrieval.open import open_writer
    from tf_ssgn.settings import SERVING

    files, embedded = Files(), 0

    class Watched:
        def __init__(self, model: Any):
            self._model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self._model, name)

        def call(self, signature: str, inputs: Any) -> Any:
            """The first batches are past, and photos are being read, embedded and stored: not the last ones yet."""
            nonlocal embedded
            embedded += 1
            files.on = 5 <= embedded <= 9
            return self._model.call(signature, inputs)

    photos = 12 * SERVING.batch
    trees.put(tmp_path / "photos", [f"ant/{number}.jpg" for number in range(photos)])
    monkeypatch.setattr(update, "SECOND_STEP_SECONDS", 1e9)  # one version more would be no photo's work
    with files.here():
        model = Watched(tf_ssgn.load(chain.models))
        report = update.build(open_writer(tmp_path / "gallery"), [tmp_path / "photos"], model)
    assert report.count == photos and embedded == 12
    files.check(14)


def test_a_batch_in_train(drawn, tiny_config, cache, tmp_path, monkeypatch) -> None:
    """A step that is not compiled, so that its losses and layers are called for each batch and not traced once."""
    from tf_ssgn.train import train
    from tf_ssgn.training import fit
    from tf_ssgn.training.feed import Feed

    files, taps = Files(), Feed._taps

    def watched(self: Feed, epoch: int, step: int) -> Iterator[Any]:
        """`tf.data` calls generators in threads that Python did not begin."""
        for batch in taps(self, epoch, step):
            yield batch
            sys.setprofile(files)

    class Second(fit.StepProgress):  # the last of the callbacks
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            files.on = batch == 0
            if batch == 1:
                raise Done

    monkeypatch.setattr(Feed, "_taps", watched)
    monkeypatch.setattr(fit, "StepProgress", Second)
    config = dataclasses.replace(tiny_config, training=dataclasses.replace(tiny_config.training, epochs=1))
    with eagerly(), files.here(), pytest.raises(Done):
        train(config, str(drawn), None, str(tmp_path / "run"), cache)
    files.check(10)
