"""What an operator gets, checked by each file's own tool: linters, schemas, protos, and the server's own metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FOLDER = Path(__file__).resolve().parents[2] / "serving"
DOCKERFILES = sorted((FOLDER / "docker").glob("*.Dockerfile"))


def tool(name: str) -> str:
    """Where a tool of the `dev` extra is; the test is skipped where it is not installed."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed, pip install 'tf_ssgn[dev]'")
    return found


def said(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles(file: Path) -> None:
    assert said(tool("hadolint"), file) == ""
    text = file.read_text()
    assert "USER 10001" in text, "no server runs as root"
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (FOLDER.parent / name).exists(), name


def test_yaml() -> None:
    assert said(tool("yamllint"), "--strict", "-c", FOLDER / ".yamllint.yaml", FOLDER) == ""


def test_compose() -> None:
    file = FOLDER / "compose.yaml"
    assert said(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", file) == ""
    for service in loaded(file)[0]["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (FOLDER / volume.split(":")[0]).is_file(), volume
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert not service.get("image", "").endswith(":latest")


def test_kubernetes() -> None:
    file = FOLDER / "kubernetes" / "tf_ssgn.yaml"
    assert said(tool("kubernetes-validate"), "--strict", file) == ""
    objects = {item["kind"]: item for item in loaded(file)}
    pod = objects["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert set(container["resources"]) == {"requests", "limits"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert all(container[probe]["httpGet"]["port"] in ports for probe in container if probe.endswith("Probe"))
    assert {mount["name"] for mount in container["volumeMounts"]} == {item["name"] for item in pod["spec"]["volumes"]}
    for other in ("Service", "PodDisruptionBudget"):
        selector = objects[other]["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= pod["metadata"]["labels"].items()
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])


def test_flags_of_our_server_are_those_that_it_has() -> None:
    from tf_ssgn.serve import parser

    (container,) = loaded(FOLDER / "kubernetes" / "tf_ssgn.yaml")[0]["spec"]["template"]["spec"]["containers"]
    given = parser().parse_args(container["args"])
    assert (given.model, given.tls_cert, given.log_requests) == ("/data/model", "/tls/tls.crt", True)
    command = re.search(r"^CMD (\[.+\])$", (FOLDER / "docker" / "tf_ssgn.Dockerfile").read_text(), re.MULTILINE)
    assert command is not None and parser().parse_args(json.loads(command[1])).host == "0.0.0.0"


def filled(name: str, message: Any) -> Any:
    """A file of `config/` in protobuf's text form, read into a message."""
    return text_format.Parse((FOLDER / "config" / name).read_text(), message)


@pytest.mark.parametrize("name", ["models.config", "models-scann.config"])
def test_models_are_those_that_export_writes(name: str) -> None:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    models = filled(name, ModelServerConfig()).model_config_list.config
    kinds = {model.name: model.base_path.rpartition("/")[2] for model in models}
    assert kinds == {"ssgn": "search_scann" if "scann" in name else "search_exact", "ssgn_embed": "embed"}
    assert all(model.model_platform == "tensorflow" for model in models)


# The protos of these files are not among the published ones, so the fields that TensorFlow Serving knows stand here.
UNPUBLISHED = {
    "Value": {"value": "int64"},
    "BatchingParameters": {
        name: "Value"
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
}


def unpublished(name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="config", syntax="proto3")
    for message, fields in UNPUBLISHED.items():
        made = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            added = made.field.add(name=field, number=number, label=1)
            if kind in UNPUBLISHED:
                added.type, added.type_name = 11, f".config.{kind}"
            else:
                added.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"config.{name}"))()


def test_monitoring_and_tls_of_tensorflow_serving() -> None:
    assert filled("monitoring.config", unpublished("MonitoringConfig")).prometheus_config.enable
    tls = filled("ssl.config", unpublished("SSLConfig"))
    assert tls.client_verify and tls.server_key.count("\n") == tls.server_cert.count("\n") == 3


def test_batches_are_within_the_limits_and_overload_is_refused_early() -> None:
    from tf_ssgn.settings import SERVING

    batching = filled("batching.config", unpublished("BatchingParameters"))
    assert batching.max_batch_size.value == SERVING.batch
    assert batching.max_enqueued_batches.value == 2 * batching.num_batch_threads.value


def test_the_board_and_the_alerts_ask_for_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client")
    from tf_ssgn.serving.core.metrics import Metrics

    metrics = Metrics()
    metrics.request("grpc", "Predict", "OK", 0.1)
    metrics.reload("refused")
    known = set(re.findall(r"^(tf_ssgn_\w+)", metrics.text().decode(), re.MULTILINE))
    known |= {f"{name}_bucket" for name in ("tf_ssgn_stage_seconds",)}  # no stage was timed here
    board = json.loads((FOLDER / "monitoring" / "board.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [
        rule["expr"] for group in loaded(FOLDER / "monitoring" / "alerts.yaml")[0]["groups"] for rule in group["rules"]
    ]
    asked = {name for expression in expressions for name in re.findall(r"tf_ssgn_\w+", expression)}
    assert len(expressions) > 10 and asked <= known, asked - known
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def loaded(file: Path) -> list[Any]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(file.read_text()))
