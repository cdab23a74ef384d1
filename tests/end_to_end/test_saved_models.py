"""The exported SavedModels: alone in a fresh process, equal to the model they came from, with versions and warm-up."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tf_ssgn
from tf_ssgn import export as export_command
from tf_ssgn.common import cli
from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.export import export
from tf_ssgn.settings import SERVING

WARM_UP = "assets.extra/tf_serving_warmup_requests"

# Neither tf_ssgn nor Keras may be needed to answer, nor ScaNN to answer exactly: it comes last.
FRESH = """
import sys, json
sys.modules['tf_ssgn'] = sys.modules['keras'] = None
import numpy as np, tensorflow as tf
def plain(v):
    if isinstance(v, (list, np.ndarray)):
        return [plain(x) for x in v]
    return v.decode() if isinstance(v, bytes) else None if v != v else v.item()
def answer(model, paths, k):
    images = [open(path, 'rb').read() if path else b'' for path in paths]
    feed = {'image_bytes': tf.constant(images), 'word': tf.constant([''] * len(images)), 'k': tf.constant(k, tf.int32)}
    out = {}
    for name, f in model.signatures.items():
        out[name] = f(**{key: feed[key] for key in f.structured_input_signature[1]})
    return {n: {k: plain(v.numpy()) for k, v in o.items()} for n, o in out.items()}
def replayed(model, records):
    from tensorflow_serving.apis import prediction_log_pb2
    for record in tf.data.TFRecordDataset(records).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        feed = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        name = request.model_spec.signature_name
        yield request.model_spec.name, name, plain(model.signatures[name](**feed)['status'].numpy())
def answers(folder, requests, warm_up):
    if 'search_scann' in folder:
        import scann
    model = tf.saved_model.load(folder)
    return [answer(model, *request) for request in requests] + ([[*replayed(model, warm_up)]] if warm_up else [])
print(json.dumps([answers(*asked) for asked in json.loads(sys.argv[1])]))
"""


def fresh(asked, before="", after="", more=()):
    """The answers of each (folder, [(images, k), ...], file of warm-up requests or "") by signature, and what the
    model answers to those requests, all computed by one new process; then what `after` prints, to which `more` is
    given."""
    words = [json.dumps(asked, default=str), *map(str, more)]
    done = subprocess.run(
        [sys.executable, "-c", before + FRESH + after, *words], capture_output=True, text=True, timeout=300
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return (*printed, done.stderr) if after else printed[0]


@pytest.fixture(scope="module")
def sketches(chain):
    return [sorted((chain.data / "sketch" / label).iterdir())[0] for label in ("giraffe", "teapot")]


@pytest.fixture(scope="module")
def in_memory(chain):
    return tf_ssgn.load(chain.run, runtime="tensorflow")


@pytest.fixture(scope="module")
def exported(chain):
    return tf_ssgn.load(chain.models)


@pytest.fixture(scope="module")
def alone(chain, sketches):
    """What each exported model answers to each of its requests in a process that has nothing but TensorFlow."""
    first = sketches[0]
    searches = [([*sketches, "", first, first], [3, 5, 4, 0, 999]), ([first], [0]), ([first], [SERVING.k])]
    requests = {"embed": [([*sketches, ""], [])], "search_exact": searches, "search_scann": searches}
    folders = [chain.models / name / "1" for name in requests]
    asked = [(folder, requests[folder.parent.name], folder / WARM_UP) for folder in folders]
    return dict(zip(requests, fresh(asked), strict=True))


def test_embed_alone_equals_the_run(chain, sketches, in_memory, alone):
    out, _ = alone["embed"]
    assert set(out) == {"embed_sketch", "embed_photo", "embed_word", "explain"}
    assert out["embed_word"] == out["embed_sketch"]  # an empty word changes nothing
    embedded = np.array(out["embed_sketch"]["embedding"])
    np.testing.assert_allclose(embedded[:2], in_memory.embed_sketch(sketches), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedded[:2], axis=1), 1, atol=1e-5)
    assert out["embed_sketch"]["status"] == [0, 0, Status.EMPTY]
    assert not embedded[2].any()
    explained = out["explain"]
    np.testing.assert_allclose(explained["fine"], embedded, atol=1e-5)
    assert sorted(explained["class_names"][0]) == sorted(path.name for path in (chain.data / "sketch").iterdir())
    assert np.shape(explained["class_scores"]) == (3, 32)


def test_of_the_networks_it_keeps_the_variables_and_no_layer(chain):
    from tensorflow.core.protobuf import saved_model_pb2

    for kind in ("embed", "search_exact"):
        stored = saved_model_pb2.SavedModel.FromString((chain.models / kind / "1" / "saved_model.pb").read_bytes())
        nodes = [node.WhichOneof("kind") for node in stored.meta_graphs[0].object_graph_def.nodes]
        assert nodes.count("variable") > 50 and nodes.count("user_object") < 10


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_search_alone_equals_the_gallery(kind, chain, sketches, in_memory, alone):
    out = alone[f"search_{kind}"][0]
    assert set(out) == {"search", "search_photo", "search_word", "serving_default"}
    assert out["search"] == out["serving_default"] == out["search_word"]
    answer = out["search"]
    assert answer["count"] == [3, 5, 0, 0, 0]
    assert answer["status"] == [0, 0, Status.EMPTY, Status.BAD_K, Status.BAD_K]
    assert np.shape(answer["ids"]) == (5, 5)
    gallery = tf_ssgn.Gallery.open(chain.gallery)
    for row, count in ((0, 3), (1, 5)):
        hits = gallery.search(in_memory.embed_sketch(sketches[row]), k=count)
        assert answer["ids"][row][:count] == [hit.id for hit in hits]
        np.testing.assert_allclose(answer["scores"][row][:count], [hit.score for hit in hits], atol=1e-5)
        assert answer["ids"][row][count:] == [""] * (5 - count)
        assert answer["scores"][row][count:] == [None] * (5 - count)


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_every_bad_k_and_more_than_there_is(kind, alone):
    bad, answer = (out["search"] for out in alone[f"search_{kind}"][1:-1])
    assert bad == {"ids": [[]], "scores": [[]], "count": [0], "status": [Status.BAD_K]}
    assert answer["count"] == [192]
    assert len(answer["ids"][0]) == SERVING.k
    assert len(set(answer["ids"][0][:192])) == 192


def test_a_second_export_changes_nothing(chain):
    before = sorted(path.relative_to(chain.models) for path in chain.models.rglob("*"))
    written = export(chain.run, chain.models, chain.gallery)
    assert {path.name for path in written.values()} == {"1"}
    assert sorted(path.relative_to(chain.models) for path in chain.models.rglob("*")) == before


@pytest.fixture(scope="module")
def evaluated(chain, tmp_path_factory):
    """The run after an evaluation with three views."""
    run = shutil.copytree(chain.run, tmp_path_factory.mktemp("evaluated") / "run")
    values = {"sake": {"map_all": 0.25}, "sem_pcyc": {"map_all": None}}
    (run / "metrics.json").write_text(json.dumps({"families": values, "views": 3}))
    return run


@pytest.fixture(scope="module")
def with_views(evaluated):
    """It, exported with two further views."""
    return export(evaluated, evaluated.parent / "m", views=2)["embed"]


def test_views_are_another_model(chain, sketches, exported, evaluated, with_views):
    to = evaluated.parent / "m"
    model = tf_ssgn.load(to, runtime="tensorflow")
    assert model.views == 2
    assert model.fingerprint != exported.fingerprint
    assert (with_views / "README.md").read_text().count(": 2 of a sketch, 2 of a photo") == 1
    cosine = float(model.embed_sketch(sketches[0]) @ exported.embed_sketch(sketches[0]))
    assert 0.5 < cosine < 0.99999
    np.testing.assert_allclose(
        model.embed_sketch(sketches[0]),
        tf_ssgn.load(chain.run, views=2, runtime="tensorflow").embed_sketch(sketches[0]),
        atol=1e-5,
    )
    with pytest.raises(UserError, match="another model"):
        export(evaluated, to, chain.gallery, views=2)
    assert not (to / "search_exact").exists()


def test_warm_up_requests_are_what_tf_serving_replays(alone):
    for kind, signatures in (
        ("embed", {"embed_sketch", "embed_photo", "embed_word", "explain"}),
        ("search_exact", {"search", "search_photo", "search_word"}),
        ("search_scann", {"search", "search_photo", "search_word"}),
    ):
        replayed = alone[kind][-1]
        assert len(replayed) == 2 * len(signatures)
        assert {signature for _, signature, _ in replayed} == signatures
        for name, _, status in replayed:
            assert name == SERVING.name and not any(status)


def test_the_card_tells_what_the_model_is(chain, exported, in_memory):
    card = json.loads((chain.models / "search_exact/1/assets.extra/model.json").read_text())
    assert card["fingerprint"] == exported.fingerprint == in_memory.fingerprint
    assert card["gallery"]["count"] == 192
    text = (chain.models / "search_exact/1/README.md").read_text()
    assert "## Use" in text and "apple" in text and "backbone's weights (none)" in text
    assert "192 photos" in text
    assert "no figure here is the paper's" in text
    for promised in ("Not meant for", "Licences", "seed 0", "split data", "not evaluated", "drawing of one thing"):
        assert promised in text, promised


def test_the_card_has_the_figures_and_the_views_they_were_measured_with(with_views):
    text = (with_views / "README.md").read_text()
    assert "unseen classes, 3 extra views: mAP@all (sake) 0.2500\n" in text and "not evaluated" not in text


def test_mistakes_are_one_line(exported, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        tf_ssgn.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no exported model"):
        tf_ssgn.load(tmp_path)
    with pytest.raises(UserError, match="is not a run folder"):
        export(tmp_path, tmp_path / "m")
    broken = tmp_path / "embed" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a whole SavedModel"):
        tf_ssgn.load(tmp_path)
    with pytest.raises(UserError, match="expected a PNG or JPEG file"):
        exported.embed_sketch(tmp_path / "no.png")
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"no.png: not a format .* \(status 2\)"):
        exported.embed_sketch([tmp_path / "no.png"])


def test_a_full_disk_leaves_no_version(chain, tmp_path, capsys):
    """`RLIMIT_FSIZE` makes every larger write fail, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(SystemExit) as left:
            cli.run(export_command.main, [str(chain.run), "--to", str(tmp_path / "m")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    assert not list((tmp_path / "m" / "embed").glob("*"))
