"""A real Milvus Lite server on this machine's loopback, with a token and TLS if asked for, that can be killed.

Run as a program it serves until it is killed: DATA PORT [TOKEN CERTIFICATE KEY].
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def serve(data: str, port: int, token: str = "", certificate: str = "", key: str = "") -> None:
    from concurrent import futures

    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from pymilvus.grpc_gen import milvus_pb2_grpc

    class Guard(grpc.ServerInterceptor):
        """Answers as Milvus does where the token is not the right one."""

        def intercept_service(self, continuation, details):
            import base64

            given = dict(details.invocation_metadata).get("authorization", "")
            if not token or given == base64.b64encode(token.encode()).decode():
                return continuation(details)

            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check api key is correct")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[Guard()], options=[("grpc.so_reuseport", 0)])
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(MilvusLite(data)), server)
    if certificate:
        pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


class Server:
    """The program above, as a process."""

    def __init__(self, data: Path, *more: str):
        self._data, self._more = data, more
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        words = [sys.executable, __file__, str(self._data), str(self.port), *self._more]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    def address(self, collection: str) -> str:
        return f"milvus://127.0.0.1:{self.port}/{collection}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # a signal is asynchronous, and on a busy machine late

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def restart(self) -> None:
        (self._data / "LOCK").unlink(missing_ok=True)
        for _ in range(50):
            try:
                self.process = self._start()
                return
            except AssertionError:
                time.sleep(0.1)
        raise AssertionError("the server did not start again")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
