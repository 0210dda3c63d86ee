"""The page that says what went wrong, without a traceback."""

from typing import Final

from starlette.responses import Response

from dashboard.visit import Visit
from jobs.gateway.errors import FunctionMissing, GatewayError, GatewayRefused, KeyNotAccepted
from jobs.runtime.masking import scrub
from jobs.runtime.times import all_in_utc

_TITLES: Final = {
    400: "Something is missing or wrong",
    403: "You may not do this",
    404: "There is no such page",
    405: "This page does not do that",
    413: "The form is too long",
    415: "The form cannot be read",
    503: "The database does not answer",
}
_ADVICE: Final = {
    403: "Viewers read. Operators act: sign in as one.",
    404: "The address may be wrong, or the message may be older than the retention.",
    405: "Go back, and use the buttons of the page.",
    500: "The log of the dashboard says more.",
    503: "The page asks again by itself. `outbox health --ready` says more.",
}


def show_error(visit: Visit, status: int, words: str = "", *, live: bool = False) -> Response:
    """A page for this status. ``words`` say what is wrong."""
    title = _TITLES.get(status, "Something went wrong")
    return visit.render(
        "error.html", title=title, status=status, live=live, words=words or _ADVICE.get(status, ""), code=status
    )


def show_refusal(visit: Visit, error: GatewayRefused) -> Response:
    """The database refuses the values that were given."""
    words = str(error).partition(": ")[2] + (f". {error.hint}" if error.hint else "")
    return visit.render("error.html", title="The database refuses this", status=422, words=scrub(all_in_utc(words)), code=422)


def show_slow(visit: Visit) -> Response:
    """The database did not answer within the time that a page waits."""
    seconds = f"{visit.services.reading_seconds:g} seconds"
    words = f"A page waits {seconds} for it. Choose a shorter time or a narrower filter, or load the page again."
    return visit.render("error.html", title="The database takes too long", status=503, words=words, code=503)


def show_failure(visit: Visit, error: GatewayError) -> Response:
    """Supabase is away, or not as this dashboard needs it. The page is asked for again as soon as that changes."""
    match error:
        case KeyNotAccepted():
            words = "Supabase does not accept the key of the dashboard. Check SUPABASE_SECRET_KEY."
        case FunctionMissing():
            words = "The database has no such function. Run outbox install and supabase db push."
        case _:
            words = _ADVICE[503]
    return show_error(visit, 503, words, live=visit.person is not None)
