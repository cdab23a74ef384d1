"""Refuses every connection of Python to another machine, and notes it in the file that TF_SSGN_CALLS names.

The folder of this file is on PYTHONPATH while the tests run, so that the processes they start read it too; the tests'
own process imports it. What swallows the refusal is found by the note.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

CALLS = "TF_SSGN_CALLS"
_connect, _connect_ex, _sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
_getaddrinfo = socket.getaddrinfo


def _own() -> set[str]:
    """The addresses that this machine's own name has; some programs reach themselves by it."""
    try:
        return {str(entry[4][0]) for entry in _getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


OWN = _own()


def elsewhere(host: Any) -> bool:
    """Whether a name or an address means another machine."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if not name or name in ("localhost", "ip6-localhost", socket.gethostname(), *OWN):
        return False
    try:
        address = ipaddress.ip_address(str(name).partition("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def refuse(host: Any) -> None:
    """Notes the call and raises ConnectionRefusedError."""
    if os.environ.get(CALLS):
        with open(os.environ[CALLS], "a", encoding="utf-8") as log:
            log.write(f"{host}\n")
    raise ConnectionRefusedError(f"a test reached for {host}; only loopback is allowed")


def _guarded(call: Any) -> Any:
    def guarded(self: socket.socket, *given: Any) -> Any:
        if self.family != getattr(socket, "AF_UNIX", None) and isinstance(given[-1], tuple) and elsewhere(given[-1][0]):
            refuse(given[-1][0])
        return call(self, *given)

    return guarded


def _resolved(host: Any, *given: Any, **named: Any) -> Any:
    numeric = isinstance(host, str) and host.replace(".", "").isdecimal() or ":" in str(host)
    if str(host).endswith(".invalid") and len(str(host)) < 254:  # reserved for names that nobody has
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if not numeric and len(str(host)) < 254 and elsewhere(host):  # a longer one is no name
        refuse(host)
    return _getaddrinfo(host, *given, **named)


if not getattr(socket, "only_loopback", False):
    socket.only_loopback = True  # type: ignore[attr-defined]
    socket.socket.connect = _guarded(_connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded(_connect_ex)  # type: ignore[method-assign]
    socket.socket.sendto = _guarded(_sendto)  # type: ignore[method-assign]
    socket.getaddrinfo = _resolved
