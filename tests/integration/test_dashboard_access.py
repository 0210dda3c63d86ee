"""Who may see and do what in the dashboard: every route, every method, every role; and requests that are not from its pages."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from dashboard.app import create_dashboard
from dashboard.roles import Person, Role
from dashboard.routes import SCREENS, Screen
from jobs.gateway.operating import Operating
from sandbox.local.stack import LocalStack
from tests.dashboards import PASSWORD, VIEWER_PASSWORD, dashboard_settings
from tests.engine import supabase_settings

URL = "http://dashboard.test"
SETTINGS = {"dashboard_password": PASSWORD, "dashboard_viewer_password": VIEWER_PASSWORD}
EXAMPLES = {"name": "outbox.css"}
"""A value for each parameter of a path. Another is a message that does not exist."""
PEOPLE = {"nobody": None, "viewer": Person("viewer", Role.VIEWER), "operator": Person("operator", Role.OPERATOR)}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SERVED: dict[str, dict[str, Screen]] = {}
for one in SCREENS:
    SERVED.setdefault(one.path, {})[one.method] = one


@asynccontextmanager
async def client(stack: LocalStack, *, prefix: str = "", **how: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a dashboard, mounted below ``prefix``."""
    operating = await Operating.connect(supabase_settings(stack))
    settings = dashboard_settings(**{**SETTINGS, **how.pop("settings", {})})
    app: Any = create_dashboard(settings, supabase_settings(stack), operating, **how)
    serve = Starlette(routes=[Mount(prefix, app=app)]) if prefix else app
    transport = httpx.ASGITransport(app=serve, client=how.get("peer", ("192.0.2.7", 4711)))
    try:
        async with httpx.AsyncClient(transport=transport, base_url=URL, headers={"accept": "text/html"}) as made:
            yield made
    finally:
        await app.aclose()
        await operating.aclose()


def address(path: str) -> str:
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: EXAMPLES.get(found[1], "4711"), path)


def is_refused(answer: httpx.Response) -> bool:
    return answer.status_code in {401, 403} or answer.headers.get("location", "").startswith("/sign-in")


@pytest.mark.parametrize("who", PEOPLE)
async def test_roles_bound_every_route(local_stack: LocalStack, who: str) -> None:
    """It fails for a route that a role may use although the registry says otherwise, and for one that it may not use."""
    person = PEOPLE[who]
    role = Role.PUBLIC if person is None else person.role
    async with client(local_stack, identify=lambda _request: person) as asking:
        for path, methods in SERVED.items():
            for method in METHODS:
                screen = methods.get("GET" if method == "HEAD" else method)
                if screen is not None and screen.path == "/live" and role >= screen.role:
                    continue  # a stream does not end; tests of live pages open it
                answer = await asking.request(method, address(path), headers={"origin": URL}, data={})
                if screen is None:
                    assert answer.status_code == 405, (who, method, path)
                    continue
                if screen.role > Role.PUBLIC:
                    assert is_refused(answer) == (role < screen.role), (who, method, path, answer.status_code)
                assert answer.status_code != 500, (who, method, path)


async def test_answers_carry_strict_headers(local_stack: LocalStack) -> None:
    async with client(local_stack) as asking:
        for path in ("/", "/sign-in", "/nowhere", "/static/outbox.css", "/healthz"):
            headers = (await asking.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert path.startswith("/static/") or headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"{URL}.evil.example"},
        {"origin": URL, "sec-fetch-site": "cross-site"},
        {"origin": URL, "sec-fetch-site": "same-site"},
        {"origin": URL, "sec-fetch-site": "none"},
    ],
)
async def test_other_sites_cannot_send_forms(local_stack: LocalStack, headers: dict[str, str]) -> None:
    operator = PEOPLE["operator"]
    async with client(local_stack, identify=lambda _request: operator) as asking:
        for path, methods in SERVED.items():
            if "POST" in methods:
                answer = await asking.post(address(path), headers=headers, data={})
                assert answer.status_code == 403, path


async def test_rebound_host_is_refused(local_stack: LocalStack) -> None:
    async with client(local_stack, hosts={"localhost", "127.0.0.1", "::1"}) as asking:
        answers = [
            (await asking.get("/healthz", headers={"host": host})).status_code
            for host in ("localhost:8020", "127.0.0.1", "[::1]:8020", "evil.example", "localhost.evil.example", "")
        ]

    assert answers == [200, 200, 200, 421, 421, 421]


async def test_password_gives_its_role(local_stack: LocalStack) -> None:
    for password, role in ((PASSWORD, "operator"), (VIEWER_PASSWORD, "viewer")):
        async with client(local_stack) as asking:
            answer = await asking.post("/sign-in", data={"password": password, "next": "/pause"}, headers={"origin": URL})
            assert (answer.status_code, answer.headers["location"]) == (303, "/pause")
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=lax" in cookie
            page = await asking.get("/")
            assert f'<span class="badge">{role}</span>' in page.text

            await asking.post("/sign-out", headers={"origin": URL})
            asking.cookies.set("outbox", cookie.partition(";")[0].partition("=")[2], domain="dashboard.test")
            assert (await asking.get("/")).status_code == 303


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_signing_in_never_leads_away(local_stack: LocalStack, then: str) -> None:
    async with client(local_stack) as asking:
        answer = await asking.post("/sign-in", data={"password": PASSWORD, "next": then}, headers={"origin": URL})

    assert answer.headers["location"] == "/"


async def test_guessing_is_slowed_by_source(local_stack: LocalStack) -> None:
    async with client(local_stack) as asking:
        guesses = [
            (await asking.post("/sign-in", data={"password": f"guess {n}"}, headers={"origin": URL})).status_code
            for n in range(12)
        ]
        right = await asking.post("/sign-in", data={"password": PASSWORD}, headers={"origin": URL})

    assert guesses == [401] * 10 + [429] * 2
    assert right.status_code == 429


async def test_secure_cookie_behind_trusted_proxy(local_stack: LocalStack) -> None:
    forwarded = {"origin": "https://dashboard.test", "x-forwarded-proto": "https"}
    for networks, name in ((["192.0.2.0/24"], "__Host-outbox"), (["198.51.100.0/24"], "outbox")):
        async with client(local_stack, settings={"dashboard_trusted_proxies": networks}) as asking:
            answer = await asking.post("/sign-in", data={"password": PASSWORD}, headers=forwarded)
            assert answer.headers["set-cookie"].startswith(f"{name}=")
            assert ("Secure" in answer.headers["set-cookie"]) == (name == "__Host-outbox")


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        ([("x-forwarded-email", "Ada@example.com")], "operator"),
        ([("x-forwarded-email", "grace@example.com")], "viewer"),
        ([("x-forwarded-email", "eve@example.com")], None),
        ([("x-forwarded-email", "eve@example.com"), ("x-forwarded-email", "ada@example.com")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("trusted", ["192.0.2.7/32", "198.51.100.0/24"])
async def test_only_trusted_proxy_names_people(
    local_stack: LocalStack, headers: list[tuple[str, str]], role: str | None, trusted: str
) -> None:
    settings = {
        "dashboard_auth": "proxy",
        "dashboard_trusted_proxies": trusted,
        "dashboard_operators": "ada@example.com",
        "dashboard_viewers": "grace@example.com",
    }
    async with client(local_stack, settings=settings) as asking:
        answer = await asking.get("/", headers=[*headers, ("accept", "text/html")])

    if role is None or trusted != "192.0.2.7/32":
        assert answer.status_code == 303
    else:
        assert f'<span class="badge">{role}</span>' in answer.text


async def test_mounted_dashboard_keeps_its_prefix(local_stack: LocalStack) -> None:
    async with client(local_stack, prefix="/tools/outbox") as asking:
        stranger = await asking.get("/tools/outbox/")
        answer = await asking.post("/tools/outbox/sign-in", data={"password": PASSWORD}, headers={"origin": URL})
        page = (await asking.get(answer.headers["location"])).text

    assert stranger.headers["location"] == "/tools/outbox/sign-in"
    assert answer.headers["location"] == "/tools/outbox/"
    links = set(re.findall(r'(?:href|src|action|hx-get|data-address)="([^"#]+)', page))
    assert links
    assert all(link.startswith("/tools/outbox/") for link in links), links


async def test_no_secret_is_in_any_page(local_stack: LocalStack) -> None:
    operator = PEOPLE["operator"]
    async with client(local_stack, identify=lambda _request: operator) as asking:
        for path, methods in SERVED.items():
            if "GET" in methods and path != "/live":
                text = (await asking.get(address(path))).text
                assert local_stack.secret_key not in text
                assert PASSWORD not in text
