"""Check 8: Supabase Auth may call its hook, and the hook answers in time. Auth gives it two seconds."""

from collections.abc import Sequence
from typing import Final

from jobs.examining.findings import Finder, Finding
from jobs.gateway.doctor import AuthHook, HookAnswer
from jobs.runtime.counts import counted
from scheduler.doctor.installation import Installation

find = Finder("auth")
_SLOW_SECONDS: Final = 0.5
_PHONE: Final = "+12025550100"
"""Reserved for fiction. Nothing is sent to it: the trial is rolled back."""
_AUTH_LIMIT: Final = 30
"""Texts an hour, as a project of Supabase has it until it is changed."""


async def look(installation: Installation) -> Sequence[Finding]:
    facts = await installation.facts()
    if facts.auth is None:
        return [find.skipped("no role supabase_auth_admin, so Auth calls no hook here; `outbox local` has no sign-in by phone")]
    if not facts.auth.may_call:
        return [
            find.failed(
                "supabase_auth_admin may not execute public.outbox_send_sms",
                "run `select outbox_engine.seed();` in the SQL editor, which grants it",
            )
        ]
    return [judge(await installation.connection.examination.try_auth_hook(_PHONE)), *limit(facts.auth)]


def judge(answer: HookAnswer) -> Finding:
    """The answer to an event with a reserved number of the United States. A refusal of that country is an answer, too."""
    took = f"in {answer.seconds * 1000:.0f} ms"
    if answer.error is not None:
        return find.failed(f"outbox_send_sms fails: {answer.error}", "`outbox schema status`, and see schema above")
    if answer.status is not None and answer.status not in (422, 429):
        return find.failed(f"outbox_send_sms answers {answer.status}: {answer.message}", "see docs/auth.md")
    if answer.seconds > _SLOW_SECONDS:
        return find.warning(f"outbox_send_sms answers {took}; Auth waits for two seconds", "see storage below")
    if answer.status == 429:
        return find.warning(f"outbox_send_sms reached a cap: {answer.message}", "raise it in outbox_auth_settings")
    if answer.status == 422:
        return find.ok(f"outbox_send_sms answers {took}; codes to numbers of the United States are not allowed")
    return find.ok(f"outbox_send_sms takes a code {took}; the trial was rolled back")


def limit(auth: AuthHook) -> Sequence[Finding]:
    """Auth stops at its own limit, which looks like an outbox that stopped."""
    if auth.codes_of_the_hour < _AUTH_LIMIT:
        return []
    found = f"{counted(auth.codes_of_the_hour, 'code')} in the last hour; Auth sends {_AUTH_LIMIT} unless its limit is raised"
    return [find.warning(found, "Authentication → Rate Limits in the dashboard, or rate_limit_sms_sent")]
