"""`train`: the run folder, resuming, sameness, and mistakes that leave nothing behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from tf_ssgn import config
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.errors import UserError
from tf_ssgn.runs.evaluate import evaluate_run
from tf_ssgn.runs.load import from_run
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.runtime.saved_model import newest_version
from tf_ssgn.train import train
from tf_ssgn.training import callbacks, feed, fit
from tf_ssgn.training.fit import restore_trainer
from tf_ssgn.training.guides import solve_guides
from tf_ssgn.training.run_folder import REFIT, SELECT, load_state, open_run, save_state


def history(run):
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def weights(run):
    return restore_trainer(open_run(run)).get_weights()


def test_the_run_folder_is_whole(chain):
    run = open_run(chain.run)
    assert run.finished
    assert len(run.split.seen) == 20
    assert len(run.split.validation) == 4
    assert len(run.classes) == 24
    rows = history(chain.run)
    assert [row["epoch"] for row in rows if row["phase"] == "select"] == [1, 2, 3]
    best = max((row for row in rows if row["phase"] == "select"), key=lambda row: row["validation_map_all"])
    assert load_state(run)[0]["best_epoch"] == best["epoch"]
    assert len([row for row in rows if row["phase"] == "refit"]) == best["epoch"]
    events = b"".join(path.read_bytes() for path in (chain.run / "tensorboard").rglob("*tfevents*"))
    assert b"validation/answers" in events
    assert b"loss/kl" in events
    codes = (chain.run / "tensorboard/codes.tsv").read_text().splitlines()
    assert len(codes) == len((chain.run / "tensorboard/classes.tsv").read_text().splitlines()) - 1 == 2 * 4 * 6
    assert not [path for path in chain.run.rglob("*.tmp*")]


def test_the_keras_files_of_run_and_export_give_its_codes(chain):
    embedder, _ = from_run(chain.run, 0)
    version = newest_version(chain.models) / "assets.extra"
    for side in ("sketch", "photo"):
        image = [next((chain.data / side).rglob("*.*g")).read_bytes()]
        pixels, _ = getattr(embedder, f"decode_{side}")(image)
        expected = getattr(embedder, f"embed_{side}")(image)["embedding"].numpy()
        for folder in (chain.run, version):
            out = keras.saving.load_model(folder / f"{side}_encoder.keras")(pixels[:, 0])
            np.testing.assert_allclose((out["code"] if side == "sketch" else out).numpy(), expected, atol=1e-5)


ENDED = """
import json, os, signal, sys, threading
from tf_ssgn import config
from tf_ssgn.common import cli
from tf_ssgn.train import train
from tf_ssgn.training import callbacks

settings, data, run, cache, how, batches, later = sys.argv[1:]
callbacks.STEP_CHECKPOINT_SECONDS = 0.0  # within the short epochs, as often as their cost allows
count, left = callbacks.Checkpoint.on_train_batch_end, int(batches)

def on_train_batch_end(self, batch, logs=None):
    global left
    left -= 1
    if not left:
        end = lambda: os.kill(os.getpid(), getattr(signal, how))
        threading.Timer(float(later), end).start() if float(later) else end()
    count(self, batch, logs)

callbacks.Checkpoint.on_train_batch_end = on_train_batch_end
cli.run(lambda argv: train(config.from_dict(json.loads(settings)), data, None, run, cache))
"""


def test_what_ends_a_run_loses_nothing_older_and_it_is_continued_there(
    chain, tiny_config, cache, tmp_path, monkeypatch, capsys
):
    """A full disk, Ctrl-C within an epoch, `kill -9` at a random moment (`make long ONLY=resume`: 20 of them in both
    phases) and Ctrl-C within the refit; the end, model and metrics, is that of an unharmed run with the same seed.
    """
    folder = tmp_path / "run"
    on_epoch_end, on_train_batch_end = callbacks.Checkpoint.on_epoch_end, callbacks.Checkpoint.on_train_batch_end

    def limited(self, epoch, logs=None):
        """Files of the second epoch and later may not grow as large as a checkpoint is."""
        small = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if epoch else small[0], small[1]))
        try:
            on_epoch_end(self, epoch, logs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, small)

    def pressing(self, batch, logs=None):
        """Ctrl-C after the second step of the refit."""
        if (self.state["phase"], self.state["step"]) == (REFIT, 1):
            os.kill(os.getpid(), signal.SIGINT)
        on_train_batch_end(self, batch, logs)

    def ended(how, batches, later=0.0):
        """A process that ends so, later than so many batches; and the state that it leaves."""
        words = [json.dumps(config.to_dict(tiny_config)), chain.data, folder, cache, how, batches, later]
        done = subprocess.run(
            [sys.executable, "-c", ENDED, *map(str, words)], capture_output=True, text=True, timeout=300
        )
        return done, load_state(open_run(folder))[0]

    def again():
        train(tiny_config, str(chain.data), None, str(folder), cache)

    monkeypatch.setattr(callbacks.Checkpoint, "on_epoch_end", limited)
    with pytest.raises(OSError, match="File too large"):
        again()
    monkeypatch.undo()
    assert load_state(open_run(folder))[0]["epoch"] == 1
    assert not [path for path in folder.rglob(".*.tmp*")]

    pressed, state = ended("SIGINT", 2)
    assert pressed.returncode == 130, pressed.stderr
    assert "continuing select after epoch 1\n" in pressed.stderr
    assert (state["phase"], state["epoch"]) == (SELECT, 1)
    assert state["step"] > 0

    rng = np.random.default_rng(0)
    killed, _ = ended("SIGKILL", rng.integers(1, 5), rng.uniform(0.01, 0.5))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert f"continuing select after epoch 1, step {state['step']}\n" in killed.stderr

    assert threading.current_thread() is threading.main_thread(), "signals reach no other"
    monkeypatch.setattr(callbacks.Checkpoint, "on_train_batch_end", pressing)
    with pytest.raises(KeyboardInterrupt):
        again()
    monkeypatch.undo()
    state, _ = load_state(open_run(folder))
    assert (state["phase"], state["epoch"]) == (REFIT, 0)
    assert state["step"] > 0
    again()
    assert f"continuing refit after epoch 0, step {state['step']}\n" in capsys.readouterr().err

    for ours, theirs in zip(weights(folder), weights(chain.run), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for ours, theirs in zip(history(folder), history(chain.run), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    shutil.copytree(chain.run, tmp_path / "unharmed")
    unharmed, ours = (evaluate_run(run, cache=cache)[0] for run in (tmp_path / "unharmed", folder))
    for family, values in unharmed["families"].items():
        assert ours["families"][family] == pytest.approx(values, abs=1e-6)


def test_a_finished_run_says_so_and_another_config_is_refused(chain, tiny_config, cache, capsys):
    train(tiny_config, str(chain.data), None, str(chain.run), cache)
    assert "is finished" in capsys.readouterr().err
    other = config.override(tiny_config, {"training.epochs": 9})
    with pytest.raises(UserError, match="training.epochs: 9 here, 3 there"):
        train(other, str(chain.data), None, str(chain.run), cache)


def test_a_run_is_resumed_on_its_own_images_wherever_they_are_and_from_a_state_that_can_be(
    mistakes, tiny_config, cache, tmp_path, monkeypatch, capsys
):
    data, _ = mistakes
    made = small(tiny_config, **LESS, training__epochs=2)
    folder = tmp_path / "run"

    def again():
        train(made, str(data), None, str(folder), cache)

    def crash(self, batch, logs=None):
        if self.state["epoch"]:
            raise ZeroDivisionError

    monkeypatch.setattr(callbacks.EpochEnd, "on_train_batch_end", crash)
    with pytest.raises(ZeroDivisionError):
        again()
    monkeypatch.undo()
    run = open_run(folder)
    state, arrays = load_state(run, with_arrays=True)
    photo = next((data / "photo/cup").iterdir())
    photo.rename(tmp_path / "kept")
    with pytest.raises(UserError, match="are others than when the run .* was begun; put them back"):
        again()
    (tmp_path / "kept").rename(photo)
    for broken in ({"step": 99}, {"step": -1}):
        save_state(run, state | broken, arrays)
        with pytest.raises(UserError, match="does not hold what it should; delete it"):
            again()
    for broken in ({"phase": "other"}, {"best": "high"}, {"epoch": None}):
        save_state(run, state | broken, arrays)
        with pytest.raises(UserError, match=r"state.npz is damaged .*delete it"):
            again()
    save_state(run, state, arrays)
    capsys.readouterr()
    for name in ("half-way", "at the end"):  # to resume, and where nothing is left to train
        data = data.rename(tmp_path / name)
        with pytest.raises(UserError, match="is not there; give --data, or note its new place"):
            evaluate_run(folder, cache=cache)
        again()
        run = open_run(folder)
        assert run.finished and run.data == str(data)
        assert run.config.semantics.vectors == str(data / "semantics.npz")
        assert f"is now {data}" in capsys.readouterr().err
        assert evaluate_run(folder, cache=cache)[1] == folder, "its own dataset, without --data"
    again()
    assert "is now" not in capsys.readouterr().err


@pytest.fixture
def mistakes(drawn, cache, tmp_path):
    """A copy of the drawn data that a test may harm, and a call that must fail without leaving a run."""
    data = tmp_path / "data"
    shutil.copytree(drawn, data)

    def check(made, message, split=None):
        with pytest.raises(UserError, match=message):
            train(made, str(data), split and str(split), str(tmp_path / "run"), cache)
        assert not (tmp_path / "run").exists()

    return data, check


def small(made, **values):
    return config.override(made, {name.replace("__", "."): value for name, value in values.items()})


# What is quick to train: one phase, and no decoders to trace.
LESS = {"data__validation_classes": 0, "model__coarse": False, "model__fine": False}


def test_missing_data(mistakes, tiny_config, tmp_path):
    data, check = mistakes
    shutil.rmtree(data)
    check(tiny_config, "data")


def test_an_empty_class(mistakes, tiny_config):
    data, check = mistakes
    for file in (data / "photo/cup").iterdir():
        file.unlink()
    check(tiny_config, "cup")


def test_a_class_in_seen_and_unseen(mistakes, tiny_config):
    data, check = mistakes
    split = json.loads((data / "split.json").read_text())
    split["unseen"].append(split["seen"][0])
    (data / "split.json").write_text(json.dumps(split))
    check(tiny_config, split["seen"][0])


def test_unknown_split_and_class_names(mistakes, tiny_config, tmp_path):
    data, check = mistakes
    check(tiny_config, "sketchy-25", split="sketchy-99")
    (tmp_path / "s.json").write_text(json.dumps({"seen": ["cup", "unicorn"], "unseen": ["dragon"]}))
    check(tiny_config, "unicorn", split=tmp_path / "s.json")


def test_unreadable_files_above_the_threshold(mistakes, tiny_config):
    data, check = mistakes
    for file in sorted((data / "photo/cup").iterdir())[:5]:
        file.write_bytes(b"\xff\xd8\xff rubbish")
    check(tiny_config, r"5 of 144 images cannot be used.*cup_0001")


def test_wrong_backbone_weights(mistakes, tiny_config, tmp_path):
    _, check = mistakes
    check(small(tiny_config, model__weights=str(tmp_path / "no.weights.h5")), "existing file")
    (tmp_path / "bad.weights.h5").write_bytes(b"rubbish")
    check(small(tiny_config, model__weights=str(tmp_path / "bad.weights.h5")), "does not hold weights of tiny")


def test_vectors_that_lack_a_seen_class(mistakes, tiny_config):
    data, check = mistakes
    with np.load(data / "semantics.npz") as stored:
        names, vectors = stored["names"], stored["vectors"]
    keep = names != "cup"
    np.savez(data / "semantics.npz", names=names[keep], vectors=vectors[keep])
    check(tiny_config, "cup")


def test_vectors_that_are_all_alike(mistakes, tiny_config):
    data, check = mistakes
    with np.load(data / "semantics.npz") as stored:
        names, vectors = stored["names"], stored["vectors"]
    np.savez(data / "semantics.npz", names=names, vectors=np.ones_like(vectors))
    check(tiny_config, "have the same vector; use vectors that tell them apart")


def test_vectors_that_lack_an_unseen_class_leave_out_its_rows_and_guides_are_those_of_all_views(
    drawn, tiny_config, cache, tmp_path, capsys
):
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    with np.load(data / "semantics.npz") as stored:
        names, vectors = stored["names"], stored["vectors"]
    keep = names != "giraffe"
    np.savez(data / "semantics.npz", names=names[keep], vectors=vectors[keep])
    for name in ("cup", "giraffe"):  # what is left out is read by neither command
        (data / "photo" / name / "cut_thumb.jpg").write_bytes(b"x")
    made = small(tiny_config, training__epochs=1, data__validation_classes=0, data__exclude="*_thumb.jpg,drafts")
    made = small(made, data__max_bad_files=0, training__views=1, training__photo_views=1)
    train(made, str(data), None, str(tmp_path / "run"), cache)
    run = open_run(tmp_path / "run")
    assert run.config.data.exclude == ("*_thumb.jpg", "drafts")
    assert "rows with the class name are left out" in capsys.readouterr().err
    metrics, _ = evaluate_run(tmp_path / "run", cache=cache)
    assert "told" not in metrics

    trainer, dataset = restore_trainer(run), open_dataset(str(drawn))
    features = FeatureCache(cache, trainer.backbone, "tiny")
    sides = [
        fit.read_images(features, [item for item in items if item.label in run.classes], 1, 0)
        for items in (dataset.sketches, dataset.photos)
    ]
    guides = solve_guides(trainer, *sides, run.classes)
    np.testing.assert_allclose(trainer.ssgn.told.numpy(), guides.pop("told"), atol=1e-5)
    assert set(guides) == {"coarse", "fine"}
    for stage, kernel in guides.items():
        kept = getattr(trainer.ssgn, f"{stage}_decoder").get_layer("guide").kernel.numpy()
        np.testing.assert_allclose(kept, kernel, atol=1e-5)
        assert np.abs(kernel).max() > 1e-3
    plain = solve_guides(trainer, *(images.plain for images in sides), run.classes)
    assert np.abs(plain["fine"] - guides["fine"]).max() > 1e-3


def test_flags_reach_the_command(command, tmp_path):
    done = command("train", "--data", tmp_path, "--run", tmp_path / "r", "--training.epochs", "many")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --training.epochs: received 'many', expected a whole number"
    done = command("train", "--data", tmp_path / "none", "--run", tmp_path / "r")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert not (tmp_path / "r").exists()


def test_nan_stops_and_keeps_the_last_good_state(drawn, tiny_config, cache, tmp_path):
    wild = small(tiny_config, **LESS, training__learning_rate=1e9, training__clip_norm=0.0)
    with pytest.raises(UserError, match="the loss became"):
        train(wild, str(drawn), None, str(tmp_path / "run"), cache)
    assert not open_run(tmp_path / "run").finished


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"seen": [', '"seen": 5, "other": ['),
        lambda text: text.replace('"data": "', '"data": 7, "other": "'),
        lambda text: text.replace('"cup"', '"unicorn"'),
    ],
)
def test_a_damaged_run_folder_is_one_line(harm, chain, tmp_path):
    shutil.copytree(chain.run, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    file.write_text(harm(file.read_text()))
    with pytest.raises(UserError, match="is damaged"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["best.weights.h5", "checkpoints/state.npz", "semantics.npz"])
def test_damaged_files_of_a_run_are_one_line(name, chain, tiny_config, cache, tmp_path):
    shutil.copytree(chain.run, tmp_path / "run")
    file = tmp_path / "run" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged|does not fit"):
        train(tiny_config, str(chain.data), None, str(tmp_path / "run"), cache)
        evaluate_run(tmp_path / "run", cache=cache)


def test_validation_leaves_no_trace_in_training(chain, tiny_config, cache, tmp_path, monkeypatch):
    """So that selection and refit are the same training."""
    phase = fit._phase

    def select_only(run, state, *rest):
        if state["phase"] == REFIT:
            raise InterruptedError
        phase(run, state, *rest)

    monkeypatch.setattr(fit, "_validate", lambda *_: 0.5)
    monkeypatch.setattr(fit, "_phase", select_only)
    made = small(tiny_config, training__patience=0)
    with pytest.raises(InterruptedError):
        train(made, str(chain.data), None, str(tmp_path / "unseen"), cache)

    def losses(run):
        rows = [row for row in history(run) if row["phase"] == "select"]
        return [{key: value for key, value in row.items() if key != callbacks.VALIDATION} for row in rows]

    assert len(losses(chain.run)) == 3
    for ours, theirs in zip(losses(tmp_path / "unseen"), losses(chain.run), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("modality", ["photo", "sketch"])
def test_a_validation_class_without_readable_images_is_refused_first(modality, mistakes, tiny_config):
    data, check = mistakes
    split = json.loads((data / "split.json").read_text())
    split |= {"seen": split["seen"][1:], "validation": split["seen"][:1]}
    (data / "split.json").write_text(json.dumps(split))
    for file in (data / modality / split["validation"][0]).iterdir():
        file.write_bytes(b"rubbish")
    check(small(tiny_config, data__max_bad_files=0.5), f"class '{split['validation'][0]}' has no readable {modality}")


def test_a_run_of_an_earlier_version_without_a_refit_opens(chain, tmp_path, capsys):
    """Its weights tell the classes apart that were not held out."""
    shutil.copytree(chain.run, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    content = json.loads(file.read_text())
    content["config"]["training"]["refit"] = False
    content["config"]["model"]["dropout"] = 0.0
    file.write_text(json.dumps(content))
    assert open_run(tmp_path / "run").classes == open_run(chain.run).split.seen
    assert "was trained with training.refit False, which this version has no more" in capsys.readouterr().err


def test_one_flipped_byte_of_the_weights_is_found(chain, cache, tmp_path):
    shutil.copytree(chain.run, tmp_path / "run")
    file = tmp_path / "run" / "best.weights.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="best.weights.h5 is damaged"):
        evaluate_run(tmp_path / "run", cache=cache)


def test_a_run_folder_that_cannot_be_made(drawn, tiny_config, cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the run folder"):
        train(tiny_config, str(drawn), None, str(tmp_path / "file" / "run"), cache)


def test_finetuning_goes_on_after_a_file_vanished_and_is_evaluated_beside_its_untrained_self(
    mistakes, tiny_config, tmp_path, monkeypatch
):
    """A backbone in training reads images in every epoch; here one goes after the first."""
    data, _ = mistakes
    folder, cache = tmp_path / "run", str(tmp_path / "cache")
    for module in (feed, fit):
        monkeypatch.setattr(module, "KEEP_DECODED", 0)
    on_epoch_end = callbacks.EpochEnd.on_epoch_end

    def losing(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        (data / "photo/cup").rename(data / "gone")

    monkeypatch.setattr(callbacks.EpochEnd, "on_epoch_end", losing)
    made = small(tiny_config, training__finetune_from="conv_3", training__epochs=2, data__validation_classes=0)
    with pytest.raises(UserError, match=r"photo/cup/.* cannot be used any more \(it is gone"):
        train(made, str(data), None, str(folder), cache)
    assert load_state(open_run(folder))[0]["epoch"] == 1
    monkeypatch.undo()
    (data / "gone").rename(data / "photo/cup")
    train(made, str(data), None, str(folder), cache)
    assert [row["epoch"] for row in history(folder)] == [1, 2]

    metrics, _ = evaluate_run(folder, cache=cache)
    assert metrics["stages"]["untrained"]["sake"]["map_all"] > 0
    assert set(metrics["stages"]) >= {"untrained", "sketch_code", "coarse", "fine"}
    assert open_run(folder).classes == open_run(folder).split.seen
    for name in ("untrained_statistics.npz", "untrained_backbone.weights.h5"):
        file = folder / "checkpoints" / name
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="is compared with, or it is damaged"):
            evaluate_run(folder, cache=cache)
        file.write_bytes(content)


def test_one_class_and_a_class_without_photos(mistakes, tiny_config, tmp_path):
    data, check = mistakes
    shutil.rmtree(data / "photo/cup")
    (tmp_path / "s.json").write_text(json.dumps({"seen": ["cup", "giraffe"], "unseen": []}))
    check(small(tiny_config, data__validation_classes=0), "no photos: cup", split=tmp_path / "s.json")
    shutil.rmtree(data / "sketch/cup")
    (tmp_path / "s.json").write_text(json.dumps({"seen": ["giraffe"], "unseen": ["apple"]}))
    check(small(tiny_config, data__validation_classes=0), "at least 2", split=tmp_path / "s.json")


def test_a_folder_with_other_things_is_no_run_folder(mistakes, tiny_config, tmp_path):
    data, _ = mistakes
    before = (data / "semantics.npz").read_bytes()
    with pytest.raises(UserError, match="holds other things"):
        train(tiny_config, str(data), None, str(data), str(tmp_path / "cache"))
    assert (data / "semantics.npz").read_bytes() == before
    assert not (data / "config.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("training.finetune_from", "nope", "no layer 'nope'"), ("evaluation.k", ",", "at least one number")],
)
def test_what_training_would_refuse_leaves_no_folder(field, value, message, mistakes, tiny_config, tmp_path):
    data, _ = mistakes
    with pytest.raises(UserError, match=message):
        train(config.override(tiny_config, {field: value}), str(data), None, str(tmp_path / "run"), str(tmp_path / "c"))
    assert not (tmp_path / "run").exists()
