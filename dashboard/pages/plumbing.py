"""What is no screen: static files, the theme, health, and the stream of changes."""

from typing import Final

from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from dashboard.static_files import static_files
from dashboard.visit import THEME_COOKIE, THEMES, Visit, not_found

_YEAR_SECONDS: Final = 31_536_000


async def static(visit: Visit) -> Response:
    """A file below ``static/``. No other file can be named."""
    found = static_files().get(visit.request.path_params["name"])
    if found is None:
        raise not_found("There is no such file.")
    is_current = visit.query.get("v") == found.digest
    kept = f"public, max-age={_YEAR_SECONDS}, immutable" if is_current else "no-cache"
    return Response(found.content, media_type=found.kind, headers={"cache-control": kept})


async def choose_theme(visit: Visit) -> Response:
    form = await visit.form()
    response = RedirectResponse(visit.own(form.get("back")), 303)
    chosen = form.get("theme", "")
    if chosen in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            chosen,
            max_age=_YEAR_SECONDS,
            path=visit.root or "/",
            secure=visit.services.door.proxies.is_https(visit.request),
            httponly=True,
            samesite="lax",
        )
    return response


async def alive(_visit: Visit) -> Response:
    return PlainTextResponse("alive\n")


async def watch(visit: Visit) -> Response:
    """The stream of changes (server-sent events)."""
    live = visit.services.live
    if live.is_full:
        return PlainTextResponse("too many people watch\n", 503, headers={"retry-after": "30"})
    headers = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
    return StreamingResponse(live.stream(), media_type="text/event-stream", headers=headers)
