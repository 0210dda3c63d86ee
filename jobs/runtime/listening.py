"""Sockets that servers listen on."""

import errno
import socket


def listen(host: str, port: int, *, backlog: int, shared: bool = False) -> socket.socket:
    """A listening socket. Raises OSError if the host is unknown or the port is taken. ``shared`` sets SO_REUSEPORT."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Headers and body are two writes; without this the second would wait for the other side's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def refusal(host: str, port: int, port_setting: str, error: OSError) -> str:
    """One line about a socket that could not listen. It names the option or the setting to correct."""
    option = "--host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else port_setting
    return f"{option}: cannot listen on {host}:{port}: {error.strerror or error}"
