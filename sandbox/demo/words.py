"""The demo's sentences beside the screen."""

import shlex
from collections.abc import Mapping, Sequence
from shutil import which

from sandbox.demo.snapshot import Entry
from sandbox.demo.verdict import Verdict
from sandbox.local import binaries
from sandbox.local.stack import LocalStack

_STUCK_SHOWN = 10
_ROW = '{"recipient": "+12025550123", "body": "Hello"}'
_INSERT = "insert into outbox (recipient, body) values ($$+12025550123$$, $$Hello$$)"


def result(verdict: Verdict) -> str:
    """The verdict in two or three sentences."""
    counts = ", ".join(f"{count} {status}" for status, count in verdict.statuses.items())
    wrong = [
        f"{count} {what}"
        for what, count in (
            ("lost", verdict.lost),
            ("sent twice", verdict.sent_twice),
            ("sent though they must not be", verdict.sent_wrongly),
        )
        if count
    ]
    reminded = ", ".join(f"{count} {outcome}" for outcome, count in verdict.reminders.items())
    whose = "both providers'" if len(verdict.providers) > 1 else "the provider's"
    also = f", {verdict.campaign_messages} of campaigns" if verdict.campaign_messages else ""
    if verdict.burst is not None:
        also += f" and a burst of {verdict.burst['messages']:.0f}"
    return (
        f"{verdict.messages} messages{also} in {verdict.seconds} s with {verdict.requests} requests: {counts}.\n"
        + (f"Reminders a day and an hour before each appointment, some of them in the past: {reminded}.\n" if reminded else "")
        + ("A message of a campaign waits, because it is night for its recipient.\n" if verdict.overnight else "")
        + _shares(verdict)
        + _burst(verdict)
        + ("A scheduler was killed meanwhile, with a request that had no answer.\n" if verdict.killed else "")
        + (f"The demo gave up before its last {verdict.steps_left} steps.\n" if verdict.steps_left else "")
        + f"By {whose} records {', '.join(wrong) if wrong else 'nothing was lost and nothing sent twice'}."
    )


def ending(verdict: Verdict) -> str:
    """The last caption."""
    if verdict.stuck or verdict.steps_left:
        return "the demo gives up"
    return (
        "every message is final, except for those that wait for the morning" if verdict.overnight else "every message is final"
    )


def _burst(verdict: Verdict) -> str:
    if verdict.burst is None:
        return ""
    burst = verdict.burst
    return (
        f"The burst of {burst['messages']:.0f} was sent in {burst['sent_seconds']} s, {burst['per_second']:.0f} a second, "
        f"and all its reports were in after {burst['final_seconds']} s.\n"
    )


def _shares(verdict: Verdict) -> str:
    """What each of several providers accepted."""
    if len(verdict.providers) < 2:
        return ""
    shares = (
        f"{name.capitalize()} accepted {figures['messages']} texts with {figures['requests']} requests"
        for name, figures in verdict.providers.items()
    )
    return f"{', and '.join(shares)}.\n"


def still_open(rows: Sequence[Entry], count: int) -> str:
    """The rows without a final status."""
    lines = [f"{count} rows have no final status after all this time:"]
    lines += [f"  since {row.at:%H:%M:%S}  {row.recipient}  {row.what}  {row.why}".rstrip() for row in rows[:_STUCK_SHOWN]]
    return "\n".join([*lines, f"  and {count - _STUCK_SHOWN} more"] if count > _STUCK_SHOWN else lines)


def page_lines(pages: Mapping[str, str]) -> list[str]:
    """The addresses of the pages for a browser."""
    return [f"{name[:1].upper()}{name[1:]}: {address}" for name, address in pages.items()]


def invitation(stack: LocalStack, folder: str, pages: Mapping[str, str]) -> list[str]:
    """How to insert a row, and where to see it. These lines are for copying: only the terminal may wrap them."""
    psql = "psql" if which("psql") else shlex.quote(str(binaries.postgres_bin() / "psql"))
    api = f"curl {stack.url}/rest/v1/outbox -H 'apikey: {stack.secret_key}' -H 'content-type: application/json'"
    api += " -H 'prefer: return=representation'"
    return [
        "Now yours. Insert a row, as an app or with SQL, and watch it go:",
        f"{api} -d {shlex.quote(_ROW)}",
        f"{psql} {shlex.quote(stack.db_url)} -c {shlex.quote(_INSERT)}",
        *page_lines(pages),
        f"Table browser: {stack.url}/   Logs: {folder}",
        "For this machine alone: along with the table browser, the API answers those who have no key.",
    ]
