"""Replies: what recipients wrote, and decisions about those that may be opt-outs."""

from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from dashboard import forms
from dashboard.visit import Visit, not_found
from jobs.gateway.replies import Reply

_PAGE: Final = 50
_MOST_DECIDED: Final = 500
_LONGEST_ID: Final = 300
OUTCOMES: Final = {
    "missing": "There is no such reply any more.",
    "opted_out": "Opted out: the number gets no more messages.",
    "superseded": "Not suppressed: a START or an operator's decision came after this reply.",
    "dismissed": "No opt-out. Nothing else changed.",
    "no_number": "Its sender is no phone number, so nothing can be suppressed.",
    "is_opt_out": "It is an opt-out already. Remove the number from the opt-outs to lift that.",
    "not_unclear": "It waits for no decision.",
}
_WOULD: Final = {
    "opted_out": "Would opt the number out, unless a START or an operator's decision came later.",
    "dismissed": "Would count as no opt-out.",
}
_EFFECTS: Final = {"stop": ("opt-out", "bad"), "start": ("opt-in", "good"), "help": ("help", "go")}


@dataclass(frozen=True, slots=True)
class Row:
    """A reply as the list shows it."""

    reply: Reply
    words: str
    tone: str


async def show(visit: Visit) -> Response:
    return await _list(visit, with_texts=False)


async def show_texts(visit: Visit) -> Response:
    """The same page with texts. The database records who read them."""
    return await _list(visit, with_texts=True)


async def decide(visit: Visit) -> Response:
    """Decide one reply at once; ask first for several."""
    fields = await forms.fields_of(visit.request)
    ids = list(dict.fromkeys(value for name, value in fields if name == "id" and 0 < len(value) <= _LONGEST_ID))
    form = dict(fields)
    act = form.get("act", "")
    if act not in {"opt-out", "no"} or "\0" in "".join(ids):
        raise HTTPException(400, "The form says neither opt-out nor no.")
    if not ids:
        raise HTTPException(400, "No reply was selected. Go back, and select those that you want to decide.")
    if len(ids) > _MOST_DECIDED:
        raise HTTPException(400, f"At most {_MOST_DECIDED} replies are decided at once.")
    asks = len(ids) > 1 and form.get("sure") != "yes"
    found = await visit.operating.decide_replies(ids, opt_out=act == "opt-out", dry_run=asks)
    words = OUTCOMES | _WOULD if asks else OUTCOMES
    return visit.render(
        "decisions.html",
        title="Decide replies" if asks else "Decided",
        asks=asks,
        act=act,
        ids=ids,
        decisions=[(one, words.get(one.outcome, one.outcome)) for one in found],
        done=sum(one.done for one in found),
    )


async def _list(visit: Visit, *, with_texts: bool) -> Response:
    unclear = visit.query.get("unclear") == "yes"
    before = await _before(visit)
    ask = visit.operating.browsing.show_replies if with_texts else visit.operating.list_replies
    found = await ask(unclear=unclear, before=before, most=_PAGE + 1)
    waiting: tuple[Reply, ...] = ()
    if not unclear and before is None:
        # Those that wait for a decision come first, whatever their age.
        waiting = await ask(unclear=True, before=None, most=_PAGE)
    page = found[:_PAGE]
    known = {one.id for one in waiting}
    query = {"unclear": "yes"} if unclear else {}
    return visit.render(
        "replies.html",
        title="Replies",
        unclear=unclear,
        with_texts=with_texts,
        waiting=[_row(one) for one in (page if unclear else waiting)],
        rows=[] if unclear else [_row(one) for one in page if one.id not in known],
        again=visit.url("/replies/texts", **query, before=visit.query.get("before")),
        is_later=before is not None,
        older=visit.url("/replies", **query, before=page[-1].id) if len(found) > _PAGE else None,
    )


async def _before(visit: Visit) -> Reply | None:
    given = visit.query.get("before", "")
    if not given or len(given) > _LONGEST_ID or "\0" in given:
        return None
    found = await visit.operating.browsing.find_reply(given)
    if found is None:
        raise not_found("The reply at which this page begins is gone. Go back to the newest ones.")
    return found


def _row(reply: Reply) -> Row:
    if reply.unclear:
        return Row(reply, "unclear", "warn")
    words, tone = _EFFECTS.get(reply.effect or "", (reply.effect or "other", "off"))
    return Row(reply, f"{words}, decided" if reply.decided_at else words, tone)
