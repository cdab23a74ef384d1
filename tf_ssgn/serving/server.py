"""The gRPC server: its address, its life from bind to drain, and its health."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tf_ssgn.config import SERVING
from tf_ssgn.errors import UserError
from tf_ssgn.serving import rpc
from tf_ssgn.serving.service import Served, Service, warm_up

# Threads beyond those that wait for a slot: they answer status, metadata and health while the queue is full.
SPARE_THREADS = 8


def resolve(host: str, insecure: bool) -> str:
    """The numeric address of a host to listen on.

    Raises:
        UserError: an unknown host, or one that other machines can reach without `insecure`: there is no encryption
            and no authentication here.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"--host: received {host!r}, expected a name or address of this machine") from None
    addresses = sorted({str(entry[4][0]) for entry in found}, key=lambda address: (":" in address, address))
    if not insecure and not all(ipaddress.ip_address(item.split("%")[0]).is_loopback for item in addresses):
        raise UserError(
            f"--host {host} can be reached from other machines, without encryption or passwords; "
            "expected a loopback address such as 127.0.0.1, or --insecure if the network is trusted"
        )
    return addresses[0]


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Server:
    """Listens from its creation on; is healthy once a model is published; drains when it is left."""

    def __init__(self, service: Service, host: str = SERVING.host, port: int = SERVING.port, insecure: bool = False):
        settings = service.settings
        address = join_address(resolve(host, insecure), port)
        self.service = service
        self._stop = threading.Event()
        self._health = health.HealthServicer()
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server = grpc.server(
            ThreadPoolExecutor(settings.slots + settings.queue + SPARE_THREADS, thread_name_prefix="rpc"),
            handlers=rpc.handlers(service),
            options=[
                ("grpc.so_reuseport", 0),  # else a second server on the same port starts, and they share the clients
                ("grpc.max_receive_message_length", settings.message_bytes),
                ("grpc.max_send_message_length", settings.message_bytes),
                ("grpc.max_metadata_size", 8192),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            bound = _bind(self._server, address)
        except RuntimeError:
            raise UserError(
                f"cannot listen on {address}: the port is in use or not allowed; "
                "choose another with --port, or --port 0 for any free one"
            ) from None
        self.port = bound
        self.address = join_address(host, bound)
        self._server.start()

    def publish(self, version: Served) -> None:
        """Warms a version up and makes it the one that answers."""
        warm_up(version, self.service.settings)
        self.service.publish(version)
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def _set_health(self, status: int) -> None:
        for name in (
            "",
            self.service.settings.name,
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
        ):
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
        self._health.enter_graceful_shutdown()
        self._server.stop(self.service.settings.grace_seconds).wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()


def _bind(server: grpc.Server, address: str) -> int:
    """Binds and gives the port; RuntimeError if it cannot. gRPC's own log of the failure is one traceback too many."""
    level = logging.getLogger("grpc").level
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    try:
        port = server.add_insecure_port(address)
    finally:
        logging.getLogger("grpc").setLevel(level)
    if port == 0:
        raise RuntimeError(address)
    return port
