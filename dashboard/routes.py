"""The one registry of routes: what is served where, by which methods, and to whom. A test walks it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from dashboard.pages import bulk, message, message_actions, messages, new_message, now, pausing, plumbing, signing
from dashboard.roles import Role
from dashboard.visit import Visit

Page = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Screen:
    """A page. Starlette answers HEAD where GET is. ``knows_person``: it matters who asks."""

    path: str
    method: str
    role: Role
    page: Page
    knows_person: bool = True


NAVIGATION: Final = (
    ("Now", "/"),
    ("Messages", "/messages"),
    ("Delivery", "/delivery"),
    ("Campaigns", "/campaigns"),
    ("Replies", "/replies"),
    ("Health", "/health"),
    ("Audit", "/audit"),
)
"""The screens in the navigation, in order. One without a route is not shown."""

SCREENS: Final = (
    Screen("/", "GET", Role.VIEWER, now.show),
    Screen("/messages", "GET", Role.VIEWER, messages.show),
    Screen("/messages/new", "GET", Role.OPERATOR, new_message.ask),
    Screen("/messages/new", "POST", Role.OPERATOR, new_message.send),
    Screen("/messages/act", "GET", Role.OPERATOR, message_actions.ask),
    Screen("/messages/act", "POST", Role.OPERATOR, message_actions.act),
    Screen("/messages/{id}", "GET", Role.VIEWER, message.show),
    Screen("/messages/{id}/text", "POST", Role.OPERATOR, message.show_text),
    Screen("/bulk", "GET", Role.VIEWER, bulk.show_all),
    Screen("/bulk/new", "GET", Role.OPERATOR, bulk.ask),
    Screen("/bulk/new", "POST", Role.OPERATOR, bulk.start),
    Screen("/bulk/{id}", "GET", Role.VIEWER, bulk.show),
    Screen("/bulk/{id}/stop", "POST", Role.OPERATOR, bulk.stop),
    Screen("/pause", "GET", Role.OPERATOR, pausing.ask_pause),
    Screen("/pause", "POST", Role.OPERATOR, pausing.pause),
    Screen("/resume", "GET", Role.OPERATOR, pausing.ask_resume),
    Screen("/resume", "POST", Role.OPERATOR, pausing.resume),
    Screen("/live", "GET", Role.VIEWER, plumbing.watch),
    Screen("/theme", "POST", Role.PUBLIC, plumbing.choose_theme, knows_person=False),
    Screen("/sign-in", "GET", Role.PUBLIC, signing.ask),
    Screen("/sign-in", "POST", Role.PUBLIC, signing.sign_in),
    Screen("/sign-out", "POST", Role.PUBLIC, signing.sign_out),
    Screen("/healthz", "GET", Role.PUBLIC, plumbing.alive, knows_person=False),
    Screen("/static/{name:path}", "GET", Role.PUBLIC, plumbing.static, knows_person=False),
)


def navigation() -> tuple[tuple[str, str], ...]:
    """The titles and paths of the screens that exist."""
    return tuple((title, path) for title, path in NAVIGATION if path in paths())


def paths() -> frozenset[str]:
    """The paths of all pages that can be read."""
    return frozenset(screen.path for screen in SCREENS if screen.method == "GET")
