"""The listening sockets of the servers that stand in for others."""

import socket

import typer


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(2048)
    return listener


def listen_as_asked(host: str, port: int) -> tuple[socket.socket, str]:
    """The socket of a command, and its URL. Ends the command with one line if the port is taken."""
    try:
        listener = listen(host, port)
    except OSError as error:
        typer.echo(f"outbox: --port: cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    address = f"[{host}]" if ":" in host else host
    return listener, f"http://{address}:{listener.getsockname()[1]}"
