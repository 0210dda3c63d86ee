"""The calls that an operator makes about campaigns. The rules are in `supabase/schemas`."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway import values
from jobs.gateway.rpc import Rpc


@dataclass(frozen=True, slots=True)
class Listed:
    """A campaign in the list.

    ``next_at`` is when its next message goes out; for a draft or a paused campaign, if it were started now. ``waiting``
    messages are in the outbox and not sent yet. They are inserted about a minute before they are due.
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
class PreviewRow:
    """A message of the preview, or the ``problem`` that prevents it.

    ``local_time`` is the recipient's wall clock at ``send_at``, None if the zone is unknown.
    """

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
    """The number of messages and of their parts for one ``name``: a country or a reason. None is an unknown country."""

    name: str | None
    messages: int
    parts: int = 0


@dataclass(frozen=True, slots=True)
class NonGsmCharacter:
    """A character outside GSM-7 that parameters bring into so many texts. ``external_id`` is one of the members.

    ``replaceable``: the template's ``plain`` would replace it with a similar character.
    """

    character: str
    replaceable: bool
    messages: int
    external_id: str


@dataclass(frozen=True, slots=True)
class AbbreviatedZone:
    """Members in a zone without summer time whose name often stands for the clock of a ``place`` that has it."""

    zone: str
    place: str
    members: int


@dataclass(frozen=True, slots=True)
class Costs:
    """The messages of one stretch of members by country, and the prevented ones by problem, if the campaign ran from now on.

    ``warning`` is the template's own. ``beyond_gsm7`` are characters of parameters that make some texts longer.
    ``process_countries`` are the allowed countries of the running processes, None for all countries: it is empty if no process
    ever ran, and has several items if processes disagree.
    """

    status: str
    schedule: str
    members: int
    process_countries: tuple[tuple[str, ...] | None, ...]
    countries: tuple[Counted, ...]
    problems: tuple[Counted, ...]
    template: str
    warning: str | None
    beyond_gsm7: tuple[NonGsmCharacter, ...]
    abbreviated_zones: tuple[AbbreviatedZone, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """A campaign after its status was set. ``sending`` messages are in a request, which cannot be called back."""

    was: str
    status: str
    cancelled: int
    waiting: int
    sending: int


@dataclass(frozen=True, slots=True)
class Step:
    """Messages sent within one step of the timeline, and how many of them were delivered or failed."""

    at: datetime
    sent: int
    delivered: int
    failed: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages that ended without being delivered, with one status and reason."""

    status: str
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a campaign, including messages older than retention.

    ``skipped`` occurrences became no message. ``forgotten`` messages were pruned after their campaign was deleted. ``timeline``
    has every step from the first to the last, including those without a message.
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
    """What a campaign's members have: its template's ``placeholders``; those without a default are ``required``.

    ``zone_needed_by`` names the campaign's setting that needs a time zone from each member, None if none does.
    """

    template: str
    placeholders: tuple[str, ...]
    required: tuple[str, ...]
    needs_event: bool
    zone_needed_by: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A member as a file gives it. ``event_at`` is ISO 8601; without an offset it is the member's wall clock."""

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
    """The result of an import, or of its dry run."""

    added: int
    changed: int
    unchanged: int


class Campaigning:
    """The operator's calls about campaigns. Each method except :meth:`costs`, :meth:`end` and :meth:`report` is one call.

    It raises :class:`jobs.gateway.errors.GatewayUnavailable` or :class:`jobs.gateway.errors.GatewayRefused`.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def list(self) -> tuple[Listed, ...]:
        """All campaigns, by name."""
        answer = await self._rpc.call("outbox_list_campaigns", {})
        return tuple(Listed(**{**row, "next_at": values.moment(row["next_at"])}) for row in answer)

    async def preview(self, campaign: str, *, most: int) -> tuple[PreviewRow, ...]:
        """The first ``most`` messages, if the campaign ran from now on."""
        return _preview(await self._rpc.call("outbox_preview_campaign", {"campaign": campaign, "max_rows": most}))

    async def show_preview(self, campaign: str, *, most: int) -> tuple[PreviewRow, ...]:
        """As :meth:`preview`. The audit records that the texts were read."""
        return _preview(await self._rpc.call("outbox_show_preview", {"p_campaign": campaign, "p_most": most}))

    async def costs(self, campaign: str, *, stretch: int = 2000) -> AsyncIterator[Costs]:
        """The messages and parts that the campaign takes, one stretch of members at a time."""
        after: str | None = ""
        while after is not None:
            answer = await self._rpc.call(
                "outbox_campaign_costs", {"p_campaign": campaign, "p_after": after, "p_most": stretch}
            )
            yield Costs(
                status=answer["status"],
                schedule=answer["schedule"],
                members=answer["members"],
                process_countries=tuple(None if one is None else tuple(one) for one in answer["process_countries"]),
                countries=_countries(answer),
                problems=_problems(answer["problems"], "problem"),
                template=answer["template"],
                warning=answer["warning"],
                beyond_gsm7=tuple(NonGsmCharacter(**row) for row in answer["beyond_gsm7"]),
                abbreviated_zones=tuple(AbbreviatedZone(**row) for row in answer["abbreviated_zones"]),
            )
            after = answer["next"]

    async def switch(self, campaign: str, status: str, *, most: int = 5000) -> Switched:
        """Set a campaign's status. For ``ended``, one call cancels at most ``most`` waiting messages."""
        answer = await self._rpc.call("outbox_switch_campaign", {"p_campaign": campaign, "p_status": status, "p_most": most})
        return Switched(**answer)

    async def end(self, campaign: str) -> Switched:
        """End a campaign for good, and cancel its waiting messages: as many calls as that takes."""
        switched = first = await self.switch(campaign, "ended")
        cancelled = first.cancelled
        while switched.waiting and switched.cancelled:
            switched = await self.switch(campaign, "ended")
            cancelled += switched.cancelled
        return Switched(first.was, switched.status, cancelled, switched.waiting, switched.sending)

    async def report(self, campaign: str, *, stretch: int = 20_000, progress: Callable[[int], None] = lambda _: None) -> Report:
        """The results of a campaign's messages so far, read one ``stretch`` of occurrences at a time.

        After each stretch, ``progress`` is called with the number of occurrences that were counted so far.
        """
        state, answer = None, None
        while answer is None:
            page = await self._rpc.call(
                "outbox_read_campaign_report", {"p_campaign": campaign, "p_state": state, "p_most": stretch}
            )
            state, answer = json.dumps(page["state"]), page["report"]
            progress(page["read"])
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

    async def member_form(self, campaign: str) -> Form:
        """What members of a campaign must have. Raises GatewayRefused if the campaign takes no members."""
        answer = await self._rpc.call("outbox_member_form", {"p_campaign": campaign})
        lists = {key: tuple(answer[key]) for key in ("placeholders", "required")}
        return Form(**{**answer, **lists})

    async def stage_members(self, import_id: str, campaign: str, lines: Sequence[Line]) -> tuple[RefusedLine, ...]:
        """Check some lines and keep the valid ones. Returns the others."""
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

    async def count_import(self, import_id: str) -> Imported:
        """The result that :meth:`write_members` would have in the end."""
        return Imported(**await self._rpc.call("outbox_commit_import", {"p_import_id": import_id, "p_dry_run": True}))

    async def write_members(self, import_id: str, *, most: int) -> tuple[Imported, bool]:
        """Make the next ``most`` staged lines members. Returns the result so far, and whether any lines are left."""
        answer = await self._rpc.call("outbox_write_members", {"p_import_id": import_id, "p_most": most})
        left: bool = answer.pop("left")
        return Imported(**answer), left

    async def discard_import(self, import_id: str) -> None:
        """Forget the staged lines."""
        await self._rpc.call("outbox_discard_import", {"p_import_id": import_id})


def _preview(rows: Sequence[Mapping[str, Any]]) -> tuple[PreviewRow, ...]:
    return tuple(
        PreviewRow(**{**row, "send_at": values.moment(row["send_at"]), "local_time": values.moment(row["local_time"])})
        for row in rows
    )


def _countries(answer: Mapping[str, Any]) -> tuple[Counted, ...]:
    return tuple(Counted(row["country"], row["messages"], row["parts"] or 0) for row in answer["countries"])


def _problems(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Counted, ...]:
    return tuple(Counted(row[key], row["messages"]) for row in rows)
