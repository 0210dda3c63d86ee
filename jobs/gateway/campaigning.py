"""The calls an operator makes about campaigns. The rules are in `supabase/schemas`."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway import values
from jobs.gateway.rpc import Rpc


@dataclass(frozen=True, slots=True)
class Listed:
    """A campaign in the list.

    ``next_at`` is when its next message goes out, of a draft or a paused one if it were started now. ``waiting`` messages are
    in the outbox and not sent yet; they come into it about a minute before they are due.
    """

    name: str
    status: str
    schedule: str
    template: str
    next_at: datetime | None
    members: int
    waiting: int
    spent_parts: int


@dataclass(frozen=True, slots=True)
class Coming:
    """A message to come, or the ``problem`` why not. ``local_time`` is the recipient's wall clock at ``send_at``, if known."""

    external_id: str
    recipient: str
    send_at: datetime | None
    local_time: datetime | None
    body: str | None
    parts: int | None
    country: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """So many messages, and the parts they take, of one ``name``: a country or a reason. None is a country nobody knows."""

    name: str | None
    messages: int
    parts: int = 0


@dataclass(frozen=True, slots=True)
class Odd:
    """A character for which so many texts leave GSM-7, though their template does not; ``external_id`` is one of the members.

    ``replaceable`` where the template's ``plain`` would put another in its place.
    """

    character: str
    replaceable: bool
    messages: int
    external_id: str


@dataclass(frozen=True, slots=True)
class AbbreviatedZone:
    """Members in a zone without summer time, whose name people say for the clock of a ``place`` that has it."""

    zone: str
    place: str
    members: int


@dataclass(frozen=True, slots=True)
class Costs:
    """What is to come of one stretch of members, by country, and what is not, by problem.

    It is as if the campaign ran from now on, unless its ``status`` is ended.

    ``warning`` is the template's, and ``odd`` where not all its texts leave GSM-7, but some. ``countries_told`` are the lists
    of countries that the running processes go by, None for all: none where no process ever ran, several where they disagree.
    """

    status: str
    schedule: str
    members: int
    countries_told: tuple[tuple[str, ...] | None, ...]
    countries: tuple[Counted, ...]
    problems: tuple[Counted, ...]
    template: str
    warning: str | None
    odd: tuple[Odd, ...]
    abbreviated_zones: tuple[AbbreviatedZone, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """A campaign after its status was set. ``sending`` messages are in a request, which nobody calls back."""

    was: str
    status: str
    cancelled: int
    waiting: int
    sending: int


@dataclass(frozen=True, slots=True)
class Step:
    """Messages sent within one step of the timeline, and what became of them."""

    at: datetime
    sent: int
    delivered: int
    failed: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages that ended otherwise than delivered, by status and reason."""

    status: str
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a campaign, messages older than retention included.

    ``skipped`` times became no message; ``forgotten`` messages were pruned after their campaign was deleted. ``timeline`` has
    every step from the first to the last, those without a message too.
    """

    campaign: str
    status: str
    sent: int
    opted_out: int
    forgotten: int
    statuses: Mapping[str, int]
    undelivered: tuple[Undelivered, ...]
    skipped: tuple[Counted, ...]
    countries: tuple[Counted, ...]
    step_seconds: float | None
    timeline: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """What a campaign's members consist of: its template's ``placeholders``, and those ``required`` for want of a default.

    ``zone_needed_by`` is what of the campaign needs a time zone that only the members can give, None where nothing does.
    """

    template: str
    placeholders: tuple[str, ...]
    required: tuple[str, ...]
    needs_event: bool
    zone_needed_by: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A member as a file gives it. ``event_at`` is ISO 8601, without an offset where the member's wall clock is meant."""

    number: int
    external_id: str
    recipient: str
    timezone: str
    event_at: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that cannot become a member."""

    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to, or would."""

    added: int
    changed: int
    unchanged: int


class Campaigning:
    """What operators ask about campaigns. Every method but :meth:`costs` is one call; all raise as those of the gateway do."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def list(self) -> tuple[Listed, ...]:
        """All campaigns, by name."""
        answer = await self._rpc.call("outbox_list_campaigns", {})
        return tuple(Listed(**{**row, "next_at": values.moment(row["next_at"])}) for row in answer)

    async def preview(self, campaign: str, *, most: int) -> tuple[Coming, ...]:
        """The first messages to come, if the campaign ran from now on."""
        answer = await self._rpc.call("outbox_preview_campaign", {"campaign": campaign, "max_rows": most})
        return tuple(
            Coming(**{**row, "send_at": values.moment(row["send_at"]), "local_time": values.moment(row["local_time"])})
            for row in answer
        )

    async def costs(self, campaign: str, *, stretch: int = 2000) -> AsyncIterator[Costs]:
        """What all that is to come takes, a stretch of members at a time."""
        after: str | None = ""
        while after is not None:
            answer = await self._rpc.call(
                "outbox_campaign_costs", {"p_campaign": campaign, "p_after": after, "p_most": stretch}
            )
            yield Costs(
                status=answer["status"],
                schedule=answer["schedule"],
                members=answer["members"],
                countries_told=tuple(None if told is None else tuple(told) for told in answer["countries_told"]),
                countries=_countries(answer),
                problems=_problems(answer["problems"], "problem"),
                template=answer["template"],
                warning=answer["warning"],
                odd=tuple(Odd(**row) for row in answer["beyond_gsm7"]),
                abbreviated_zones=tuple(AbbreviatedZone(**row) for row in answer["abbreviated_zones"]),
            )
            after = answer["next"]

    async def switch(self, campaign: str, status: str, *, most: int = 5000) -> Switched:
        """Set a campaign's status. Of an ended one, at most so many waiting messages are cancelled a call."""
        answer = await self._rpc.call("outbox_switch_campaign", {"p_campaign": campaign, "p_status": status, "p_most": most})
        return Switched(**answer)

    async def report(self, campaign: str) -> Report:
        """What became of a campaign's messages so far."""
        answer = await self._rpc.call("outbox_campaign_report", {"p_campaign": campaign})
        return Report(
            **{
                **answer,
                "undelivered": tuple(Undelivered(**row) for row in answer["undelivered"]),
                "skipped": _problems(answer["skipped"], "reason"),
                "countries": _countries(answer),
                "timeline": tuple(Step(**{**row, "at": values.instant(row["at"])}) for row in answer["timeline"]),
            }
        )

    # Importing

    async def form(self, campaign: str) -> Form:
        """What members of a campaign must bring along. Refused where it takes none."""
        answer = await self._rpc.call("outbox_member_form", {"p_campaign": campaign})
        lists = {key: tuple(answer[key]) for key in ("placeholders", "required")}
        return Form(**{**answer, **lists})

    async def stage(self, import_id: str, campaign: str, lines: Sequence[Line]) -> tuple[RefusedLine, ...]:
        """Check some lines and keep those that are right. Answers the others."""
        answer = await self._rpc.call(
            "outbox_stage_members",
            {
                "p_import_id": import_id,
                "p_campaign": campaign,
                "p_lines": [line.number for line in lines],
                "p_external_ids": [line.external_id for line in lines],
                "p_recipients": [line.recipient for line in lines],
                "p_timezones": [line.timezone for line in lines],
                "p_event_ats": [line.event_at for line in lines],
                "p_parameters": [json.dumps(line.parameters, ensure_ascii=False) for line in lines],
            },
        )
        return tuple(RefusedLine(row["line"], row["problem"]) for row in answer)

    async def commit_import(self, import_id: str, *, dry_run: bool) -> Imported:
        """Make all staged lines members, in one transaction; or say what that would come to."""
        return Imported(**await self._rpc.call("outbox_commit_import", {"p_import_id": import_id, "p_dry_run": dry_run}))

    async def discard_import(self, import_id: str) -> None:
        """Forget what was staged."""
        await self._rpc.call("outbox_discard_import", {"p_import_id": import_id})


def _countries(answer: Mapping[str, Any]) -> tuple[Counted, ...]:
    return tuple(Counted(row["country"], row["messages"], row["parts"] or 0) for row in answer["countries"])


def _problems(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Counted, ...]:
    return tuple(Counted(row[key], row["messages"]) for row in rows)
