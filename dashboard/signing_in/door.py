"""The door: says who sends a request, and lets people in and out."""

import secrets
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from dashboard import protection
from dashboard.protection import Proxies
from dashboard.roles import Person, Role
from dashboard.signing_in.link import LinkWay
from dashboard.signing_in.password import PasswordWay
from dashboard.signing_in.proxy import GivenWay, ProxyWay
from dashboard.signing_in.sessions import SECONDS, Session, Sessions
from dashboard.signing_in.ways import NotAdmitted, Way
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.sources import Address, FailureLimit

log = structlog.get_logger()

FAILURES: Final = 10
"""How often a source may fail to sign in within five minutes."""
ALL_FAILURES: Final = 200
"""How often all sources together may, so that many addresses guess no faster. Those that signed in before go on."""
_WINDOW_SECONDS: Final = 300.0
_MOST_FAMILIAR: Final = 1000
_SECURE_COOKIE: Final = "__Host-outbox"
_PLAIN_COOKIE: Final = "outbox"


class TooManyFailures(NotAdmitted):
    """The source failed too often. Its attempts are not looked at for a while."""


class Door:
    """Knows people by the way that the settings name, and by their sessions after that."""

    def __init__(self, way: Way, sessions: Sessions, proxies: Proxies) -> None:
        self.way = way
        self.proxies = proxies
        self._sessions = sessions
        self._limit = FailureLimit(failures=FAILURES, seconds=_WINDOW_SECONDS)
        self._limit_of_all = FailureLimit(failures=ALL_FAILURES, seconds=_WINDOW_SECONDS)
        self._familiar: set[Address | None] = set()

    async def person(self, request: Request) -> Person | None:
        """The person who sends the request, None if nobody has signed in."""
        recognised = self.way.recognise(request)
        if recognised is not None:
            return recognised
        session = self.session(request)
        return None if session is None else await self.way.still_admitted(session.person)

    async def enter(self, request: Request, given: Mapping[str, str]) -> Person:
        """The person who gave these values. Raises :class:`NotAdmitted`, and :class:`TooManyFailures` without looking."""
        if self.has_links:
            # No one guesses a token. A limit would let other sites, whose images name this address, lock people out.
            return await self.way.admit(given)
        source = self.proxies.source(request)
        # Counted before the answer is known, so that many attempts at once count too.
        of_source, of_all = self._limit.count(source), self._limit_of_all.count(None)
        if self._limit.exceeded(of_source) or (self._limit_of_all.exceeded(of_all) and source not in self._familiar):
            raise TooManyFailures("Too many attempts failed. Wait five minutes.")
        try:
            person = await self.way.admit(given)
        except NotAdmitted:
            log.warning("dashboard.not_admitted", source=str(source))
            raise
        self._limit.forgive(source)
        self._limit_of_all.forgive(None)
        if len(self._familiar) < _MOST_FAMILIAR:
            self._familiar.add(source)
        return person

    def session(self, request: Request) -> Session | None:
        """The session that the request's cookie names."""
        if not self._has_sessions:
            return None
        cookie = request.cookies.get(self._cookie_name(request))
        return None if cookie is None else self._sessions.read(cookie)

    def keep(self, request: Request, response: Response, person: Person) -> None:
        """Begin a session."""
        self._set(request, response, self._sessions.issue(person), SECONDS)

    def leave(self, request: Request, response: Response) -> None:
        """End the session."""
        session = self.session(request)
        if session is not None:
            self._sessions.end(session)
        self._set(request, response, "", 0)

    @property
    def _has_sessions(self) -> bool:
        return not isinstance(self.way, ProxyWay | GivenWay)

    @property
    def has_links(self) -> bool:
        """Whether a token in the address signs in. Nothing else in an address does: another site could write it."""
        return isinstance(self.way, LinkWay)

    @property
    def can_leave(self) -> bool:
        """Whether people sign out here, and not at the proxy or the app."""
        return self._has_sessions

    def _set(self, request: Request, response: Response, value: str, seconds: int) -> None:
        is_https = self.proxies.is_https(request)
        response.set_cookie(
            self._cookie_name(request),
            value,
            max_age=seconds,
            path="/" if is_https else (request.scope.get("root_path") or "/"),
            secure=is_https,
            httponly=True,
            samesite="lax",
        )

    def _cookie_name(self, request: Request) -> str:
        if self.proxies.is_https(request):
            return _SECURE_COOKIE
        # All ports of a machine share cookies, and a machine may run dashboards of several projects.
        port = protection.port_of(request)
        return _PLAIN_COOKIE if port is None else f"{_PLAIN_COOKIE}-{port}"


def door_for(
    settings: DashboardSettings,
    *,
    supabase: Callable[[], Way],
    announce: Callable[[str], None],
    identify: Callable[[Request], Person | None] | None = None,
) -> Door:
    """The door that the settings describe. ``announce`` is told the tokens of links."""
    proxies = Proxies(settings.dashboard_trusted_proxies)
    given = settings.dashboard_secret
    secret = secrets.token_bytes(32) if given is None else given.get_secret_value().encode()
    passwords: dict[Role, str] = {}
    way: Way
    match "given" if identify is not None else settings.sign_in:
        case "given":
            assert identify is not None  # noqa: S101  # for the type checker
            way = GivenWay(identify)
        case "proxy":
            names = (settings.dashboard_operators, settings.dashboard_viewers)
            way = ProxyWay(settings.dashboard_proxy_header, proxies, *names)
        case "supabase":
            way = supabase()
        case "password":
            passwords = _passwords(settings)
            way = PasswordWay(passwords[Role.OPERATOR], passwords.get(Role.VIEWER))
        case _:
            way = LinkWay(announce)
    # A cookie of one way to sign in is worth nothing once another is chosen.
    return Door(way, Sessions(secret + settings.sign_in.encode(), passwords), proxies)


def _passwords(settings: DashboardSettings) -> dict[Role, str]:
    both = {Role.OPERATOR: settings.dashboard_password, Role.VIEWER: settings.dashboard_viewer_password}
    return {role: secret.get_secret_value() for role, secret in both.items() if secret is not None}
