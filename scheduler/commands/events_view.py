"""The screens of `outbox events`, and the part about endpoints of `outbox status`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.gateway.eventing import AddedEndpoint, EventEndpoint, ListedDelivery, Replayed
from jobs.runtime.counts import counted
from scheduler.commands.times import ago, utc

__all__ = ["Replayed", "added", "deliveries", "endpoints", "replayed", "rotated", "tested", "waiting"]

_MOST_COUNTED: Final = 10_000
_LONG_SECONDS: Final = 600.0
_DISABLED: Final = {
    "operator": "disabled by an operator",
    "gone": "disabled: it answered 410, which says that it wants no more events",
    "failing": "disabled: it failed for three days",
}
_LEFT_OUT: Final = {
    "waiting": "on their way already",
    "not_wanted": "of a type that the endpoint does not get",
    "unknown": "no such event, or it is not kept any more",
    "too_many": "too many at once: repeat the command",
}
_STYLES: Final = {"failed": "red", "gone": "red", "pending": "yellow"}


def endpoints(found: Sequence[EventEndpoint]) -> RenderableType:
    """Each endpoint with what it gets and how it is doing."""
    if not found:
        return Text("no endpoints: outbox events add NAME URL adds one")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("endpoint", overflow="fold")
    table.add_column("events go to", overflow="fold")
    for one in found:
        table.add_row(Text(one.name, "bold"), Group(Text(one.url), *_lines(one)))
    return table


def added(endpoint: AddedEndpoint) -> RenderableType:
    return Group(
        Text(f"endpoint {endpoint.name} is added: {endpoint.url}"),
        *_secret(endpoint.secret),
        Text(f"next: outbox events test {endpoint.name}"),
    )


def rotated(name: str, secret: str, *, keep: float) -> RenderableType:
    return Group(
        Text(f"endpoint {name} has a new secret; the old one signs as well for {ago(keep)}"),
        *_secret(secret),
    )


def tested(name: str, event_id: str, found: ListedDelivery | None, *, waited: float) -> RenderableType:
    if found is None:
        words = f"{event_id} was not sent to {name} within {ago(waited)}: is `outbox run` up, and the endpoint enabled?"
        return Text(words, "red")
    if found.status == "delivered":
        return Text(f"{event_id} was delivered to {name}: HTTP {found.last_status}", "green")
    next_attempt = "" if found.next_at is None or found.status != "pending" else f"; next attempt at {utc(found.next_at)}"
    words = f"{event_id} was not delivered to {name}: {_answer(found)}{next_attempt}{_advice(name, found.last_status)}"
    return Text(words, "red")


def _advice(name: str, status: int | None) -> str:
    """The mistake behind most answers with this status."""
    match status:
        case 401 | 403:
            return f"\nDoes the server have this endpoint's secret? A new one: outbox events rotate {name}"
        case 404 | 405:
            return f"\nIs the URL right? Another one: outbox events set {name} --url URL"
        case _:
            return ""


def deliveries(found: Sequence[ListedDelivery], most: int) -> RenderableType:
    """A table, the newest first."""
    if not found:
        return Text("no deliveries")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("event", no_wrap=True)
    table.add_column("type", overflow="fold")
    table.add_column("endpoint", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("tries", justify="right", no_wrap=True)
    table.add_column("last answer", overflow="fold")
    for one in found:
        status = Text(one.status, _STYLES.get(one.status, ""))
        table.add_row(one.event_id, one.type, one.endpoint, status, str(one.attempts), _last(one))
    more = [Text(f"the newest {most:,}: --limit shows more", "dim")] if len(found) == most else []
    return Group(table, *more)


def replayed(name: str, outcome: Replayed) -> RenderableType:
    words = "would go" if outcome.dry_run else "go" if outcome.count != 1 else "goes"
    lines = [Text(f"{counted(outcome.count, 'event')} {words} to {name} again")]
    for reason, count in outcome.left_out.items():
        if count:
            lines.append(Text(f"{count:,} left out: {_LEFT_OUT.get(reason, reason)}", "yellow"))
    return Group(*lines)


def waiting(found: Sequence[EventEndpoint], held_back_since: datetime | None) -> Text:
    """A line for each endpoint, and one for a transaction that events wait for."""
    lines = [Text.assemble(f"{one.name}: ", *_state(one)) for one in found]
    if held_back_since is not None:
        lines.append(Text(f"events wait for a transaction that is open since {utc(held_back_since)}", "yellow"))
    return Text("\n").join(lines)


def _secret(secret: str) -> list[Text]:
    return [Text(f"secret: {secret}"), Text("Give it to your server now: it is not shown again.")]


def _lines(one: EventEndpoint) -> list[Text]:
    types = "all types but message.sent" if one.event_types is None else ", ".join(one.event_types)
    numbers = "numbers in full" if one.include_recipient else "numbers masked"
    return [Text(f"{types}; {numbers}", "dim"), Text.assemble(*_state(one))]


def _state(one: EventEndpoint) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    if one.disabled_at is not None:
        parts.append((_DISABLED.get(one.disabled_reason or "", "disabled") + f", {utc(one.disabled_at)}", "red"))
    elif one.failing_since is not None:
        parts.append((f"failing since {utc(one.failing_since)}", "red"))
    parts.append(_waiting(one))
    if one.failed:
        parts.append((f"{one.failed:,} failed", "red"))
    last = "none delivered yet" if one.last_delivered_at is None else f"last delivered {utc(one.last_delivered_at)}"
    parts.append((last, ""))
    separated: list[tuple[str, str]] = []
    for part in parts:
        separated += [(" · ", "")] if separated else []
        separated.append(part)
    return separated


def _waiting(one: EventEndpoint) -> tuple[str, str]:
    count = f"over {_MOST_COUNTED:,}" if one.waiting > _MOST_COUNTED else f"{one.waiting:,}"
    if one.oldest_waiting_at is None:
        return f"{count} waiting", ""
    seconds = max((datetime.now(UTC) - one.oldest_waiting_at).total_seconds(), 0.0)
    return f"{count} waiting, the oldest for {ago(seconds)}", "yellow" if seconds > _LONG_SECONDS else ""


def _last(one: ListedDelivery) -> str:
    if one.status == "delivered":
        return f"HTTP {one.last_status}" + ("" if one.delivered_at is None else f", {utc(one.delivered_at)}")
    answer = _answer(one)
    return answer if one.next_at is None or one.status != "pending" else f"{answer}; next {utc(one.next_at)}"


def _answer(one: ListedDelivery) -> str:
    return one.last_error or ("none yet" if one.last_status is None else f"HTTP {one.last_status}")
