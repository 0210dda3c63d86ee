"""One visit of a page: the request, the person, and what pages need to answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dashboard import forms
from dashboard.driving import Driver
from dashboard.live import Live
from dashboard.rendering import Rendering
from dashboard.roles import Person
from dashboard.signing_in.door import Door
from dashboard.static_files import static_files
from jobs.gateway.operating import Operating
from jobs.runtime.masking import mask, scrub

THEMES: Final = ("system", "light", "dark")
THEME_COOKIE: Final = "outbox_theme"
_REASON: Final = re.compile(r"(the recipient opted out): (?!replied STOP$).*", re.DOTALL)
"""An operator wrote the reason, unless the recipient did."""
VIA: Final = "dashboard"
"""What the audit log calls this way to act."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all visits share. ``project`` is the host of the project. ``navigation`` are titles and paths of screens.

    A page that is read waits ``reading_seconds`` for the database.
    """

    operating: Operating
    door: Door
    live: Live
    driver: Driver
    rendering: Rendering
    project: str
    navigation: tuple[tuple[str, str], ...]
    paths: frozenset[str]
    reading_seconds: float


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of a person, who may do what the page does."""

    request: Request
    person: Person | None
    services: Services
    nonce: str

    @property
    def operating(self) -> Operating:
        """The operator's calls. The audit log names this person for all that they change."""
        return self.services.operating if self.person is None else self.services.operating.acting_as(self.person.name, via=VIA)

    @property
    def is_operator(self) -> bool:
        return self.person is not None and self.person.is_operator

    @property
    def query(self) -> Mapping[str, str]:
        """The fields of the address, the last value of each."""
        return self.request.query_params

    async def form(self) -> dict[str, str]:
        """The fields of the form that was sent, the last value of each."""
        return await forms.form_of(self.request)

    def number(self, number: str | None) -> str:
        """A phone number as this person may see it."""
        if not number:
            return ""
        return number if self.is_operator else mask(number)

    def words(self, text: str) -> str:
        """Words of an app or an operator as this person may see them: viewers without numbers and reasons of opt-outs."""
        return text if self.is_operator else _REASON.sub(r"\1", scrub(text))

    def url(self, path: str, **query: object) -> str:
        """The address of a page below the place where the dashboard is mounted. Empty values are left out."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{self.root}{path}{f'?{urlencode(given, doseq=True)}' if given else ''}"

    def static(self, name: str) -> str:
        """The address of a static file. It changes with the file, so that browsers may keep it."""
        return f"{self.root}/static/{name}?v={static_files()[name].digest}"

    @property
    def root(self) -> str:
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    @property
    def here(self) -> str:
        """The address of this page, without the host. The answer to a form has that of the page above it, which can be read."""
        if self.request.method not in {"GET", "HEAD"}:
            return self.url(quote(self.path.rpartition("/")[0] or "/"))
        query = self.request.url.query
        return f"{quote(self.root + self.path)}{f'?{query}' if query else ''}"

    @property
    def path(self) -> str:
        """The path of this page below the place where the dashboard is mounted."""
        return str(self.request.scope["path"]).removeprefix(self.root) or "/"

    def own(self, address: str | None) -> str:
        """``address`` if it is a page of this dashboard, else the first page. Nothing leads away from here."""
        home = self.url("/")
        if not address or not address.startswith(home) or address.startswith("//") or "\\" in address:
            return home
        return home if any(ord(sign) < 0x20 for sign in address) else address

    def render(self, template: str, *, title: str, status: int = 200, live: bool = False, **context: Any) -> Response:
        """A page, or its ``<main>`` for htmx. ``live``: it is asked for again whenever something changes."""
        given = context | {
            "visit": self,
            "person": self.person,
            "title": title,
            "live": live,
            "parent": "part.html" if self.request.headers.get("hx-request") == "true" else "layout.html",
            "theme": self._theme,
            "nonce": self.nonce,
            "url": self.url,
            "number": self.number,
        }
        return HTMLResponse(self.services.rendering.render(template, given), status, headers={"vary": "HX-Request, Cookie"})

    def redirect(self, path: str, **query: object) -> Response:
        """Go on to a page, after a form was sent."""
        return RedirectResponse(self.url(path, **query), 303)

    def has_screen(self, path: str) -> bool:
        """Whether there is a screen at this path, so that a link to it leads somewhere."""
        return path in self.services.paths

    @property
    def _theme(self) -> str:
        chosen = self.request.cookies.get(THEME_COOKIE, "")
        return chosen if chosen in THEMES else THEMES[0]


def not_found(what: str) -> HTTPException:
    """The error of a page about something that is not there."""
    return HTTPException(404, what)
