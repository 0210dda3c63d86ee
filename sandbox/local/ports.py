"""Ports on the loopback interface."""

import random
import socket

HOST = "127.0.0.1"
# Below the range of ports that outgoing connections use, so that none of them takes it in between.
_FREE_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: closed connections that linger do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port."""
    return next(port for port in random.sample(_FREE_RANGE, len(_FREE_RANGE)) if is_free(port))
