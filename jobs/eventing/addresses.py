"""Connects to public addresses only, so that an endpoint's URL cannot reach into the network of the process.

The name is looked up here, and the connection goes to the address that was checked. A second lookup, by the HTTP library, could
give another address. The library still has the name, for the header ``Host`` and for the server's certificate.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread
from typing import Any, Final

import httpcore

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MOST_TRIED: Final = 4
_TRY_SECONDS: Final = 3.0
"""How long an address gets before the next one of the same name is tried."""

# https://www.iana.org/assignments/iana-ipv4-special-registry, and its sister for IPv6. The first match gives the reason.
_FORBIDDEN: Final[tuple[tuple[IPv4Network | IPv6Network, str], ...]] = tuple(
    (ip_network(network), reason)
    for reason, networks in {
        "is a loopback address": ("127.0.0.0/8", "::1/128"),
        "is a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
        "is a link-local address": ("169.254.0.0/16", "fe80::/10"),
        "is an address behind a carrier's NAT": ("100.64.0.0/10",),
        "is a multicast address": ("224.0.0.0/4", "ff00::/8"),
        # Tunnels and translators: what they lead to is an address that was not checked.
        "stands for an IPv4 address": (
            "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32",
        ),
        "is a reserved address": (
            "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20",
        ),
    }.items()
    for network in networks
)  # fmt: skip
_PUBLIC_V6: Final = ip_network("2000::/3")


class AddressRefused(Exception):
    """No address of the host may be connected to. The text names the first one and the reason."""


def why_refused(address: Address) -> str | None:
    """Why no event may go to an address, to go after it in a sentence; None if it is public."""
    for network, reason in _FORBIDDEN:
        if address.version == network.version and address in network:
            return reason
    return "is a reserved address" if address.version == 6 and address not in _PUBLIC_V6 else None


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, the best first, as the system's resolver gives them. Raises OSError and UnicodeError.

    Each lookup has a thread of its own, which may outlive the process. A name server that does not answer must neither keep the
    threads of other lookups nor the end of the process waiting.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(found: Sequence[str] | BaseException) -> None:
        if answer.done():
            return
        if isinstance(found, BaseException):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look_up() -> None:
        found: Sequence[str] | BaseException
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except (OSError, UnicodeError) as error:
            found = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, found)

    Thread(target=look_up, name="lookup of an endpoint", daemon=True).start()
    return await answer


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """Makes the connections of an HTTP client: each to an address that was checked, or none at all.

    ``refuses`` gives the reason why an address is refused, or None; ``look_up`` gives the addresses of a name.
    """

    def __init__(self, *, refuses: Callable[[Address], str | None] = why_refused, look_up: Resolve = resolve) -> None:
        self._refuses = refuses
        self._look_up = look_up
        self._connections = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the library's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. Raises AddressRefused, and the library's errors of a connection."""
        addresses = await self._checked(host, port)
        for address in addresses[:-1]:
            try:
                return await self._connections.connect_tcp(
                    address, port, timeout=_TRY_SECONDS, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connections.connect_tcp(
            addresses[-1], port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from error
        reasons = {address: self._refuses(ip_address(address.partition("%")[0])) for address in found}
        allowed = [address for address, reason in reasons.items() if reason is None]
        if not allowed:
            address, reason = next(iter(reasons.items()), ("it", "does not exist"))
            raise AddressRefused(f"{address} {reason}")
        return allowed[:_MOST_TRIED]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def any_address(_address: Address) -> None:
    """Refuses no address: for development, where the receiver runs on the same machine."""
