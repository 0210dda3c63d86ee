"""Check 7: processes run, messages go out, and callbacks arrive."""

from collections.abc import Iterator, Sequence
from typing import Final

from jobs.examining.findings import Finder, Finding
from jobs.gateway.doctor import Processes
from jobs.gateway.verdict import IN_PART, Verdict
from jobs.providers import registry
from jobs.runtime.counts import counted
from jobs.runtime.times import ago
from scheduler.doctor.installation import Installation

find = Finder("sending")
_MINUTE: Final = 60.0
_OLD_SECONDS: Final = 300.0
_WAITING: Final = ("paused", "trying", "not_claiming")
"""What a plan says of itself while a process of it runs and does not claim."""


async def look(installation: Installation) -> Sequence[Finding]:
    processes = (await installation.facts()).processes
    verdict = await installation.connection.verdicts.ask(project=installation.environment.host)
    accounts = [registry.account(chosen) for chosen in installation.environment.accounts]
    awaited = any(account.callback_url is not None for account in accounts)
    return [
        messages(verdict),
        *scheduler(processes, verdict),
        *backlog(verdict, processes),
        *webhook(processes, awaited=awaited),
    ]


def messages(verdict: Verdict) -> Finding:
    """The verdict of `outbox status`."""
    if verdict.works and verdict.verdict != IN_PART:
        return find.ok("all that is due goes out")
    advice = "`outbox status` shows the pauses and the backlog"
    return find.warning(verdict.line, advice) if verdict.works else find.failed(verdict.line, advice)


def scheduler(processes: Processes, verdict: Verdict) -> Iterator[Finding]:
    """A process whose plan is paused, or whose provider's list cannot be read, runs and need not claim."""
    silent = processes.dispatch_seconds_ago is None or processes.dispatch_seconds_ago > _MINUTE
    waiting = [plan for plan in verdict.plans if plan.code in _WAITING]
    if silent and waiting:
        named = ", ".join(plan.name for plan in waiting)
        yield find.ok(f"a scheduler runs, and does not claim for {named} until what is said above is corrected")
    elif processes.dispatch_seconds_ago is None:
        yield find.failed("no scheduler has claimed within a day", "start `outbox run`")
    elif processes.dispatch_seconds_ago > _MINUTE:
        yield find.failed(f"the last claim was {ago(processes.dispatch_seconds_ago)} ago", "start `outbox run`, or see its log")
    else:
        yield find.ok(f"{len(processes.dispatchers)} claiming, the last {ago(processes.dispatch_seconds_ago)} ago")


def backlog(verdict: Verdict, processes: Processes) -> Iterator[Finding]:
    if verdict.works and (processes.oldest_due_seconds or 0) > _OLD_SECONDS:
        yield find.warning(
            f"the oldest due message waits for {ago(processes.oldest_due_seconds or 0)}",
            "the rate of the plan is too low, or its route has no plan that sends: `outbox status`",
        )
    if processes.alarms_waiting:
        waiting = counted(processes.alarms_waiting, "alarm")
        yield find.warning(f"{waiting} not logged by `outbox run` yet", "`outbox status` lists the latest")


def webhook(processes: Processes, *, awaited: bool) -> Iterator[Finding]:
    """``awaited``: some account names a callback URL."""
    if processes.webhook_seconds_ago is not None:
        yield find.ok(f"the last callback came {ago(processes.webhook_seconds_ago)} ago")
    elif awaited:
        yield find.warning("no callback has come within a day", "normal where nothing was sent; else see callbacks")
