"""Where a server listens, before TensorFlow or gRPC is there, and under which name it is asked."""

import ipaddress
import socket

from tf_ssgn.errors import UserError


def resolve_host(host: str, insecure: bool) -> str:
    """The numeric address of a host to listen on.

    Raises:
        UserError: an unknown host, or one that other machines can reach without `insecure`.
    """
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"--host: received {host!r}, expected a name or address of this machine") from None
    addresses = sorted({str(entry[4][0]) for entry in infos}, key=lambda address: (":" in address, address))
    if not insecure and not all(ipaddress.ip_address(item.split("%")[0]).is_loopback for item in addresses):
        raise UserError(
            f"--host {host} can be reached from other machines, without encryption; expected a loopback address such "
            "as 127.0.0.1, --tls-cert and --tls-key, or --insecure if the network is trusted"
        )
    return addresses[0]


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def in_use(host: str, port: int, flag: str) -> UserError:
    """What is said of a port that cannot be listened on."""
    return UserError(
        f"cannot listen on {host}: port {port} is in use or not allowed; "
        f"choose another with {flag}, or {flag} 0 for any free one"
    )


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now; port 0 stands for any."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.partition("%")[0], port))
        except OSError:
            return False
    return True


def host_name(host: str) -> str:
    """The one spelling of a name in a Host header, with or without a port: `localhost.:8501` is `localhost`."""
    host = host.strip().lower()
    name, bracket, _ = host.removeprefix("[").partition("]")
    if not bracket and host.count(":") < 2:  # more are an IPv6 address without brackets, as `--host` takes it
        name = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.removesuffix(".")
