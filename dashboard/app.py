"""The dashboard as an ASGI app, to serve alone or to mount in an app of your own."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard import protection, routes
from dashboard.driving import Driver
from dashboard.live import Live
from dashboard.pages import errors
from dashboard.rendering import Rendering
from dashboard.roles import Person, Role
from dashboard.routes import SCREENS, Screen
from dashboard.signing_in.door import Door, door_for
from dashboard.signing_in.supabase import SupabaseWay
from dashboard.visit import Services, Visit
from jobs.gateway.errors import GatewayError, GatewayRefused
from jobs.gateway.operating import Operating
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.project import project_host
from jobs.runtime.settings import SupabaseSettings

log = structlog.get_logger()

READING_SECONDS: Final = 3.0
"""A page waits no longer for the database. Its statement timeout is longer, for the work of processes."""
_SAFE: Final = frozenset({"GET", "HEAD"})


def create_dashboard(
    settings: DashboardSettings,
    project: SupabaseSettings,
    operating: Operating,
    *,
    announce: Callable[[str], None] | None = None,
    hosts: Collection[str] = (),
    identify: Callable[[Request], Person | None] | None = None,
    screens: Iterable[Screen] = SCREENS,
    reading_seconds: float = READING_SECONDS,
) -> "Dashboard":
    """The ASGI app. The caller opens and closes ``operating``, and calls :meth:`Dashboard.aclose` at the end.

    Mount it under any path. ``hosts`` are the names that a request may use for this server; without them all may be used.
    ``identify`` says who sends a request, for an app whose people have signed in there; otherwise ``settings`` say how people
    sign in. ``announce`` is told the token of each address that signs in, where that is the way. A page that is read waits
    ``reading_seconds`` for the database.
    """
    if identify is None and announce is None and settings.sign_in == "link":
        raise ValueError("nobody could sign in: set DASHBOARD_PASSWORD or DASHBOARD_AUTH, or give identify or announce")
    supabase: list[SupabaseWay] = []

    def supabase_way() -> SupabaseWay:
        supabase.append(SupabaseWay(project, require_mfa=settings.dashboard_require_mfa))
        return supabase[0]

    door = door_for(settings, supabase=supabase_way, announce=announce or _announce_nothing, identify=identify)
    host = project_host(project.supabase_url)
    services = Services(
        operating=operating,
        door=door,
        live=Live(lambda: _state(operating, host)),
        driver=Driver(operating),
        rendering=Rendering(),
        project=host,
        navigation=routes.navigation(),
        paths=routes.paths(),
        reading_seconds=reading_seconds,
    )
    names = frozenset(hosts) | frozenset(settings.dashboard_hosts) if hosts or settings.dashboard_hosts else frozenset()
    return Dashboard(services, settings, screens, hosts=names, closing=supabase)


class Dashboard:
    """Checks each request, finds its page, and protects each answer."""

    def __init__(
        self,
        services: Services,
        settings: DashboardSettings,
        screens: Iterable[Screen],
        *,
        hosts: frozenset[str],
        closing: list[SupabaseWay],
    ) -> None:
        self.door: Door = services.door
        self.live: Live = services.live
        self._services = services
        self._hosts = hosts
        self._frame_ancestors = settings.dashboard_frame_ancestors
        self._root_path = settings.dashboard_root_path or ""
        self._closing = closing
        self._app: ASGIApp = Starlette(
            routes=[Route(one.path, _Guarded(one, services), methods=[one.method]) for one in screens],
            exception_handlers={HTTPException: self._show_error},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._below_root(scope)
        nonce = protection.new_nonce()
        scope.setdefault("state", {})["nonce"] = nonce

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                protection.protect(headers, nonce=nonce, frame_ancestors=self._frame_ancestors)
            await send(message)

        if not protection.is_known_host(Request(scope), self._hosts):
            answer = PlainTextResponse("This dashboard has another name: DASHBOARD_HOSTS lists its names.\n", 421)
            await answer(scope, receive, protected)
            return
        await self._app(scope, receive, protected)

    def _below_root(self, scope: Scope) -> Scope:
        """The request with the path that browsers see, whether the proxy has cut DASHBOARD_ROOT_PATH off or not."""
        root = f"{scope.get('root_path', '')}{self._root_path}"
        path = scope["path"]
        is_below = path == root or path.startswith(f"{root}/")
        return {**scope, "root_path": root, "path": path if is_below else f"{root}{path}"}

    async def problem(self, ready: bool) -> str | None:
        """What is wrong, for `outbox health`. None if nothing is."""
        if not ready:
            return None
        try:
            await self._services.operating.gateway.ping()
        except GatewayError:
            return "the database does not answer"
        return None

    async def aclose(self) -> None:
        """End live pages and close connections."""
        self.live.close()
        await self._services.driver.aclose()
        for way in self._closing:
            await way.aclose()

    async def _show_error(self, request: Request, error: Exception) -> Response:
        """Pages for errors outside of a page, such as an unknown path. Only people who signed in see the navigation."""
        assert isinstance(error, HTTPException)  # noqa: S101  # Starlette asks for the wider type
        visit = Visit(request, await self.door.person(request), self._services, request.state.nonce)
        words = error.detail if error.detail != _phrase(error.status_code) else ""
        answer = errors.show_error(visit, error.status_code, words)
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer


class _Guarded:
    """A page behind the checks of its route."""

    def __init__(self, screen: Screen, services: Services) -> None:
        self._screen = screen
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        person = await self._services.door.person(request) if self._screen.knows_person else None
        visit = Visit(request, person, self._services, request.state.nonce)
        if request.method not in _SAFE and not protection.is_own_page(request):
            return errors.show_error(visit, 403, "The request came from another page than one of this dashboard.")
        role = Role.PUBLIC if person is None else person.role
        if self._screen.role > role:
            return _stranger(visit) if person is None else errors.show_error(visit, 403)
        try:
            async with asyncio.timeout(self._services.reading_seconds if request.method in _SAFE else None):
                return await self._screen.page(visit)
        except HTTPException:
            raise
        except TimeoutError:
            log.warning("dashboard.slow", path=self._screen.path)
            return errors.show_slow(visit)
        except GatewayRefused as error:
            return errors.show_refusal(visit, error)
        except GatewayError as error:
            log.warning("dashboard.failed", path=self._screen.path, error=type(error).__name__)
            return errors.show_failure(visit, error)
        except Exception:
            log.exception("dashboard.broken", path=self._screen.path)
            return errors.show_error(visit, 500)


def _stranger(visit: Visit) -> Response:
    """A page leads to the form. A part of a page, a stream or a form that was sent does not."""
    headers = visit.request.headers
    if visit.request.method in _SAFE and headers.get("hx-request") != "true" and "text/html" in headers.get("accept", ""):
        return visit.redirect("/sign-in", next=None if visit.here == visit.url("/") else visit.here)
    answer = errors.show_error(visit, 401, "Your session has ended, or you have not signed in.")
    if headers.get("hx-request") == "true":
        answer.headers["hx-redirect"] = visit.url("/sign-in")
    return answer


async def _state(operating: Operating, project: str) -> Hashable:
    """What live pages show, without the ages that change by themselves."""
    verdict = await operating.verdicts.ask(project=project)
    status = await operating.status()
    heartbeats = tuple((one.job, one.provider, one.plan, one.at) for one in status.jobs)
    backlog = (str(status.backlog.due), str(status.backlog.scheduled), str(status.backlog.held))
    alarms = tuple((alarm.at, alarm.kind) for alarm in status.alarms)
    return (verdict.line, backlog, status.requests, status.pauses, heartbeats, status.alarms_waiting, alarms)


def _announce_nothing(_token: str) -> None:
    """There are no tokens where people sign in by another way."""


def _phrase(status: int) -> str:
    """The words that Starlette gives an error without words."""
    return HTTPException(status).detail
