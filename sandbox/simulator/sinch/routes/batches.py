"""``/batches``: send, list, count, read, change, cancel."""

from msgspec import Struct

from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.parts import measure
from sandbox.simulator.sinch.batches import REMEMBERED, Batch, BatchView
from sandbox.simulator.sinch.errors import Refuse, forbidden, unknown, violation
from sandbox.simulator.sinch.numbers import recipients
from sandbox.simulator.sinch.plans import Plan
from sandbox.simulator.sinch.provider import Sinch
from sandbox.simulator.sinch.routes.paging import commas, whole_number, window
from sandbox.simulator.sinch.texts import Texts
from sandbox.simulator.sinch.wanted import Feedback, Options, Send, Update, check_options, check_send, read


class BatchPage(Struct, kw_only=True):
    """One page of the list. ``page_size`` is the number returned, not the number asked for."""

    page: int
    page_size: int
    count: int
    batches: list[BatchView]


class DryRunRecipient(Struct, kw_only=True):
    """The text that one recipient would get."""

    recipient: str
    number_of_parts: int
    body: str
    encoding: str


class DryRun(Struct, kw_only=True, omit_defaults=True):
    """The cost of a batch."""

    number_of_recipients: int
    number_of_messages: int
    per_recipient: list[DryRunRecipient] | None = None


def send(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    _need_json(call)
    batch = sinch.accept(plan, read(call.body, Send))
    return json_answer(201, batch.view(), accepted=len(batch.recipients))


def listing(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    now, query = sinch.clock.now(), call.query()
    asked = window(query, now)
    senders = frozenset(text.removeprefix("+") for text in commas(query, "from"))
    found = [
        batch
        for batch in plan.shelf.between(max(asked.start, now - REMEMBERED), asked.end, query.get("client_reference"))
        if batch.visible <= now and (not senders or batch.options.from_ in senders)
    ]
    page = [found[place].view() for place in asked.newest_first(len(found))]
    return json_answer(200, BatchPage(page=asked.page, page_size=len(page), count=len(found), batches=page))


def dry_run(_sinch: Sinch, plan: Plan, call: Call) -> Answer:
    _need_json(call)
    query, wanted = call.query(), read(call.body, Send)
    numbers = recipients(check_send(wanted))
    if not wanted.from_ and not plan.settings.default_originator:
        raise violation("from is required")
    shown = whole_number(query, "number_of_recipients", default=100, lowest=0, highest=1000)
    texts = Texts(wanted.body if isinstance(wanted.body, str) else str(wanted.body.get("message", "")), wanted.parameters)
    each = [_counted(number, texts, wanted) for number in numbers]
    return json_answer(
        200,
        DryRun(
            number_of_recipients=len(numbers),
            number_of_messages=sum(counted.number_of_parts for counted in each),
            per_recipient=each[:shown] if query.get("per_recipient", "").lower() == "true" else None,
        ),
    )


def get(_sinch: Sinch, plan: Plan, call: Call) -> Answer:
    return json_answer(200, batch_of(plan, call).view())


def update(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    _need_json(call)
    batch, wanted = batch_of(plan, call), read(call.body, Update)
    check_options(wanted)
    if batch.canceled is not None or batch.begun(sinch.clock.now()):
        raise forbidden("batch_already_dispatched", "The batch was dispatched or canceled and can no longer be changed")
    updated = sinch.update(plan, batch, _merged(batch.options, wanted), _changed_recipients(batch, wanted))
    return json_answer(200, updated.view())


def replace(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    _need_json(call)
    batch = sinch.accept(plan, read(call.body, Send), replaces=batch_of(plan, call))
    return json_answer(200, batch.view(), accepted=len(batch.recipients))


def cancel(sinch: Sinch, plan: Plan, call: Call) -> Answer:
    batch = batch_of(plan, call)
    sinch.cancel(plan, batch)
    return json_answer(200, batch.view())


def feedback(_sinch: Sinch, plan: Plan, call: Call) -> Answer:
    _need_json(call)
    batch, given = batch_of(plan, call), read(call.body, Feedback)
    if not batch.options.feedback_enabled:
        raise violation("the batch was sent without feedback_enabled")
    batch.feedback |= frozenset(recipients(given.recipients, "recipients"))
    return Answer(202)


def batch_of(plan: Plan, call: Call) -> Batch:
    """The batch that a path names. Raises 404."""
    batch = plan.shelf.by_id.get(call.parts[0])
    if batch is None:
        raise unknown()
    return batch


def _need_json(call: Call) -> None:
    if call.content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refuse(415)


def _counted(number: str, texts: Texts, wanted: Send) -> DryRunRecipient:
    text = texts.of(number)
    body = texts.body if text is None else text
    measured = measure(body)
    parts = 1 if wanted.truncate_concat or wanted.type == "mt_binary" else measured.parts
    return DryRunRecipient(recipient=number, number_of_parts=parts, body=body, encoding=measured.encoding)


def _merged(old: Options, new: Update) -> Options:
    """The stored fields, overridden by the given ones."""
    merged = Options()
    for name in Options.__struct_fields__:
        given = getattr(new, name)
        setattr(merged, name, getattr(old, name) if given is None else given)
    return merged


def _changed_recipients(batch: Batch, wanted: Update) -> tuple[str, ...]:
    """Added before removed, as the provider does it."""
    add, remove = wanted.to_add or wanted.old_add or [], wanted.to_remove or wanted.old_remove or []
    if len(add) > 100 or len(remove) > 100:
        raise violation("to_add and to_remove must hold at most 100 recipients")
    gone = frozenset(recipients(remove, "to_remove"))
    numbers = tuple(n for n in dict.fromkeys((*batch.recipients, *recipients(add, "to_add"))) if n not in gone)
    if not 1 <= len(numbers) <= 1000:
        raise violation("a batch must keep 1 to 1000 recipients")
    return numbers
