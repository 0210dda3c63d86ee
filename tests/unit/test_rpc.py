"""The error of a database call for each way in which a connection can fail."""

import httpx
import pytest
from supabase import AsyncClientOptions, create_async_client

from jobs.gateway.errors import FunctionMissing, GatewayFault, GatewayUnavailable
from jobs.gateway.rpc import Rpc


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silence"),
        httpx.RemoteProtocolError("it hung up"),
        # The error of anyio for a connection that is reset while it is being established.
        AttributeError("'NoneType' object has no attribute 'getpeername'"),
    ],
    ids=["refused", "silence", "hung up", "reset while connecting"],
)
async def test_any_connection_failure_counts_as_unavailable(error: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        rpc = Rpc(await create_async_client("http://supabase.test", "sb_secret_key", options), http)

        with pytest.raises(GatewayUnavailable, match="outbox_ping"):
            await rpc.call("outbox_ping", {})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        # As the gateway of hosted Supabase and Supabase Lite phrase it.
        (
            {"message": "Invalid API key", "hint": "Double check your Supabase API key."},
            "SUPABASE_SECRET_KEY .* was not accepted",
        ),
        ({"message": "No API key found in request"}, "SUPABASE_SECRET_KEY .* was not accepted"),
        ({"message": "Away"}, "^outbox_ping: Away$"),
    ],
)
async def test_refused_key_error_names_its_setting(answer: dict[str, str], says: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json=answer))
    async with httpx.AsyncClient(transport=transport) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        rpc = Rpc(await create_async_client("http://supabase.test", "sb_secret_key", options), http)

        with pytest.raises(GatewayUnavailable, match=says):
            await rpc.call("outbox_ping", {})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "PGRST202", FunctionMissing), (500, "57014", GatewayFault), (502, None, GatewayFault)],
)
async def test_answer_with_an_error_is_a_fault(status: int, code: str | None, kind: type[GatewayFault]) -> None:
    """The type tells it from silence: commands say that Supabase answered."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={"message": "no", "code": code}))
    async with httpx.AsyncClient(transport=transport) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        rpc = Rpc(await create_async_client("http://supabase.test", "sb_secret_key", options), http)

        with pytest.raises(GatewayFault) as raised:
            await rpc.call("outbox_ping", {})

    assert type(raised.value) is kind
