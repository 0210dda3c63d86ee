"""Delivery reports as JSON shapes. Polls and callbacks have the same content in the same form."""

from collections.abc import Callable

from msgspec import Struct

from sandbox.simulator.clock import iso
from sandbox.simulator.outcomes import STOPPED, Outcome, State
from sandbox.simulator.parts import measure
from sandbox.simulator.sinch.batches import Batch


class RecipientReport(Struct, kw_only=True, omit_defaults=True):
    """The state of one recipient."""

    at: str
    batch_id: str
    client_reference: str | None = None
    code: int
    number_of_message_parts: int | None = None
    operator_status_at: str | None = None
    recipient: str
    status: str
    type: str
    applied_originator: str | None = None


class StatusCount(Struct, kw_only=True, omit_defaults=True):
    """How many recipients of a batch have one code. Only full reports list the numbers."""

    code: int
    status: str
    count: int
    recipients: list[str] | None = None


class BatchReport(Struct, kw_only=True, omit_defaults=True):
    """The states of a batch."""

    type: str
    batch_id: str
    client_reference: str | None = None
    total_message_count: int
    statuses: list[StatusCount]


def recipient_report(batch: Batch, index: int, state: State) -> RecipientReport:
    """The report on one recipient. The operator's own time has no fractions of a second and only the carrier gives it."""
    carried = state.outcome.status not in STOPPED and state.outcome.code not in (400, 401)
    counted = batch.options.max_number_of_message_parts is not None
    return RecipientReport(
        at=iso(state.at),
        batch_id=batch.id,
        client_reference=batch.reference,
        code=state.outcome.code,
        number_of_message_parts=_parts(batch, index) if counted else None,
        operator_status_at=f"{iso(state.at)[:19]}Z" if carried else None,
        recipient=batch.recipients[index],
        status=state.outcome.status,
        type=f"recipient_delivery_report_{batch.report_suffix}",
    )


def batch_report(batch: Batch, now: int, *, full: bool, keep: Callable[[Outcome], bool] = lambda _: True) -> BatchReport:
    """Counts by code, with the recipients if ``full``, of the states that match the filter."""
    groups: dict[Outcome, list[str]] = {}
    if not batch.empty:
        for index, recipient in enumerate(batch.recipients):
            groups.setdefault(batch.life.state(index, now).outcome, []).append(recipient)
    return BatchReport(
        type=f"delivery_report_{batch.report_suffix}",
        batch_id=batch.id,
        client_reference=batch.reference,
        total_message_count=0 if batch.empty else len(batch.recipients),
        statuses=[
            StatusCount(code=outcome.code, status=outcome.status, count=len(numbers), recipients=numbers if full else None)
            for outcome, numbers in groups.items()
            if keep(outcome)
        ],
    )


def _parts(batch: Batch, index: int) -> int:
    text = batch.texts.of(batch.recipients[index])
    return measure(batch.texts.body if text is None else text).parts
