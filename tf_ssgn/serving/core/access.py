"""Who may do what, and how often: bearer tokens with scopes, a rate for each client."""

import hashlib
import hmac
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from tf_ssgn.common import atomic
from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError
from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.settings import BURST_SECONDS, REMEMBERED_CLIENTS, SHORTEST_TOKEN

SCOPES = ("search", "write")
TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},}}")  # what a header can carry, and nothing invisible


class TooFast(Fault):
    """A client that asks more often than it may."""

    def __init__(self, rate: float):
        super().__init__("RESOURCE_EXHAUSTED", f"more than {rate:g} requests per second from this client; slow down")


class Rate:
    """A token bucket for each client: `rate` requests per second, and `BURST` seconds' worth of them at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate, self._clock = rate, clock
        self._size = max(1.0, rate * BURST_SECONDS)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Raises TooFast if the client's bucket is empty."""
        if not self._rate:
            return
        now = self._clock()
        with self._lock:
            left, then = self._left.pop(client, (self._size, now))
            left = min(self._size, left + (now - then) * self._rate)
            self._left[client] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
            if len(self._left) > REMEMBERED_CLIENTS:
                self._left.popitem(last=False)
        if left < 1.0:
            raise TooFast(self._rate)


class Access:
    """The tokens of a server, with their scopes; only their hashes are kept. Without any, everybody may search and
    nobody may write.

    `rate` is the requests per second that one client may make, 0 for any number. Tokens of a `file` are as
    `read_tokens` reads them, with its UserError; `look` reads it again.
    """

    def __init__(
        self,
        tokens: Mapping[str, frozenset[str]] | None = None,
        rate: float = 0.0,
        file: str | os.PathLike | None = None,
    ):
        self._rate = Rate(rate)
        self._file, self._stamp = file, None if file is None else atomic.stamp(file)
        self._scopes = _digests(tokens or {} if file is None else read_tokens(file))
        self.required = bool(self._scopes)  # and stays so: a server never opens up since its last token was revoked

    def look(self) -> None:
        """Reads the file again if it has changed. A file without a token revokes them all; of one that cannot be read
        a line tells, and the tokens before it stay."""
        if self._file is None or (stamp := atomic.stamp(self._file)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._scopes = _digests(read_tokens(self._file, fewest=0))
            log(f"--tokens: {self._file} changed and was read again; tokens that count now: {len(self._scopes)}")
        except UserError as error:
            log(f"the tokens changed and cannot be used, the old ones stay: {error}")

    def admit(self, client: str, authorization: str | None, scope: str) -> None:
        """`check`, for a client that is known by its address, and its rate. The rate comes first, so that tokens cannot
        be guessed faster than it."""
        self._rate.check(client)
        self.check(authorization, scope)

    def allows(self, scope: str) -> bool:
        """Whether there is a token that gives a scope."""
        return any(scope in scopes for scopes in self._scopes.values())

    def check(self, authorization: str | None, scope: str) -> None:
        """Raises Fault unless an `Authorization` header gives a scope: UNAUTHENTICATED without a known token,
        PERMISSION_DENIED with one that may not."""
        if not self.required:
            if scope != "search":
                raise Fault("PERMISSION_DENIED", f"this server has no token with the scope {scope!r}; see --tokens")
            return
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Fault("UNAUTHENTICATED", "expected the header Authorization: Bearer TOKEN")
        digest = _digest(token.strip())
        # All of them are compared, so that the time says nothing.
        granted = [scopes for known, scopes in self._scopes.items() if hmac.compare_digest(digest, known)]
        if not granted:
            raise Fault("UNAUTHENTICATED", "the token is not known here")
        if scope not in granted[0]:
            raise Fault("PERMISSION_DENIED", f"the token has not the scope {scope!r}")


def read_tokens(path: str | os.PathLike, fewest: int = 1) -> dict[str, frozenset[str]]:
    """Tokens and their scopes of a file with lines of `TOKEN SCOPE[,SCOPE]`; empty lines and those with # are skipped.
    UserError, in which no token is repeated: not readable, readable for other users, not of that form, or fewer tokens
    than `fewest`."""
    try:
        if Path(path).stat().st_mode & 0o077:
            raise UserError(f"--tokens: {path} can be read by other users; chmod 600 it")
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()  # some editors put a byte-order mark first
    except UnicodeDecodeError:
        raise UserError(f"--tokens: {path} is not UTF-8; save it as plain text in UTF-8") from None
    except OSError as error:
        raise UserError(f"--tokens: cannot read {path}: {error.strerror or error}") from None
    tokens: dict[str, frozenset[str]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        scopes = frozenset(words[1].split(",")) if len(words) == 2 else frozenset()
        if not scopes or not scopes <= set(SCOPES):
            raise UserError(
                f"--tokens: {path} line {number}: expected TOKEN and one or more of {', '.join(SCOPES)}, with commas"
            )
        if not TOKEN.fullmatch(words[0]):
            raise UserError(
                f"--tokens: {path} line {number}: received a token of {len(words[0])} characters, expected "
                f"{SHORTEST_TOKEN} or more that ASCII can show; `openssl rand -hex 32` makes one"
            )
        tokens[words[0]] = tokens.get(words[0], frozenset()) | scopes
    if len(tokens) < fewest:
        raise UserError(f"--tokens: {path} has no token, expected lines of TOKEN SCOPE[,SCOPE]")
    return tokens


def _digests(tokens: Mapping[str, frozenset[str]]) -> dict[bytes, frozenset[str]]:
    return {_digest(token): scopes for token, scopes in tokens.items()}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
