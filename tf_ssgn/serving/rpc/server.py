"""The gRPC server: its address, its life from bind to drain, and its health."""

import importlib
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.addresses import in_use, join_address, resolve_host
from tf_ssgn.serving.core.service import Served, Service, warm_up
from tf_ssgn.serving.core.tls import Certificates
from tf_ssgn.serving.rpc import services as rpc
from tf_ssgn.settings import METADATA_BYTES, SERVING, SPARE_THREADS

SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


def _describe_services() -> None:
    """Puts the two services' descriptors where reflection finds them. The stock modules do that first and then fail
    with protobuf's C implementation, on a line that sets an attribute for the Python one."""
    for module in ("prediction_service_pb2", "model_service_pb2"):
        with suppress(AttributeError):
            importlib.import_module(f"tensorflow_serving.apis.{module}")


class Server:
    """Listens from its creation on; is healthy once a model is published; drains when it is left."""

    def __init__(
        self,
        service: Service,
        host: str = SERVING.host,
        port: int = SERVING.port,
        insecure: bool = False,
        access: Access | None = None,
        certificates: Certificates | None = None,
        refresh: Callable[[], Any] = lambda: None,
    ):
        """`refresh` looks for newer versions of what is served and says why it refused one.

        `insecure` allows other machines without TLS.
        """
        settings = service.settings
        address = join_address(resolve_host(host, insecure or certificates is not None), port)
        self.service = service
        self.also_drained: list[Callable[[], None]] = []  # while gRPC finishes what is under way
        self._stop = threading.Event()
        self._health = health.HealthServicer()
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server = grpc.server(
            ThreadPoolExecutor(service.most_under_way + SPARE_THREADS, thread_name_prefix="rpc"),
            handlers=rpc.handlers(service, access or Access(), refresh),
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the same port starts, and they share the clients
                ("grpc.max_receive_message_length", settings.message_bytes),
                ("grpc.max_send_message_length", settings.message_bytes),
                ("grpc.max_metadata_size", METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", METADATA_BYTES),  # else those between the two are refused at random
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _describe_services()
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            bound = _bind(self._server, address, None if certificates is None else certificates.for_grpc())
        except RuntimeError:
            raise in_use(host, port, "--port") from None
        self.port = bound
        self.address = join_address(host, bound)
        self._server.start()

    def publish(self, version: Served) -> None:
        """Warms a version up and makes it the one that answers."""
        warm_up(version, self.service.settings)
        self.service.publish(version)
        self.ready(version)

    def ready(self, version: Served) -> None:
        """Says in its health that a version answers."""
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def _set_health(self, status: int) -> None:
        for name in ("", self.service.settings.name, *SERVICES):
            self._health.set(name, status)

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT end `wait`; a second one ends the process at once. Call it from the main thread."""

        def ask(number: int, frame: object) -> None:
            self._stop.set()
            signal.signal(number, signal.SIG_DFL)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)

    def wait(self) -> None:
        """Blocks until a signal asks for the end."""
        self._stop.wait()

    def drain(self) -> None:
        """Refuses new requests, says so in its health, and gives those under way the grace period to finish."""
        self.service.draining = True
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(self.service.settings.grace_seconds)
        for stop in self.also_drained:
            stop()
        stopped.wait()
        self.service.batcher.close()
        if self.service.traces is not None:
            self.service.traces.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.drain()


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Binds and gives the port; RuntimeError if it cannot. gRPC's own log of the failure is one traceback too many."""
    level = logging.getLogger("grpc").level
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    finally:
        logging.getLogger("grpc").setLevel(level)
