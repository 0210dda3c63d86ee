"""The screen of `outbox status`."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.gateway import held_words, pause_words
from jobs.gateway.alarms import setting_of
from jobs.gateway.replies import UnclearReplies
from jobs.gateway.status import (
    Backlog,
    ClockOff,
    Figures,
    Heartbeat,
    Held,
    Pause,
    PlanLimits,
    RaisedAlarm,
    Requests,
    Status,
    Worker,
)
from jobs.gateway.verdict import SENDING, Verdict
from jobs.providers import registry
from jobs.runtime.counts import counted, messages_a_second
from jobs.runtime.masking import scrub
from scheduler.commands import events_view
from scheduler.commands.times import ago, all_in_utc, utc

_LATE_SECONDS: Final = 180.0
"""No job's usual interval is longer than a minute."""
_WAITING_LONG_SECONDS: Final = 60.0
_FIGURE_ROWS: Final = 40


def screen(
    status: Status, figures: Figures | None, *, verdict: Verdict, asked: int, project: str | None = None
) -> RenderableType:
    """Everything, the verdict first. Figures were asked for ``asked`` days. ``project`` is the host of SUPABASE_URL."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("backlog", _backlog(status.backlog))
    facts.add_row("requests", _requests(status.requests))
    facts.add_row("duplicates", _duplicate_sends(status.requests))
    facts.add_row("reports", _reports(status.requests))
    facts.add_row("paused", _pauses(status, _unbound(status.hosts, project)))
    if status.held:
        facts.add_row("held", _held(status.held))
    if status.unclear_replies.count:
        facts.add_row("replies", _unclear(status.unclear_replies))
    if status.plans:
        facts.add_row("limits", _limits(status.plans))
    if status.event_endpoints:
        facts.add_row("events", events_view.waiting(status.event_endpoints, status.events_wait_since))
    facts.add_row("project", _project(status.hosts, project))
    if status.clocks:
        facts.add_row("clocks", _clocks(status.clocks))
    facts.add_row("alarms", alarms(status.alarms_waiting, status.alarms))
    facts.add_row("jobs", _jobs(status.jobs))
    facts.add_row("processes", _processes(status.processes, status.jobs))
    return Group(verdict_line(verdict), Text(f"outbox at {utc(status.at)}"), facts, *_figures(figures, asked))


def verdict_line(verdict: Verdict) -> Text:
    """The first line: whether messages go out and, if not, why."""
    return Text(verdict.line, style=f"bold {'green' if verdict.verdict == SENDING else 'yellow' if verdict.works else 'red'}")


def _backlog(backlog: Backlog) -> Text:
    text = Text(f"{backlog.due} due")
    if backlog.oldest_due_seconds is not None:
        style = "red" if backlog.oldest_due_seconds > _WAITING_LONG_SECONDS else ""
        text.append(f", the oldest for {ago(backlog.oldest_due_seconds)}", style)
    text.append(f" · {backlog.scheduled} scheduled")
    if backlog.next_due_at is not None:
        text.append(f", the next at {utc(backlog.next_due_at)}")
    return text.append(f" · {backlog.held} held", "red") if backlog.held.count else text


def _requests(requests: Requests) -> Text:
    text = Text(f"{requests.in_flight:,} in flight ({counted(requests.in_flight_messages, 'message')})")
    if requests.silent:
        text.append(f", {requests.silent:,} of a process that fell silent", "yellow")
    text.append(
        f" · {requests.ambiguous:,} ambiguous ({counted(requests.ambiguous_messages, 'message')}), being looked up",
        "yellow" if requests.ambiguous else "",
    )
    if requests.waiting_until is not None:
        text.append(f", {requests.waiting:,} until {utc(requests.waiting_until)} at the latest", "yellow")
    return text.append(f" · {requests.watched:,} watched in case they appear") if requests.watched else text


def _duplicate_sends(requests: Requests) -> Text:
    suspected = requests.suspected_duplicate_sends
    text = Text(f"{requests.duplicate_sends:,} found", "red" if requests.duplicate_sends else "")
    return text.append(f" · {suspected:,} suspected", "yellow") if suspected else text


def _reports(requests: Requests) -> Text:
    batches = requests.batches_without_all_reports
    text = Text(f"{batches:,} {'batch lacks' if batches == 1 else 'batches lack'} some")
    text.append(f" · {requests.unmatched_reports:,} match no batch yet")
    return (
        text.append(f" · {requests.kept_callbacks:,} unreadable callbacks kept", "yellow") if requests.kept_callbacks else text
    )


def _pauses(status: Status, unbound: str | None) -> Text:
    """A database that does not send from this project is stopped too, although no plan of it is paused."""
    lines = [_pause(pause, status) for pause in status.pauses]
    if all(pause.probing for pause in status.pauses) and unbound is None:
        lines.insert(0, Text("no plan"))
    if unbound is not None:
        words = "in a restored database first run `outbox adopt --since TIME`, in a copy see `outbox bind --help`"
        lines.append(Text.assemble((f"all plans, unbound: {unbound}", "red"), f", until `outbox bind`; {words}"))
    return Text("\n").join(lines)


def _pause(pause: Pause, status: Status) -> Text:
    """A pause, or what became of one that is over."""
    what = f"{pause.provider} {pause.plan}, {pause.kind}: {pause_words.cause(pause)}"
    if pause.probing:
        return Text.assemble((what, "yellow"), "; ", pause_words.over(status.sign_seconds(pause.provider, pause.plan)))
    return Text.assemble((what, "red"), ", ", pause_words.until(pause))


def _unbound(hosts: Sequence[str], project: str | None) -> str | None:
    """Why processes with this SUPABASE_URL send nothing, None if they do."""
    if not hosts or project is None or project in hosts:
        return None
    return f"a process with SUPABASE_URL at {project} sends nothing"


def _project(hosts: Sequence[str], project: str | None) -> Text:
    if not hosts:
        return Text("none yet: the first `outbox run` binds the database")
    unbound = _unbound(hosts, project)
    return Text(", ".join(hosts)) if unbound is None else Text(f"{', '.join(hosts)}: {unbound}", "red")


def _held(held: Sequence[Held]) -> Text:
    """The refused texts, each by the id of a message: `outbox trace` shows the text."""
    return Text("\n").join(
        Text.assemble(
            (f"{one.provider} {one.plan}, {held_words.whose(one)}: {held_words.why(one)}", "red"), ", ", _waiting(one)
        )
        for one in held
    )


def _unclear(replies: UnclearReplies) -> Text:
    """Replies that may be opt-outs: until a person decides, their senders get messages."""
    since = "" if replies.oldest_at is None else f", the oldest since {utc(replies.oldest_at)}"
    return Text(f"{counted(replies.count, 'reply')} may be an opt-out{since}: outbox replies --unclear", "red")


def _limits(plans: Sequence[PlanLimits]) -> Text:
    """Each plan's rates, then the messages of today through all of them."""
    lines = [_rates(plan) for plan in plans]
    if any(plan.messages_today is not None for plan in plans):
        lines.append(_today(sum(plan.messages_today or 0 for plan in plans), min(_caps(plans), default=None)))
    return Text("\n").join(lines)


def _caps(plans: Sequence[PlanLimits]) -> list[int]:
    return [plan.messages_per_day for plan in plans if plan.messages_per_day is not None]


def _rates(plan: PlanLimits) -> Text:
    line = Text(f"{plan.provider} {plan.plan}: ")
    second = "" if plan.messages_per_second is None else messages_a_second(plan.messages_per_second)
    if plan.requests_per_minute >= registry.UNLIMITED_REQUESTS:
        return line.append(second or "no limit")
    requests = f"{plan.requests_left:,} of {plan.requests_per_minute:,} requests left this minute"
    return line.append(requests, "" if plan.requests_left else "yellow").append(f", {second}" if second else "")


def _today(messages: int, most: int | None) -> Text:
    if most is None:
        return Text(f"{counted(messages, 'message')} today (UTC), no daily cap")
    text = f"{messages:,} of {counted(most, 'message')} today (UTC)"
    if messages >= most:
        return Text(f"{text}: nothing goes until 00:00, or until MAX_MESSAGES_PER_DAY is raised", "red")
    return Text(text)


def _waiting(held: Held) -> str:
    example = "" if held.example is None else f" such as {held.example}"
    return f"{counted(held.messages, 'message')}{example} held since {utc(held.since)}, next try at {utc(held.probe_at)}"


def _clocks(clocks: Sequence[ClockOff]) -> Text:
    return Text("\n").join(
        Text(
            f"{' '.join(filter(None, ('the', one.clock, one.name)))} is {ago(abs(one.seconds))}"
            f" {'ahead' if one.seconds > 0 else 'behind'}, since {utc(one.since)}",
            "red",
        )
        for one in clocks
    )


def alarms(waiting: int, raised: Sequence[RaisedAlarm]) -> Text:
    """The latest alarms. ``waiting`` of all alarms were not logged by a process yet."""
    if not waiting and not raised:
        return Text("none in 30 days")
    unlogged = Text(f"{waiting:,} waiting to be logged by `outbox run`", "yellow")
    lines = [unlogged if waiting else Text("all logged by `outbox run`")]
    for alarm in raised[:5]:
        waits = "" if alarm.acknowledged else "  (waiting)"
        lines.append(Text.assemble(f"{utc(alarm.at)}  {alarm.kind}  ", (scrub(all_in_utc(_words(alarm))), "dim"), waits))
    return Text("\n").join(lines)


def _words(alarm: RaisedAlarm) -> str:
    words = " ".join(f"{key}={value}" for key, value in alarm.detail.items())
    return words + pause_words.check(setting_of(alarm.kind, alarm.detail))


def _jobs(jobs: Sequence[Heartbeat]) -> Text:
    if not jobs:
        return Text("none ticked within a day: is `outbox run` up?", "red")
    return Text(" · ").join(
        Text(f"{one.job}{f' ({_account(one)})' if one.plan else ''} {ago(one.seconds_ago)} ago", _late(one)) for one in jobs
    )


def _account(served: Heartbeat | Worker) -> str:
    return f"{served.provider} {served.plan}".strip()


def _late(heartbeat: Heartbeat) -> str:
    # The webhook app records heartbeats when callbacks arrive. The jobs record them whether there is work or not.
    return "red" if heartbeat.seconds_ago > _LATE_SECONDS and heartbeat.job != "webhook" else ""


def _processes(processes: Sequence[Worker], jobs: Sequence[Heartbeat]) -> Text:
    if not processes and any(one.job == "dispatch" and one.seconds_ago <= _WAITING_LONG_SECONDS for one in jobs):
        return Text("one runs and may not claim yet: see the first line, and the log of `outbox run`", "yellow")
    if not processes:
        # A process that has not claimed yet is not known to the database.
        waits = "One that starts is not listed until its provider answers."
        return Text(
            f"none claims: is `outbox run` up? {waits} With `outbox run --once` none is usual between the runs", "yellow"
        )
    return Text("\n").join(_process(process) for process in processes)


def _process(process: Worker) -> Text:
    """Two lines: the names of hosts and plans are long, and a terminal has 80 columns."""
    who = f"{process.worker} for {_account(process)}\n"
    if process.seconds_ago > _WAITING_LONG_SECONDS:
        return Text(f"{who}  silent for {ago(process.seconds_ago)}: stopped, or it hangs", "dim")
    return Text(f"{who}  claimed {ago(process.seconds_ago)} ago, up since {utc(process.since)}")


def _figures(figures: Figures | None, asked: int) -> list[RenderableType]:
    if asked == 0:
        return []
    if figures is None:
        return [
            Text("figures: the database could not count them in time; ask the view outbox_figures for single days", "yellow")
        ]
    table = Table(
        box=box.SIMPLE_HEAD, title="messages by the day they were to go out (UTC)", title_justify="left", pad_edge=False
    )
    for name in ("day", "country", "status", "code"):
        table.add_column(name)
    for name in ("messages", "parts"):
        table.add_column(name, justify="right")
    for row in figures.figures[:_FIGURE_ROWS]:
        code = "" if row.status_code is None else str(row.status_code)
        table.add_row(str(row.day), row.country or "?", row.status, code, f"{row.messages:,}", f"{row.parts:,}")
    notes: list[RenderableType] = []
    if len(figures.figures) > _FIGURE_ROWS:
        more = counted(len(figures.figures) - _FIGURE_ROWS, "line")
        notes.append(Text(f"… and {more} more: --json has them all", "dim"))
    if figures.days < asked:
        days = counted(figures.days, "day")
        notes.append(Text(f"{days} instead of {asked}: more are too many messages to count at once", "yellow"))
    return [table, *notes] if figures.figures else [Text("no messages in these days", "dim"), *notes]
