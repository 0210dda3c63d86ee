"""`outbox trace`: everything that happened to one message."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.gateway import waiting_words
from jobs.gateway.history import Carrier, Event, Matches, Trace
from jobs.gateway.operating import Operating
from jobs.runtime import settings
from jobs.runtime.counts import counted
from jobs.runtime.masking import mask, scrub, scrub_value
from jobs.runtime.settings import TelemetrySettings
from scheduler.commands.operator import Failed, console, operate, say_json
from scheduler.commands.times import all_in_utc, read_utc, utc

COLUMNS: Final = (
    "status", "status_code", "error", "attempts", "parts", "sender", "route", "batch_id", "dispatch_id", "campaign", "template",
    "idempotency_key", "priority", "send_at", "due_at", "tried_again_at", "expires_at", "created_at", "sent_at", "finalized_at",
    "cancel_requested_at",
)  # fmt: skip
_ONE_ATTEMPT: Final = re.compile(r"\bafter 1 attempts\b")


def trace(
    what: Annotated[
        str,
        typer.Argument(metavar="ID", help="The id of a message, a dispatch or a batch, or an idempotency key."),
    ],
    show_body: Annotated[
        bool, typer.Option("--show-body", help="Show the text and media_url, and the texts of replies.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Show the history of a message: requests, lookups, reports in order of arrival, retries, replies. Numbers are masked.

    If the ID stands for several messages, such as a batch, this lists them.
    """

    async def work(operating: Operating) -> int:
        matches = await operating.find(what)
        if not matches.messages:
            raise Failed(f"{what} is not the id or idempotency key of a message, nor a dispatch or a batch")
        if len(matches.messages) > 1:
            _list(what, matches, as_json=as_json)
            return 0
        found = await operating.trace(matches.messages[0].id, show_body=show_body)
        if found is None:
            raise Failed(f"message {matches.messages[0].id} was pruned just now")
        if as_json:
            _say(found)
        else:
            console().print(screen(found, settings.load(TelemetrySettings).trace_url))
        return 0

    return operate(work)


def _list(what: str, matches: Matches, *, as_json: bool) -> None:
    if as_json:
        say_json({"read_as": matches.read_as, "messages": list(matches.messages)})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "recipient", "status", "error"):
        table.add_column(name)
    for message in matches.messages:
        table.add_row(str(message.id), mask(message.recipient), message.status, scrub(message.error or ""))
    console().print(f"{matches.read_as} {what}: {counted(len(matches.messages), 'message')}; outbox trace ID shows one", table)


def _say(found: Trace) -> None:
    texts = {name: found.message[name] for name in ("body", "parameters", "media_url") if name in found.message}
    say_json(found, texts={"message": [texts]})


def screen(found: Trace, trace_url: str | None = None) -> RenderableType:
    """The columns of the row, then its history. ``trace_url`` is the setting TRACE_URL."""
    message = found.message
    facts = Table.grid(padding=(0, 2))
    facts.add_row("recipient", mask(message["recipient"]))
    for name in COLUMNS:
        if message.get(name) is not None:
            facts.add_row(name, _fact(name, message[name]))
    if message.get("trace_context") is not None:
        facts.add_row("trace", _trace(message["trace_context"], trace_url))
    if message.get("secret"):
        facts.add_row("body", Text("secret: never shown, and removed once the message has expired", "dim"))
    elif "body" in message:
        facts.add_row("body", Text(str(message["body"])))
    for name, value in _picture(message):
        facts.add_row(name, Text(value))
    if found.waiting is not None:
        facts.add_row("waits", waiting_words.waits(found.waiting, message.get("route")))
        facts.add_row("plans", Text("\n").join(_carrier(one) for one in found.waiting.plans))
    if found.suppressed is not None:
        facts.add_row("suppressed", scrub(found.suppressed))
    for sent in found.duplicate_sends:
        facts.add_row("duplicate send", Text(f"batch {sent['batch_id']} of dispatch {sent['dispatch_id']}", "red"))
    events = (part for event in found.timeline for part in _event(event))
    return Group(Text(f"message {message['id']}", "bold"), facts, "", *events)


def _picture(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if message.get("channel") == "mms":
        yield "channel", "mms"
    if message.get("media_url") is not None:
        yield "media_url", message["media_url"]


def _trace(context: str, url: str | None) -> Text:
    trace_id = context.split("-")[1]
    return Text(trace_id if url is None else url.replace("{trace_id}", trace_id))


def _carrier(one: Carrier) -> Text:
    colour = "green" if one.cannot_send is None else "red"
    return Text.assemble(f"{one.provider} {one.plan} ({waiting_words.weight(one)}): ", (waiting_words.state(one), colour))


def _fact(name: str, value: object) -> str:
    """A column of the row. Times read like those of the history below."""
    return read_utc(str(value)) if name.endswith("_at") else scrub(str(value))


def _event(event: Event) -> Iterable[RenderableType]:
    """A line with time, source and event. Details follow below it, so that a narrow terminal cuts off no id or report."""
    yield Text.assemble(f"{utc(event.at)}  {event.source:<9}  ", (_what(event), "bold"))
    if detail := _detail(event):
        yield Padding(detail, (0, 0, 0, 4), expand=False)


def _what(event: Event) -> str:
    if event.status in (None, event.event):
        return event.event
    code = "" if event.status_code is None else f", code {event.status_code}"
    return f"{event.event}: {event.status}{code}"


def _detail(event: Event) -> Text:
    parts = [
        f"batch {event.batch_id}" if event.batch_id else None,
        f"dispatch {event.dispatch_id}" if event.dispatch_id else None,
        f"at {utc(event.occurred_at)}" if event.occurred_at else None,
        _in_words(event.detail) if event.detail else None,
        json.dumps(scrub_value(event.report), ensure_ascii=False) if event.report else None,
    ]
    return Text(scrub(", ".join(part for part in parts if part)), overflow="fold")


def _in_words(detail: str) -> str:
    """The database's text of an event, with times like those of the events and a count of one in the singular."""
    return _ONE_ATTEMPT.sub("after 1 attempt", all_in_utc(detail))
