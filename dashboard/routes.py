"""The one registry of routes: what is served where, by which methods, and to whom. A test walks it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from dashboard.pages import (
    audit,
    bulk,
    campaigns,
    conversation,
    delivery,
    health,
    health_events,
    message,
    message_actions,
    messages,
    new_message,
    now,
    opt_outs,
    pausing,
    plumbing,
    replies,
    signing,
)
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
    Screen("/replies", "GET", Role.VIEWER, replies.show),
    Screen("/replies/texts", "POST", Role.OPERATOR, replies.show_texts),
    Screen("/replies/decide", "POST", Role.OPERATOR, replies.decide),
    Screen("/conversation", "GET", Role.VIEWER, conversation.show),
    Screen("/conversation", "POST", Role.OPERATOR, conversation.show_texts),
    Screen("/opt-outs", "GET", Role.VIEWER, opt_outs.show),
    Screen("/opt-outs/remove", "POST", Role.OPERATOR, opt_outs.ask_removal),
    Screen("/opt-outs/import", "GET", Role.OPERATOR, opt_outs.ask_import),
    Screen("/opt-outs/import", "POST", Role.OPERATOR, opt_outs.import_list),
    Screen("/opt-outs/export", "GET", Role.OPERATOR, opt_outs.export_list),
    Screen("/health", "GET", Role.VIEWER, health.show),
    Screen("/health/weight", "GET", Role.OPERATOR, health.ask_weight),
    Screen("/health/weight", "POST", Role.OPERATOR, health.set_weight),
    Screen("/health/events", "GET", Role.VIEWER, health_events.show),
    Screen("/health/events/replay", "POST", Role.OPERATOR, health_events.replay),
    Screen("/audit", "GET", Role.VIEWER, audit.show),
    Screen("/pause", "GET", Role.OPERATOR, pausing.ask_pause),
    Screen("/pause", "POST", Role.OPERATOR, pausing.pause),
    Screen("/resume", "GET", Role.OPERATOR, pausing.ask_resume),
    Screen("/resume", "POST", Role.OPERATOR, pausing.resume),
    Screen("/delivery", "GET", Role.VIEWER, delivery.show),
    Screen("/delivery.csv", "GET", Role.VIEWER, delivery.download),
    Screen("/campaigns", "GET", Role.VIEWER, campaigns.show_all),
    Screen("/campaigns/{name:path}", "GET", Role.VIEWER, campaigns.show),
    Screen("/campaign-preview", "POST", Role.OPERATOR, campaigns.show_texts),
    Screen("/campaign/{act}", "GET", Role.OPERATOR, campaigns.ask),
    Screen("/campaign/{act}", "POST", Role.OPERATOR, campaigns.act),
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
