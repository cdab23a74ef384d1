"""A Milvus server or file by its address, and what it raises as one line."""

import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError, reason
from tf_ssgn.retrieval.searcher import Unreachable
from tf_ssgn.settings import MILVUS

TOKEN, TOKEN_FILE, AUTHORITY = "TF_SSGN_MILVUS_TOKEN", "TF_SSGN_MILVUS_TOKEN_FILE", "TF_SSGN_MILVUS_CA"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_REMOTE = re.compile(r"(milvus|https)://([^/@?#]+)/([^/?#]+)/?")
_FILE = re.compile(r"milvus:(?://(?=/))?([^?#]+\.db)/([^/?#]+)/?")
_NOT_LOADED = re.compile(r"not loaded|state 'released'")
_EXPECTED = "expected milvus://HOST[:PORT]/COLLECTION, https://HOST[:PORT]/COLLECTION or milvus:FILE.db/COLLECTION"


@dataclass(frozen=True)
class Address:
    """Where a gallery in Milvus is: `uri` as pymilvus takes it, and the collection."""

    text: str
    uri: str
    collection: str

    @property
    def local(self) -> bool:
        """Whether it is a file, which this process opens itself, and alone."""
        return "://" not in self.uri

    @property
    def server(self) -> str:
        return self.uri if self.local else self.text.rstrip("/").rpartition("/")[0]


def address(text: str) -> Address:
    """UserError where it is none."""
    if parts := _FILE.fullmatch(text):
        parsed = Address(text, os.path.abspath(parts[1]), parts[2])
    elif parts := _REMOTE.fullmatch(text):
        kind, host, name = parts.groups()
        port = "" if re.search(r":\d+$", host) else f":{MILVUS.port if kind == 'milvus' else 443}"
        parsed = Address(text, f"{'http' if kind == 'milvus' else 'https'}://{host}{port}", name)
    else:
        with_token = " (a token belongs into the environment, not into an address)" if {"@", "?"} & set(text) else ""
        shown = text.rpartition("@")[2].partition("?")[0]  # without what may be a secret
        raise UserError(f"received the gallery {shown!r}{with_token}; {_EXPECTED}")
    if not _NAME.fullmatch(parsed.collection):
        raise UserError(
            f"received the collection {parsed.collection!r}; expected up to 200 letters, digits and underscores, the "
            "first one no digit"
        )
    return parsed


def _token() -> str:
    """From the environment or from a file that it names; never from the command line, which other users can read."""
    if TOKEN in os.environ:
        return os.environ[TOKEN].strip()
    if TOKEN_FILE in os.environ:
        try:
            return Path(os.environ[TOKEN_FILE]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise UserError(f"{TOKEN_FILE}: cannot read {os.environ[TOKEN_FILE]!r} ({reason(error)})") from None
    return ""


def _is_news(record: logging.LogRecord) -> bool:
    """False for a call that pymilvus tries and milvus-lite does not have: both go on without it."""
    return not (record.exc_info and isinstance(record.exc_info[1], NotImplementedError))


class MilvusConnection:
    """Calls of pymilvus's client with a time limit, and errors in one line. Safe to use from several threads; gRPC
    connects anew by itself once a server is back."""

    def __init__(self, where: Address):
        if importlib.util.find_spec("pymilvus") is None:
            raise UserError("a gallery in Milvus needs pymilvus; pip install 'tf_ssgn[milvus]'")
        from pymilvus import MilvusClient

        # After its import, which sets it: it prints a traceback for every refusal.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self.where = where
        self._silent_since = 0.0  # 0 while it answers
        if where.local:
            if importlib.util.find_spec("milvus_lite") is None:
                raise UserError(f"{where.text} needs milvus-lite; pip install 'tf_ssgn[milvus]', or name a server")
            logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
            logging.getLogger("grpc._server").addFilter(_is_news)
            Path(where.uri).parent.mkdir(parents=True, exist_ok=True)
        # gRPC waits up to two minutes before it tries a server again that was gone.
        options: dict[str, Any] = {"token": _token(), "grpc_options": {"grpc.max_reconnect_backoff_ms": 1000}}
        if where.uri.startswith("https:") and AUTHORITY in os.environ:
            options["server_pem_path"] = os.environ[AUTHORITY]
            if not os.path.isfile(options["server_pem_path"]):
                raise UserError(f"{AUTHORITY}: no file {options['server_pem_path']!r}; expected certificates as PEM")
        try:
            self._client = MilvusClient(where.uri, timeout=MILVUS.connect_seconds, **options)
        except Exception as error:
            raise self._explained(error, "connect") from None

    def call(self, method: str, *arguments: Any, seconds: float = MILVUS.write_seconds, **options: Any) -> Any:
        """What a method of `MilvusClient` returns; Unreachable: no answer within `seconds`. UserError: refused."""
        try:
            result = self._call(method, arguments, seconds, options)
        except Unreachable as error:
            if not self._silent_since:
                log(f"{error}; it is asked again and again")
            self._silent_since = time.monotonic()
            raise
        if self._silent_since:
            log(f"{self.where.server} answers again")
            self._silent_since = 0.0
        return result

    def call_soon(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The same for who will not wait: right after a call that got no answer the next ones are not even tried, so
        that a server that hangs does not hold up all that its answer is no part of."""
        if time.monotonic() - self._silent_since < MILVUS.pause_seconds and self._silent_since:
            raise Unreachable(f"{self.where.server} does not answer ({method}); it is asked again soon")
        return self.call(method, *arguments, seconds=MILVUS.search_seconds, **options)

    def _call(self, method: str, arguments: Any, seconds: float, options: dict[str, Any]) -> Any:

        def once() -> Any:
            return getattr(self._client, method)(*arguments, timeout=seconds, **options)

        try:
            return once()
        except Exception as error:
            if not _NOT_LOADED.search(str(error)):
                raise self._explained(error, method) from None
        try:  # a server that was started anew may have to be told to load what it holds
            self._client.load_collection(arguments[0], timeout=seconds)
            return once()
        except Exception as error:
            raise self._explained(error, method) from None

    def again(self, call: Callable[[], Any]) -> Any:
        """What a call returns that may be repeated without harm, tried a few times while the server does not answer."""
        for attempt in range(MILVUS.tries):
            try:
                return call()
            except Unreachable:
                if attempt == MILVUS.tries - 1:
                    raise
                time.sleep(MILVUS.wait_seconds * 2**attempt)

    def close(self) -> None:
        self._client.close()

    def _explained(self, error: Exception, method: str) -> UserError:
        """The error as one line; what is no matter of Milvus is raised again as it is."""
        import grpc
        from pymilvus.exceptions import MilvusException

        causes = ""
        for cause in (error, error.__cause__):  # pymilvus calls whatever happens at connecting a failure to connect
            status = cause.code().name if isinstance(cause, grpc.RpcError) and hasattr(cause, "code") else ""
            causes += f"{status} {cause} ".lower()
        server = self.where.server
        if not isinstance(error, (MilvusException, grpc.RpcError, OSError, ValueError, RuntimeError)):
            raise error
        if any(word in causes for word in ("unauthenticated", "auth check", "permission_denied", "permission denied")):
            return UserError(
                f"{server} refuses the token; expected the right one in {TOKEN}, or in the file {TOKEN_FILE}"
            )
        if any(word in causes for word in ("certificate", "ssl", "handshake")):
            return UserError(f"{server}: TLS failed ({reason(error)}); name the authority's certificate in {AUTHORITY}")
        if "lock" in causes and self.where.local:
            return UserError(f"{server} is open in another process; end that one, or run a server and name its address")
        silent = ("unavailable", "deadline", "fail connecting", "timeout", "timed out", "channel closed", "retry")
        if any(word in causes for word in silent) or "closed channel" in causes:
            return Unreachable(f"{server} does not answer ({method}); see that it runs and is reached, then try again")
        return UserError(f"{server} refused {method}: {reason(error)}")
