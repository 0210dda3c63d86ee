"""`outbox retry`: gives final messages a new attempt."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from jobs.gateway.operating import Operating, Outcome
from jobs.runtime.counts import counted
from scheduler.commands import selecting, times
from scheduler.commands.operator import agreed, console, operate

_FINAL: Final = (
    "failed", "rejected", "aborted", "deleted", "cancelled", "suppressed", "expired", "unknown", "delivered",
)  # fmt: skip


def retry(
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID…", help="Messages by their id.", show_default=False, parser=selecting.message_id),
    ] = None,
    *,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="All messages with this final status. May be repeated.")
    ] = None,
    campaign: Annotated[str | None, typer.Option("--campaign", help="With --status: only those of this campaign.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="With --status: only those final since a time (ISO 8601) or within a duration (2h)."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also messages that were delivered or may have been, expired, or were cancelled."),
    ] = False,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", help="New expiry, such as 2h, for messages whose own has passed.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the outcome without changing anything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --status: do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Send final messages again, as a new attempt. Prints the outcome of each; exit code 1 if any was refused.

    Without --force, messages that were delivered or may have been, expired, or were cancelled are refused. Opt-outs, windows
    and campaigns are checked again before sending.
    """
    _check(ids, status, narrowed=campaign is not None or since is not None)
    start = None if since is None else times.past(since)
    expiry = None if expires_in is None else times.seconds(expires_in)

    async def work(operating: Operating) -> int:
        chosen = ids or await selecting.select(operating, statuses=status, campaign=campaign, since=start)

        async def act(some: Sequence[int]) -> Sequence[Outcome]:
            return await operating.retry(some, force=force, expires_in=expiry, dry_run=dry_run)

        if not ids and not dry_run and chosen and not agreed(f"Send {counted(len(chosen), 'message')} again?", yes=yes):
            console().print("nothing was changed")
            return 1
        return selecting.say(await selecting.in_chunks("retrying", chosen, act), as_json=as_json, trial=dry_run)

    return operate(work)


def _check(ids: list[int] | None, statuses: list[str] | None, *, narrowed: bool) -> None:
    if bool(ids) == bool(statuses):
        raise typer.BadParameter("name messages by id, or all of a final status with --status")
    if narrowed and not statuses:
        raise typer.BadParameter("--campaign and --since narrow down --status")
    for status in statuses or ():
        if status not in _FINAL:
            raise typer.BadParameter(f"--status {status!r} is not a final status: {', '.join(_FINAL)}")
