"""Encryption, and clients known by their certificates; new certificate files are used without a restart."""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError


@dataclass(frozen=True)
class Tls:
    """PEM files: the server's certificate chain and key; with `ca`, clients must show a certificate signed by it."""

    certificate: str
    key: str
    ca: str | None = None

    def check(self) -> None:
        """UserError unless the files are there and belong together."""
        try:
            self.context()
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.certificate, self.key, self.ca)))
            raise UserError(f"TLS: cannot use {files} ({error}); expected PEM files that belong together") from None

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        return context

    def stamp(self) -> tuple:
        """Changes when a file does."""
        files = [os.stat(name) for name in (self.certificate, self.key, self.ca) if name is not None]
        return tuple((about.st_mtime_ns, about.st_ino, about.st_size) for about in files)


class Certificates:
    """The newest sound state of the files; a broken one is refused with a line, and the old one stays."""

    def __init__(self, tls: Tls):
        tls.check()
        self._tls, self._lock = tls, threading.Lock()
        self._stamp = tls.stamp()
        self.context = tls.context()

    def changed(self) -> bool:
        """Whether there are new sound files since the last call; `context` then uses them for new connections."""
        with self._lock:
            try:
                stamp = self._tls.stamp()
                if stamp == self._stamp:
                    return False
                self._stamp = stamp
                self._tls.check()
                self.context.load_cert_chain(self._tls.certificate, self._tls.key)
                if self._tls.ca is not None:
                    self.context.load_verify_locations(self._tls.ca)
            except (OSError, UserError) as error:
                log(f"the certificate files changed and cannot be used, the old ones stay: {error}")
                return False
            return True

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
                    tls.check()
                    return configuration()
                except (OSError, UserError):
                    return None

        return grpc.dynamic_ssl_server_credentials(
            configuration(), fetch, require_client_authentication=tls.ca is not None
        )
