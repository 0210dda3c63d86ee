"""One request that takes an event to an endpoint, signed as Standard Webhooks says.

Nothing is repeated here, redirects are not followed, and no proxy of the environment is used: it would connect to addresses
that were not checked. HTTP is spoken by httpcore, the layer below httpx: only there may the connections be ours.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import httpcore

from jobs.eventing.addresses import AddressRefused, PublicNetwork, any_address
from jobs.eventing.urls import endpoint_url
from jobs.gateway.eventing import EventDelivery, EventResult
from jobs.providers.answers import printable, retry_after
from jobs.runtime.masking import scrub
from jobs.runtime.standard_webhooks import key_of, sign
from jobs.runtime.tls import trust

DEADLINE_SECONDS: Final = 15.0
AT_ONCE: Final = 8
"""Requests that one process has open at the same time: events get a small share of what the process does."""

_MOST_READ: Final = 65_536
"""Bytes of an answer's body that are read, so that its connection can be used again. No byte is kept."""
_KEEP_IDLE_SECONDS: Final = 3.0
_LONGEST_WAIT_SECONDS: Final = 86_400.0
_LONGEST_ERROR: Final = 200
_SLOW_DOWN: Final = frozenset({429, 502, 503, 504})
"""The statuses whose ``Retry-After`` counts."""
_HEADERS: Final = (("Content-Type", "application/json"), ("User-Agent", "supabase-outbox"))


class EventClient:
    """Requests to endpoints. With ``allows_private`` they may have http URLs and any address. Close it with :meth:`aclose`."""

    def __init__(self, *, allows_private: bool, network: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._allows_private = allows_private
        if network is None:
            network = PublicNetwork(refuses=any_address) if allows_private else PublicNetwork()
        self._http = httpcore.AsyncConnectionPool(
            ssl_context=trust(trust_env=True),
            max_connections=AT_ONCE,
            max_keepalive_connections=AT_ONCE,
            keepalive_expiry=_KEEP_IDLE_SECONDS,
            retries=0,
            network_backend=network,
        )

    async def deliver(self, delivery: EventDelivery, *, deadline: float = DEADLINE_SECONDS) -> EventResult:
        """Make one attempt, of ``deadline`` seconds in all. It does not raise: what went wrong is in the result.

        The status of the answer decides, even if the body does not end.
        """
        try:
            url = endpoint_url(delivery.url, allows_private=self._allows_private)
        except ValueError as error:
            return _failed(delivery, f"the URL {error}")
        if not any(map(key_of, delivery.secrets)):
            return _failed(delivery, "the endpoint has no secret: outbox events rotate makes one")
        raw = delivery.payload.encode()
        signed = signed_headers(delivery.secrets, raw, event_id=delivery.event_id, now=time.time())
        # httpcore would leave out the brackets of an IPv6 address.
        headers = [("Host", url.netloc.decode()), *_HEADERS, *signed.items()]
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        answer: httpcore.Response | None = None
        try:
            async with (
                asyncio.timeout(deadline),
                self._http.stream("POST", target, headers=headers, content=raw) as answer,
            ):
                await _read_some(answer)
        except TimeoutError:
            if answer is None:
                return _failed(delivery, f"no answer within {deadline:g} s")
        except AddressRefused as error:
            return _failed(delivery, f"address refused: {error}")
        except Exception as error:  # noqa: BLE001  # whatever a server does, the other deliveries go on
            if answer is None:
                return _failed(delivery, f"{type(error).__name__} {error}")
        return _answered(delivery, answer)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def signed_headers(secrets: Sequence[str], raw: bytes, *, event_id: str, now: float) -> Mapping[str, str]:
    """The three headers of Standard Webhooks: each secret signs, and a blank separates the signatures."""
    timestamp = str(int(now))
    keys = [key for key in map(key_of, secrets) if key]
    signatures = [sign(key, raw, message_id=event_id, timestamp=timestamp) for key in keys]
    return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}


async def _read_some(answer: httpcore.Response) -> None:
    read = 0
    async for part in answer.aiter_stream():
        read += len(part)
        if read > _MOST_READ:
            return


def _answered(delivery: EventDelivery, answer: httpcore.Response) -> EventResult:
    status = answer.status
    if 200 <= status < 300:
        return EventResult(delivery.id, delivery.lease, status)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    seconds = retry_after(headers, longest=_LONGEST_WAIT_SECONDS) if status in _SLOW_DOWN else None
    words = f"HTTP {status}: redirects are not followed" if 300 <= status < 400 else f"HTTP {status}"
    return EventResult(delivery.id, delivery.lease, status, words, seconds)


def _failed(delivery: EventDelivery, why: str) -> EventResult:
    return EventResult(delivery.id, delivery.lease, None, printable(scrub(why))[:_LONGEST_ERROR])
