"""Calls a database function over the Supabase API, and turns failures into the errors of :mod:`jobs.gateway.errors`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import structlog
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from jobs.gateway.errors import FunctionMissing, GatewayFault, GatewayRefused, GatewayUnavailable, KeyNotAccepted
from jobs.runtime.masking import scrub_value
from jobs.runtime.settings import SupabaseSettings
from jobs.runtime.tls import trust

log = structlog.get_logger()

CONNECTIONS: Final = 16
_TIMEOUT_SECONDS: Final = 15.0
"""Above Supabase's statement timeout of 8 s, so that the database's own answer comes first."""
CONNECT_SECONDS_FOR_PEOPLE: Final = 4.0
"""How long a person waits until an address counts as wrong. Processes have more patience: they may be busy themselves."""


class Rpc:
    """One client of one project. Calls may run side by side. This class repeats none."""

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient, headers: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._http = http
        self._headers = headers or {}

    @classmethod
    async def connect(
        cls,
        settings: SupabaseSettings,
        *,
        actor: str | None = None,
        via: str | None = None,
        connect_seconds: float = _TIMEOUT_SECONDS,
        answered: Callable[[], None] | None = None,
    ) -> "Rpc":
        """Make the client. This makes no request yet, so it succeeds while Supabase is away.

        The audit of the database records ``actor`` and ``via`` with each change. ``connect_seconds`` bound the making of a
        connection. ``answered`` is called with each answer.
        """
        _end_search_for_sniffio()

        async def note_answer(_response: httpx.Response) -> None:
            if answered is not None:
                answered()

        http = httpx.AsyncClient(
            verify=trust(trust_env=True),
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=connect_seconds),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=4.0),
            event_hooks={"response": [_read_whole] if answered is None else [note_answer, _read_whole]},
        )
        client = await create_async_client(
            settings.supabase_url,
            settings.supabase_secret_key.get_secret_value(),
            AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False),
        )
        return cls(client, http, _audit_headers(actor, via))

    def acting_as(self, actor: str, via: str) -> "Rpc":
        """The same client, with calls made by ``actor``."""
        return type(self)(self._client, self._http, _audit_headers(actor, via))

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """Call ``public.<function>`` and return its answer. Numbers and secrets in the words that it keeps are masked.

        Raises GatewayRefused if the database refuses these values, and GatewayUnavailable for every other failure: GatewayFault
        if Supabase answered with an error.
        """
        with _failures_of(function):
            query = self._client.rpc(function, arguments | _masked_words(arguments))
            query.request.headers.update(self._headers)
            return (await query.execute()).data

    async def insert(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        """Insert a row of ``public.<table>`` and return it as it was stored. Raises as :meth:`call` does."""
        with _failures_of(table):
            answer = await self._client.table(table).insert(row).execute()
        return cast("dict[str, Any]", answer.data[0])

    async def aclose(self) -> None:
        await self._http.aclose()


@contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """Raise the errors of this package in place of the client's. ``name`` is the function or table."""
    try:
        yield
    except APIError as error:
        raise _failure(name, error) from error
    except (httpx.HTTPError, AttributeError) as error:
        # AttributeError: anyio reads the peer of a socket that was reset while it connected, and finds no socket.
        raise GatewayUnavailable(f"{name}: {type(error).__name__} {error}".rstrip()) from error


_WORDS: Final = frozenset({"p_error", "p_errors", "p_reason", "p_why", "p_whys"})
"""The arguments that carry words of a provider, a library or an operator into columns and alarms."""


def _masked_words(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: scrub_value(arguments[name]) for name in _WORDS & arguments.keys()}


class Calls:
    """Some of the calls over one client. The gateway is made of several of these."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc


def _audit_headers(actor: str | None, via: str | None) -> dict[str, str]:
    """Percent-encoded: a header holds ASCII, and a name may have other letters. The database decodes it."""
    given = {"X-Outbox-Actor": actor, "X-Outbox-Via": via}
    return {name: quote(value, safe=" @.+-_") for name, value in given.items() if value}


def _end_search_for_sniffio() -> None:
    """Let the import of sniffio fail at once where it is missing.

    In each request httpcore tries to import it four times, and Python searches all folders each time: a sixth of a call's CPU.
    """
    if find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]


async def _read_whole(response: httpx.Response) -> None:
    """Break the circle of a response and its stream, which httpx makes. It would keep the sent reports, hundreds of them, until
    the next garbage collection, and the webhook app makes those rare.
    """
    await response.aread()
    response.stream = httpx.ByteStream(b"")


def _failure(function: str, error: APIError) -> GatewayRefused | GatewayFault:
    code = error.code or ""
    if len(code) == _SQLSTATE_LENGTH and code[:2] in _REFUSED_CLASSES:
        return GatewayRefused(f"{function}: {error.message}", code=code, hint=error.hint or None)
    if code in _NOT_ALLOWED or (not code and _BAD_KEY in (error.message or "").lower()):
        return KeyNotAccepted(f"SUPABASE_SECRET_KEY (or SUPABASE_SERVICE_ROLE_KEY) was not accepted: {error.message}")
    if code in _NO_FUNCTION:
        return FunctionMissing(f"{function} is not in the database: run outbox install and supabase db push")
    return GatewayFault(f"{function}: {' '.join(filter(None, [code, error.message]))}")


_SQLSTATE_LENGTH: Final = 5
_REFUSED_CLASSES: Final = frozenset({"21", "22", "23", "54"})
"""Cardinality, data exceptions, constraints and limits (a value too long for an index): the values are wrong. Every other
failure may pass."""
_NOT_ALLOWED: Final = frozenset({"401", "403", "42501", "PGRST301", "PGRST302", "PGRST303"})
_BAD_KEY: Final = "api key"
"""Supabase's gateway rejects a key before PostgREST sees it, with a message and without a code."""
_NO_FUNCTION: Final = frozenset({"PGRST202", "42883"})
