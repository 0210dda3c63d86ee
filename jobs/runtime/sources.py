"""The source of a request, and how often that source failed to authenticate."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from jobs.runtime.checks import Network

Address = IPv4Address | IPv6Address
FAILURES: Final = 60
"""How often a source may fail to authenticate in a minute before it is told to slow down."""


def source_of(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The address that a request came from; None if the peer has none (a Unix socket) or if it cannot be read.

    ``forwarded`` are the values of ``X-Forwarded-For``, which count only from ``trusted`` proxies. Read from the right, the
    first hop that is not a trusted proxy is the source. That source wrote everything further left, which proves nothing.
    """
    source = _address(peer or "")
    hops = [hop for value in forwarded for hop in value.split(",")]
    while hops and source is not None and is_within(source, trusted):
        before = _address(hops.pop().strip())
        if before is None:
            break
        source = before
    return source


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether any of the networks holds the address."""
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """Parse an address as proxies write it: bare, with a port, or in brackets. An IPv4-mapped IPv6 address becomes IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class FailureLimit:
    """Counts requests that failed to authenticate, by source. Authenticated requests are neither counted nor limited."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        seconds: float = 60.0,
        sources: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._seconds = seconds
        self._sources = sources
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, source: Address | None) -> int:
        """Count one more failure. Returns the number in the current window of ``seconds``."""
        key = _key(source)
        now = self._clock()
        since, count = self._seen.pop(key, (now, 0))
        if now - since >= self._seconds:
            since, count = now, 0

        self._seen[key] = (since, count + 1)
        if len(self._seen) > self._sources:
            self._seen.popitem(last=False)
        return count + 1

    def forgive(self, source: Address | None) -> None:
        """Take back the last failure: it was none."""
        key = _key(source)
        if key in self._seen:
            since, count = self._seen[key]
            self._seen[key] = (since, max(0, count - 1))

    def exceeded(self, count: int) -> bool:
        """Whether so many failures are too many."""
        return count > self._failures


def _key(source: Address | None) -> str:
    """One source: an IPv4 address, or the /64 network from which an IPv6 host chooses its address."""
    return str(ip_network((source, 64), strict=False)) if isinstance(source, IPv6Address) else str(source)
