"""The command's own mistakes, told before Java starts; and a model that is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tf_ssgn import index
from tf_ssgn.common import cli
from tf_ssgn.errors import UserError
from tf_ssgn.scale import places, session
from tf_ssgn.scale.card import read_card
from tf_ssgn.scale.dataset import EmbeddedDataset, is_dataset, open_embedded


def call(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        cli.run(index.main, list(arguments))
    return int(left.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--master", "spark://host:7077"), "say --engine spark too"),
        (("--engine", "spark", "--metadata", "x.csv"), "takes labels from a table"),
        (("--engine", "spark"), "no model at"),
    ],
)
def test_mistakes(more: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    code, err = call(
        capsys, "build", str(tmp_path), "--model", str(tmp_path / "no"), "--to", str(tmp_path / "o"), *more
    )
    assert code == 2 and said in err and err.count("\n") == 1 and not (tmp_path / "o").exists()


def test_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="openjdk-17-jre-headless"), session.session("local[1]"):
        pass


def test_without_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(UserError, match=r"tf_ssgn\[spark\]"), session.session("local[1]"):
        pass


def test_what_is_no_model_and_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no exported model"):
        read_card(tmp_path)
    assert not is_dataset(str(tmp_path)) and not is_dataset(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="holds no embedded photos"):
        open_embedded(str(tmp_path))
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "000001.json").write_text('{"version": 1')
    with pytest.raises(UserError, match="is damaged"):
        EmbeddedDataset(str(tmp_path)).manifest()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        EmbeddedDataset(str(tmp_path / "file" / "x")).listing("y") or EmbeddedDataset(str(tmp_path / "file")).listing()


def test_of_two_commits_at_once_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def job(name: str) -> dict[str, Any]:
        return {"count": 0, "dimension": 1, "model": {}, "source": {}, "data": [], "bad": [], "run": name}

    dataset, other = EmbeddedDataset(str(tmp_path)), EmbeddedDataset(str(tmp_path))
    write, rivals = places.write_whole, ["second", "third"]

    def meanwhile(where: places.Place, content: bytes) -> None:
        while rivals:  # whoever comes between the look and the write
            with pytest.raises(UserError, match="another job has written version 1"):
                other.commit(job(rivals.pop()), 0)
        write(where, content)

    monkeypatch.setattr(places, "write_whole", meanwhile)
    dataset.commit(job("first"), 0)
    manifest = dataset.manifest()
    assert manifest is not None and (manifest["run"], manifest["version"]) == ("first", 1)
    with pytest.raises(UserError, match="000001.json"):
        other.commit(job("late"), 0)
    assert other.commit(job("again"), 1)["version"] == 2 and dataset.versions() == [1, 2]
    assert [path.name for path in (tmp_path / "manifests").iterdir() if path.name.startswith(".")] == []
