"""The door of the dashboard: what an address may do, how fast passwords can be guessed, and where redirects lead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from dashboard.app import create_dashboard
from dashboard.signing_in.door import ALL_FAILURES, FAILURES, Door, TooManyFailures, door_for
from dashboard.signing_in.link import LinkWay
from dashboard.signing_in.ways import NotAdmitted
from jobs.gateway.operating import Operating
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.settings import SupabaseSettings

URL = "http://dashboard.test"
PASSWORD = {"password": "correct horse battery"}
NOWHERE = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key="sb_secret_test")


def settings(**given: Any) -> DashboardSettings:
    return DashboardSettings(_env_file=None, **given)


@asynccontextmanager
async def client(**given: Any) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    """A client of a dashboard without a database, and the tokens that it announces."""
    tokens: list[str] = []
    operating = await Operating.connect(NOWHERE)
    app = create_dashboard(settings(**given), NOWHERE, operating, announce=tokens.append)
    if isinstance(app.door.way, LinkWay):
        app.door.way.begin()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=URL) as made:
            yield made, tokens
    finally:
        await app.aclose()
        await operating.aclose()


async def test_no_password_is_taken_from_an_address() -> None:
    """Another site could write one, and sign its visitors in as itself or lock them out."""
    async with client(dashboard_password=PASSWORD["password"]) as (asking, _):
        answers = [await asking.get("/sign-in", params={"token": "-", **PASSWORD}) for _ in range(FAILURES + 1)]
        entered = await asking.post("/sign-in", data=PASSWORD, headers={"origin": URL})

    assert [answer.status_code for answer in answers] == [200] * (FAILURES + 1)
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert entered.status_code == 303


async def test_printed_address_waits_for_its_owner() -> None:
    """Neither a look at its headers nor images of other sites with wrong tokens use it up."""
    async with client() as (asking, tokens):
        for _ in range(FAILURES + 1):
            await asking.get("/sign-in", params={"token": "wrong"})
        await asking.head("/sign-in", params={"token": tokens[0]})
        entered = await asking.get("/sign-in", params={"token": tokens[0]})

    assert entered.status_code == 303


@pytest.mark.parametrize("path", ["/messages/", "/outbox", "/outbox/messages/", "/sign-in/"])
async def test_redirect_names_no_host(path: str) -> None:
    """The client chooses the Host header, and a proxy speaks http where the browser speaks https."""
    async with client(dashboard_root_path="/outbox") as (asking, _):
        answer = await asking.get(path, headers={"host": "evil.example"})

    assert answer.headers["location"].startswith("/outbox/")


async def test_dashboards_on_one_machine_keep_their_sessions() -> None:
    """All ports of a machine share cookies."""
    async with client(dashboard_password=PASSWORD["password"]) as (asking, _):
        hosts = ("127.0.0.1:8020", "127.0.0.1:8021", "dashboard.test", "dashboard.test:no-port")
        answers = [
            await asking.post("/sign-in", data=PASSWORD, headers={"host": host, "origin": f"http://{host}"}) for host in hosts
        ]

    assert [answer.headers["set-cookie"].partition("=")[0] for answer in answers] == [
        "outbox-8020",
        "outbox-8021",
        "outbox",
        "outbox",
    ]


# Guessing


def door() -> Door:
    given = settings(dashboard_password=PASSWORD["password"])
    return door_for(given, supabase=lambda: pytest.fail("no account is asked for"), announce=lambda _token: None)


def of(source: str) -> Request:
    return Request({"type": "http", "headers": [], "client": (source, 4711)})


async def test_many_sources_guess_no_faster() -> None:
    """Each stays below its own limit. The address of a person who signed in before goes on."""
    asked = door()
    await asked.enter(of("192.0.2.1"), PASSWORD)
    for n in range(ALL_FAILURES):
        with pytest.raises(NotAdmitted, match="wrong"):
            await asked.enter(of(f"198.51.{n // 256}.{n % 256}"), {"password": "guess"})

    with pytest.raises(TooManyFailures):
        await asked.enter(of("203.0.113.1"), PASSWORD)
    assert (await asked.enter(of("192.0.2.1"), PASSWORD)).is_operator
