"""`outbox trace`: everything that happened to one message."""

import json
from collections.abc import Iterable
from typing import Annotated

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.gateway.history import Happening, Meant, Trace
from jobs.gateway.operating import Operating
from jobs.runtime.telemetry import mask, scrub, scrub_value
from scheduler.commands.operator import Failed, console, counted, operate, say_json
from scheduler.commands.times import utc

_COLUMNS = (
    "status", "status_code", "error", "attempts", "parts", "sender", "batch_id", "dispatch_id", "campaign", "template",
    "idempotency_key", "priority", "send_at", "due_at", "tried_again_at", "expires_at", "created_at", "sent_at", "finalized_at",
    "cancel_requested_at",
)  # fmt: skip


def trace(
    what: Annotated[
        str,
        typer.Argument(metavar="ID", help="A message's id, an idempotency key, a dispatch's id, or a batch of the provider."),
    ],
    show_body: Annotated[bool, typer.Option("--show-body", help="Show texts, the message's and the replies'.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Tell a message from its insert to its end: requests, looks, reports as they came, retries, replies. Numbers are masked.

    What stands for several messages, such as a batch, is listed.
    """

    async def work(operating: Operating) -> int:
        meant = await operating.find(what)
        if not meant.messages:
            raise Failed(f"{what} is no message's id or idempotency key, no dispatch and no batch")
        if len(meant.messages) > 1:
            _list(what, meant, as_json=as_json)
            return 0
        found = await operating.trace(meant.messages[0].id, show_body=show_body)
        if found is None:
            raise Failed(f"message {meant.messages[0].id} was pruned just now")
        if as_json:
            _say(found)
        else:
            console().print(_screen(found))
        return 0

    return operate(work)


def _list(what: str, meant: Meant, *, as_json: bool) -> None:
    if as_json:
        say_json({"read_as": meant.read_as, "messages": list(meant.messages)})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "recipient", "status", "error"):
        table.add_column(name)
    for message in meant.messages:
        table.add_row(str(message.id), mask(message.recipient), message.status, scrub(message.error or ""))
    console().print(f"{meant.read_as} {what}: {counted(len(meant.messages), 'message')}; outbox trace ID tells one", table)


def _say(found: Trace) -> None:
    texts = {name: found.message[name] for name in ("body", "parameters") if name in found.message}
    say_json(found, texts={"message": [texts]})


def _screen(found: Trace) -> RenderableType:
    message = found.message
    facts = Table.grid(padding=(0, 2))
    facts.add_row("recipient", mask(message["recipient"]))
    for name in _COLUMNS:
        if message[name] is not None:
            facts.add_row(name, scrub(str(message[name])))
    if "body" in message:
        facts.add_row("body", Text(str(message["body"])))
    if found.suppressed is not None:
        facts.add_row("suppressed", scrub(found.suppressed))
    for double in found.doubles:
        facts.add_row("double", Text(f"batch {double['batch_id']} of dispatch {double['dispatch_id']}", "red"))
    happenings = (part for happening in found.timeline for part in _happening(happening))
    return Group(Text(f"message {message['id']}", "bold"), facts, "", *happenings)


def _happening(happening: Happening) -> Iterable[RenderableType]:
    """When, by whom and what; below it the details, of which a narrow terminal must not cut off an id or a report."""
    yield Text.assemble(f"{utc(happening.at)}  {happening.source:<9}  ", (_what(happening), "bold"))
    if detail := _detail(happening):
        yield Padding(detail, (0, 0, 0, 4), expand=False)


def _what(happening: Happening) -> str:
    if happening.status in (None, happening.event):
        return happening.event
    code = "" if happening.status_code is None else f" {happening.status_code}"
    return f"{happening.event}: {happening.status}{code}"


def _detail(happening: Happening) -> Text:
    parts = [
        f"batch {happening.batch_id}" if happening.batch_id else None,
        f"dispatch {happening.dispatch_id}" if happening.dispatch_id else None,
        f"at {utc(happening.occurred_at)}" if happening.occurred_at else None,
        happening.detail,
        json.dumps(scrub_value(happening.report), ensure_ascii=False) if happening.report else None,
    ]
    return Text(scrub(", ".join(part for part in parts if part)), overflow="fold")
