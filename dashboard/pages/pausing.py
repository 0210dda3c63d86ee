"""Pausing and resuming a plan. Each begins with a page that says what happens, so that it works without JavaScript."""

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard.visit import Visit
from jobs.gateway import pause_words
from jobs.gateway.seen import RESTORED
from jobs.gateway.status import Pause
from jobs.providers import registry

DURATIONS: Final = {"": "until someone resumes it", "900": "15 minutes", "3600": "1 hour", "14400": "4 hours", "86400": "1 day"}
_LONGEST_NAME: Final = 200
_LONGEST_REASON: Final = 500


async def ask_pause(visit: Visit) -> Response:
    provider, plan = _named(visit.query)
    return visit.render("pause.html", title=_title("Pause", provider, plan), provider=provider, plan=plan, durations=DURATIONS)


async def pause(visit: Visit) -> Response:
    form = await visit.form()
    provider, plan = _named(form)
    seconds = form.get("seconds", "")
    if seconds not in DURATIONS:
        raise HTTPException(400, "The duration is not one of the list.")
    reason = form.get("reason", "").strip()[:_LONGEST_REASON]
    await visit.operating.pause(
        provider=provider, plan=plan, until=None, seconds=float(seconds) if seconds else None, reason=reason or None
    )
    return visit.redirect("/")


async def ask_resume(visit: Visit) -> Response:
    provider, plan = _named(visit.query)
    pauses = [one for one in (await visit.operating.status()).pauses if _is_of(one, provider, plan)]
    return visit.render(
        "resume.html",
        title=_title("Resume", provider, plan),
        provider=provider,
        plan=plan,
        pauses=[(one, pause_words.cause(one), pause_words.end(one)) for one in pauses],
        has_restored=any(one.kind == RESTORED for one in pauses),
        has_automatic=any(one.kind not in ("operator", RESTORED) for one in pauses),
    )


async def resume(visit: Visit) -> Response:
    form = await visit.form()
    provider, plan = _named(form)
    await visit.operating.resume(provider=provider, plan=plan, force=form.get("force") == "yes")
    return visit.redirect("/")


def _named(given: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The provider and the plan, none for all plans. Raises HTTPException for names that cannot be."""
    provider, plan = given.get("provider") or None, given.get("plan") or None
    if (provider is None) != (plan is None) or (provider is not None and provider not in registry.names()):
        raise HTTPException(400, "The address names no plan.")
    if len(plan or "") > _LONGEST_NAME:
        raise HTTPException(400, "The address names no plan.")
    return provider, plan


def _is_of(pause: Pause, provider: str | None, plan: str | None) -> bool:
    return provider is None or (pause.provider, pause.plan) == (provider, plan)


def _title(act: str, provider: str | None, plan: str | None) -> str:
    return f"{act} all plans" if plan is None else f"{act} {provider} {plan}"
