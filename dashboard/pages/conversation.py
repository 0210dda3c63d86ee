"""What passed between us and one number. The address names a message or a reply, and never the number."""

from typing import Final

from starlette.responses import Response

from dashboard.visit import Visit, not_found
from dashboard.words import status
from jobs.runtime.phone import e164

_PAGE: Final = 50
_MOST_ID: Final = 2**63 - 1
_LONGEST: Final = 300
_EFFECTS: Final = {"stop": "opt-out", "start": "opt-in", "help": "help"}


async def show(visit: Visit) -> Response:
    return await _page(visit, with_texts=False)


async def show_texts(visit: Visit) -> Response:
    """The same page with the texts that are not secret. The database records who read them."""
    return await _page(visit, with_texts=True)


async def _page(visit: Visit, *, with_texts: bool) -> Response:
    names = {name: visit.query.get(name, "").replace("\0", "")[:_LONGEST] for name in ("message", "reply")}
    phone = await _phone(visit, **names)
    if (number := e164(phone)) is None:
        raise not_found("The sender of this reply is no phone number, so there is no conversation with it.")
    before = visit.query.get("before") or None
    found = await visit.operating.browsing.conversation(number, _cursor(before), _PAGE, texts=with_texts)
    return visit.render(
        "conversation.html",
        title="Conversation",
        phone=number,
        entries=[(one, _tone(one.message.status) if one.message else "off") for one in reversed(found.entries)],
        effects=_EFFECTS,
        with_texts=with_texts,
        again=visit.url("/conversation", **names, before=before),
        newest=visit.url("/conversation", **names) if before else None,
        older=None if found.before is None else visit.url("/conversation", **names, before=found.before),
    )


async def _phone(visit: Visit, *, message: str, reply: str) -> str:
    if reply:
        found = await visit.operating.browsing.find_reply(reply)
        if found is None:
            raise not_found("There is no reply with this id.")
        return found.sender
    is_one = message.isascii() and message.isdecimal() and len(message) <= len(str(_MOST_ID))
    number = int(message) if is_one else 0
    trace = await visit.operating.trace(number, show_body=False) if 0 < number <= _MOST_ID else None
    if trace is None:
        raise not_found("There is no message with this id. Retention removes messages after a while.")
    return str(trace.message["recipient"])


def _cursor(before: str | None) -> str | None:
    return before if before is None or (len(before) < _LONGEST * 2 and before.startswith("{") and "\0" not in before) else None


def _tone(name: str) -> str:
    return status(name).tone
