"""Signing in at a proxy, which names the person in a header of each request; or at the app that mounts the dashboard."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from starlette.requests import Request

from dashboard.protection import Proxies
from dashboard.roles import Person, Role
from dashboard.signing_in.ways import NotAdmitted

MOST_NAME = 200


class ProxyWay:
    """Believes ``header`` only in requests that a trusted proxy sent. Roles come from lists of names."""

    fields: Final[tuple[str, ...]] = ()
    advice: Final = "The proxy before the dashboard did not name you, or you are not among those who may see it."

    def __init__(self, header: str, proxies: Proxies, operators: Collection[str], viewers: Collection[str]) -> None:
        self._header = header.lower()
        self._proxies = proxies
        self._operators = frozenset(operators)
        self._viewers = frozenset(viewers)

    def recognise(self, request: Request) -> Person | None:
        named = request.headers.getlist(self._header)
        # Two headers: a proxy that adds its own after the one of the browser must not let the browser choose.
        if len(named) != 1 or not self._proxies.sent(request):
            return None
        name = named[0].strip().lower()[:MOST_NAME]
        if name in self._operators:
            return Person(name, Role.OPERATOR)
        return Person(name, Role.VIEWER) if name in self._viewers else None

    async def admit(self, given: Mapping[str, str]) -> Person:  # noqa: ARG002  # there is no form
        raise NotAdmitted(self.advice)

    async def still_admitted(self, person: Person) -> Person | None:
        return person


class GivenWay:
    """Asks the app that mounts the dashboard."""

    fields: Final[tuple[str, ...]] = ()
    advice: Final = "The app that shows this dashboard did not sign you in."

    def __init__(self, identify: Callable[[Request], Person | None]) -> None:
        self._identify = identify

    def recognise(self, request: Request) -> Person | None:
        return self._identify(request)

    async def admit(self, given: Mapping[str, str]) -> Person:  # noqa: ARG002  # there is no form
        raise NotAdmitted(self.advice)

    async def still_admitted(self, person: Person) -> Person | None:
        return person
