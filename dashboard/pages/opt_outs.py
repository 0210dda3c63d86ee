"""Opt-outs: the numbers that get no messages. Search, add, remove, import and export."""

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from dashboard.numbers import read_numbers, regions
from dashboard.visit import Visit
from jobs.gateway.browsing.suppressed import ListedSuppression, SuppressionPage
from jobs.gateway.operating import Operating, Suppression
from jobs.lists import opt_outs
from jobs.lists.csv_rows import NotATable
from jobs.lists.opt_outs import Reading
from jobs.runtime.masking import scrub
from jobs.runtime.phone import e164

_PAGE: Final = 50
_AT_ONCE: Final = 5000
_EXPORTED_AT_ONCE: Final = 1000
_LONGEST: Final = 200
_SHOWN_REFUSALS: Final = 50
_KINDS: Final = {"": None, "reply": True, "operator": False}


async def show(visit: Visit) -> Response:
    given = {name: visit.query.get(name, "").replace("\0", "").strip()[:_LONGEST] for name in ("number", "region", "reason")}
    kind = visit.query.get("by", "") if visit.query.get("by", "") in _KINDS else ""
    if not visit.is_operator:
        # A search by a part of a number or of a reason, or a page that begins at a number, would tell what is hidden.
        given |= dict.fromkeys(given, "")
    after = visit.query.get("after", "") if visit.is_operator else ""
    typed = read_numbers(given["number"], given["region"].upper() or None) if given["number"] else None
    problems = list(typed.problems) if typed else []
    exact = typed.recipients if typed else ()
    end = (typed.last_digits if typed else None) or ""
    pages = SuppressionPage((), None)
    if not problems:
        found = [
            await visit.operating.browsing.list_suppressions(
                number=wanted or None, reason=given["reason"] or None, replied=_KINDS[kind], after=_after(after), most=_PAGE
            )
            for wanted in exact or (end,)
        ]
        rows: Sequence[ListedSuppression] = [
            one for page in found for one in page.suppressions if not exact or one.recipient in exact
        ]
        pages = SuppressionPage(tuple(rows), None if exact else found[0].after)
    query = {**given, "by": kind}
    return visit.render(
        "opt_outs.html",
        title="Opt-outs",
        rows=pages.suppressions,
        given=query,
        notes=typed.notes if typed else (),
        problems=problems,
        regions=regions(),
        is_filtered=any(query.values()),
        is_later=bool(after),
        goes_on=pages.after is not None,
        older=visit.url("/opt-outs", **query, after=pages.after) if pages.after and visit.is_operator else None,
        removed=visit.query.get("removed") == "yes",
        added=visit.query.get("added", "") if visit.query.get("added", "").isdecimal() else "",
    )


async def ask_removal(visit: Visit) -> Response:
    """Ask first, then remove: the same address, so that no address names the number."""
    form = await visit.form()
    number = e164(form.get("number", ""))
    if number is None:
        raise HTTPException(400, "The form names no number.")
    if form.get("sure") != "yes":
        return visit.render("remove_opt_out.html", title="Remove from the opt-outs", phone=number)
    await visit.operating.browsing.lift_suppression(number)
    return visit.redirect("/opt-outs", removed="yes")


async def ask_import(visit: Visit) -> Response:
    return _import_page(visit, {}, None)


async def import_list(visit: Visit) -> Response:
    """Read the list and say what would happen; import it with ``sure``."""
    form = await visit.form()
    reason = form.get("reason", "").strip()[:_LONGEST]
    try:
        reading = opt_outs.read(io.StringIO(form.get("list", "").lstrip("\ufeff"), newline=""), reason=reason)
    except NotATable as error:
        return _import_page(visit, form, None, problem=scrub(f"The list cannot be read: {error}."))
    partial = form.get("partial") == "yes"
    if form.get("sure") != "yes" or not reading.suppressions or (reading.refused and not partial):
        numbers = [one.recipient for one in reading.suppressions]
        known = 0
        for first in range(0, len(numbers), _AT_ONCE):
            known += await visit.operating.browsing.known_suppressions(numbers[first : first + _AT_ONCE])
        return _import_page(visit, form, reading, known)
    added = 0
    for first in range(0, len(reading.suppressions), _AT_ONCE):
        added += await visit.operating.import_suppressions(reading.suppressions[first : first + _AT_ONCE])
    return visit.redirect("/opt-outs", added=added)


async def export_list(visit: Visit) -> Response:
    """All of them as CSV, which the import and `outbox suppressions import` read."""
    operating = visit.operating
    first = await operating.export_suppressions(after="", most=_EXPORTED_AT_ONCE)
    headers = {"content-disposition": 'attachment; filename="opt-outs.csv"'}
    return StreamingResponse(_lines(operating, first), headers=headers, media_type="text/csv; charset=utf-8")


async def _lines(operating: Operating, page: Sequence[Suppression]) -> AsyncIterator[str]:
    yield _csv([opt_outs.COLUMNS])
    while page:
        yield _csv([opt_outs.line_of(one) for one in page])
        page = await operating.export_suppressions(after=page[-1].recipient, most=_EXPORTED_AT_ONCE)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def _import_page(
    visit: Visit, form: Mapping[str, str], reading: Reading | None, known: int = 0, *, problem: str = ""
) -> Response:
    refused = reading.refused if reading else ()
    return visit.render(
        "import_opt_outs.html",
        title="Add opt-outs",
        given={name: form.get(name, "") for name in ("list", "reason", "partial")},
        problem=problem,
        reading=reading,
        known=known,
        refused=[(one.line, scrub(one.why)) for one in refused[:_SHOWN_REFUSALS]],
        more=max(len(refused) - _SHOWN_REFUSALS, 0),
        is_ready=reading is not None and bool(reading.suppressions) and (not refused or form.get("partial") == "yes"),
    )


def _after(given: str) -> str:
    return given if e164(given) == given else ""
