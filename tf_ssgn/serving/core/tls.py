"""Encryption, and clients known by their certificates; new certificate files are used without a restart."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_ssgn.common.atomic import stamp
from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's certificate chain and key; with `ca`, clients must show a certificate signed by it."""

    certificate: str
    key: str
    ca: str | None = None

    def context(self) -> ssl.SSLContext:
        """What a server encrypts with; UserError unless the files are there and belong together."""
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.certificate, self.key, self.ca)))
            raise UserError(f"TLS: cannot use {files} ({error}); expected PEM files that belong together") from None
        return context

    def stamp(self) -> tuple:
        """Changes when a file does."""
        return tuple(stamp(name) for name in (self.certificate, self.key, self.ca) if name is not None)


class _Newest(ssl.SSLContext):
    """Stands for whichever context is the newest when a connection begins: a context cannot forget an authority, nor
    the sessions that it gave to clients of one, and a listening server keeps the one it was started with."""

    newest: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> Any:
        return self.newest().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> Any:
        return self.newest().wrap_socket(*args, **kwargs)


class Certificates:
    """The newest sound state of the files; a broken one is refused with a line, and the old one stays."""

    def __init__(self, tls: Tls):
        self._tls, self._lock = tls, threading.Lock()
        self._stamp = tls.stamp()
        self._newest = tls.context()

    def changed(self) -> bool:
        """Whether there are new sound files since the last call. New connections then use them, and nothing of the
        files before: a client of an authority that is gone is a stranger."""
        with self._lock:
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            try:
                self._newest = self._tls.context()
            except UserError as error:
                log(f"the certificate files changed and cannot be used, the old ones stay: {error}")
                return False
            return True

    def for_http(self) -> ssl.SSLContext:
        """A context for a server, which looks for new files at every handshake."""

        def newest() -> ssl.SSLContext:
            self.changed()
            return self._newest

        context = _Newest(ssl.PROTOCOL_TLS_SERVER)
        context.newest = newest
        return context

    def for_grpc(self) -> Any:
        """gRPC server credentials that look for new files at every handshake."""
        import grpc

        tls = self._tls
        last = [self._stamp]

        def configuration() -> Any:
            authority = None if tls.ca is None else Path(tls.ca).read_bytes()
            pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
            return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

        def fetch() -> Any:
            self.changed()
            with self._lock:
                if self._stamp == last[0]:
                    return None
                last[0] = self._stamp
                try:
                    tls.context()
                    return configuration()
                except (OSError, UserError):
                    return None

        return grpc.dynamic_ssl_server_credentials(
            configuration(), fetch, require_client_authentication=tls.ca is not None
        )
