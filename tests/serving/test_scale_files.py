"""What an operator gets for more than one machine: linted, since neither containers nor a cluster are at hand."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.serving.test_operator_files import FOLDER, loaded, said, tool


def test_milvus_on_one_machine() -> None:
    file = FOLDER / "milvus" / "compose.yaml"
    assert said(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", file) == ""
    services = loaded(file)[0]["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    assert not any(service["image"].endswith(":latest") for service in services.values())
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service["volumes"]:
            assert volume.split(":")[0] in loaded(file)[0]["volumes"]


def test_milvus_on_a_cluster() -> None:
    file = FOLDER / "milvus" / "values.yaml"
    values = loaded(file)[0]
    security = loaded_text(values["extraConfigFiles"]["user.yaml"])["common"]["security"]
    assert security["authorizationEnabled"] and security["tlsMode"] == 1
    for name in ("proxy", "queryNode", "dataNode"):
        assert set(values[name]["resources"]) == {"requests", "limits"}


def loaded_text(text: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(text)


def test_the_training_job() -> None:
    file = FOLDER / "kubernetes" / "train.yaml"
    assert said(tool("kubernetes-validate"), "--strict", file) == ""
    service, job = loaded(file)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(container["env"][0]["value"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {item["name"] for item in pod["volumes"]}


def test_the_training_job_starts_our_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program in the manifest, run here up to where it would become `train`."""
    from tf_ssgn.train import parser

    (container,) = loaded(FOLDER / "kubernetes" / "train.yaml")[1]["spec"]["template"]["spec"]["containers"]
    monkeypatch.setenv("WORKERS", "4")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    started: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda program, words: started.append(words))
    exec(container["command"][2], {})
    import os

    found = json.loads(os.environ.pop("TF_CONFIG"))
    assert found["task"] == {"type": "worker", "index": 2} and len(found["cluster"]["worker"]) == 4
    assert re.fullmatch(r"tf-ssgn-train-2\.tf-ssgn-train:12345", found["cluster"]["worker"][2])
    given = vars(parser().parse_args(started[0][3:]))
    assert given["strategy"] == "multiworker" and given["run"] == "/work/run"
