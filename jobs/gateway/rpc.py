"""Calls a database function over the Supabase API, and says which of two ways it failed."""

from typing import Any, Final

import httpx
import structlog
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, create_async_client

from jobs.gateway.errors import GatewayRefused, GatewayUnavailable, KeyNotAccepted
from jobs.runtime.settings import SupabaseSettings

log = structlog.get_logger()

_CONNECTIONS: Final = 16
_TIMEOUT_SECONDS: Final = 15.0
"""Above Supabase's statement timeout of 8 s, so that the database's own answer comes first."""


class Rpc:
    """One client of one project. Calls may run side by side; none is ever repeated here."""

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient) -> None:
        self._client = client
        self._http = http

    @classmethod
    async def connect(cls, settings: SupabaseSettings) -> "Rpc":
        """Make the client. No request is made yet, so this works with Supabase away."""
        http = httpx.AsyncClient(
            timeout=httpx.Timeout(_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=4.0),
            event_hooks={"response": [_read_whole]},
        )
        client = await create_async_client(
            settings.supabase_url,
            settings.supabase_secret_key.get_secret_value(),
            AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False),
        )
        return cls(client, http)

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """Call ``public.<function>`` and return its answer.

        Raises GatewayRefused where the database refuses these values, GatewayUnavailable for everything else.
        """
        try:
            answer = await self._client.rpc(function, arguments).execute()
        except APIError as error:
            raise _failure(function, error) from error
        except (httpx.HTTPError, AttributeError) as error:
            # anyio asks a socket that was reset while it connected for its peer, and finds no socket any more.
            raise GatewayUnavailable(f"{function}: {type(error).__name__} {error}".rstrip()) from error
        return answer.data

    async def aclose(self) -> None:
        await self._http.aclose()


async def _read_whole(response: httpx.Response) -> None:
    """Httpx ties a response and its stream in a circle. It would keep what was sent, hundreds of reports, until the garbage
    collector comes by; and the webhook app has it come seldom.
    """
    await response.aread()
    response.stream = httpx.ByteStream(b"")


def _failure(function: str, error: APIError) -> GatewayRefused | GatewayUnavailable:
    code = error.code or ""
    if len(code) == _SQLSTATE_LENGTH and code[:2] in _REFUSED_CLASSES:
        return GatewayRefused(f"{function}: {error.message}", code=code)
    if code in _NOT_ALLOWED or (not code and _BAD_KEY in (error.message or "").lower()):
        return KeyNotAccepted(f"SUPABASE_SECRET_KEY (or SUPABASE_SERVICE_ROLE_KEY) was not accepted: {error.message}")
    if code in _NO_FUNCTION:
        return GatewayUnavailable(f"{function} is not in the database: have the migrations been applied?")
    return GatewayUnavailable(f"{function}: {' '.join(filter(None, [code, error.message]))}")


_SQLSTATE_LENGTH: Final = 5
_REFUSED_CLASSES: Final = frozenset({"21", "22", "23"})
"""Cardinality, data exceptions and constraints: the values are at fault. All else may pass."""
_NOT_ALLOWED: Final = frozenset({"401", "403", "42501", "PGRST301", "PGRST302", "PGRST303"})
_BAD_KEY: Final = "api key"
"""Supabase's gateway turns a key away before PostgREST sees it, in words and without a code."""
_NO_FUNCTION: Final = frozenset({"PGRST202", "42883"})
