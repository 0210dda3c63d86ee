"""`outbox events test`, `deliveries` and `replay`: events on their way to endpoints."""

import asyncio
from typing import Annotated, Final

import typer

from jobs.gateway.eventing import ListedDelivery
from jobs.gateway.operating import Operating
from jobs.runtime.counts import counted
from scheduler.commands import events_view, times
from scheduler.commands.operator import agreed, console, operate, say_json
from scheduler.commands.routed_plans import advised

AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
Name = Annotated[str, typer.Argument(help="The endpoint's name.", show_default=False)]

STATUSES: Final = ("pending", "delivered", "failed", "gone")
_AT_ONCE: Final = 500
_LOOK_SECONDS: Final = 0.5
_WAIT: Final = "45s"
"""A process that had no endpoint looks for one every 30 seconds."""


def send_test(
    name: Name,
    *,
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for the answer of your server.")] = _WAIT,
    as_json: AsJson = False,
) -> int:
    """Send a webhook.test event and print what your server answers.

    A running `outbox run` sends it. Exit code 1 unless the first attempt succeeds.
    """
    seconds = times.seconds(wait)

    async def work(operating: Operating) -> int:
        event_id = await advised(operating.events.test(name))
        found = await _attempted(operating, name, event_id, seconds)
        if as_json:
            say_json({"event_id": event_id, "delivery": found})
        else:
            console().print(events_view.tested(name, event_id, found, waited=seconds))
        return 0 if found is not None and found.status == "delivered" else 1

    return operate(work)


def deliveries(
    name: Annotated[str | None, typer.Argument(help="Only those of this endpoint.", show_default=False)] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed for good: --status failed.")] = False,
    status: Annotated[str | None, typer.Option("--status", help=f"Only one of {', '.join(STATUSES)}.")] = None,
    event_id: Annotated[str | None, typer.Option("--event", metavar="ID", help="Only those of this event, evt_….")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> int:
    """List deliveries: each is one event on its way to one endpoint.

    Delivered ones are kept for 3 days, failed ones for 30.
    """
    if failed and status is not None:
        raise typer.BadParameter("give --failed or --status")
    wanted = "failed" if failed else status
    if wanted is not None and wanted not in STATUSES:
        raise typer.BadParameter(f"--status {wanted!r} is none of {', '.join(STATUSES)}")

    async def work(operating: Operating) -> int:
        found: list[ListedDelivery] = []
        while len(found) < most:
            asked = min(_AT_ONCE, most - len(found))
            before = found[-1].id if found else None
            page = await advised(
                operating.events.deliveries(endpoint=name, status=wanted, event_id=event_id, before=before, most=asked)
            )
            found += page
            if len(page) < asked:
                break
        if as_json:
            say_json({"deliveries": found})
        else:
            console().print(events_view.deliveries(found, most))
        return 0

    return operate(work)


def replay(
    name: Name,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="EVENT…", help="Events by their id, evt_….", show_default=False)
    ] = None,
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="All events since a time (ISO 8601) or within a duration (2h).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="With --since: only those until a time.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="With --since: only those whose delivery failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --since: do not ask first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Send events once more, by id or by when they happened.

    They keep their ids, so your server can tell that it has one already.
    """
    if bool(ids) == (since is not None):
        raise typer.BadParameter("name events by id, or a range with --since")
    if since is None and (until is not None or failed):
        raise typer.BadParameter("--until and --failed narrow down --since")
    start = None if since is None else times.past(since)
    end = None if until is None else times.past(until)

    async def work(operating: Operating) -> int:
        async def send(*, trial: bool) -> events_view.Replayed:
            return await advised(
                operating.events.replay(name, event_ids=ids or None, since=start, until=end, failed_only=failed, dry_run=trial)
            )

        if not ids and not dry_run and not yes:
            tried = await send(trial=True)
            if tried.count and not agreed(f"Send {counted(tried.count, 'event')} to {name} again?", yes=False):
                console().print("nothing was sent")
                return 1
        replayed = await send(trial=dry_run)
        if as_json:
            say_json({"replayed": replayed})
        else:
            console().print(events_view.replayed(name, replayed))
        return 0 if replayed.count or not ids else 1

    return operate(work)


async def _attempted(operating: Operating, name: str, event_id: str, seconds: float) -> ListedDelivery | None:
    """The delivery after its first attempt, None if there was none in time."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                for found in await operating.events.deliveries(endpoint=name, event_id=event_id, most=1):
                    if found.attempts and (found.status != "pending" or found.last_error is not None):
                        return found
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return None
