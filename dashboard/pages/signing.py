"""Signing in and out."""

from collections.abc import Mapping

from starlette.responses import RedirectResponse, Response

from dashboard.signing_in.door import TooManyFailures
from dashboard.signing_in.ways import NotAdmitted
from dashboard.visit import Visit


async def ask(visit: Visit) -> Response:
    """The form. Where the dashboard prints addresses, the token in one signs in at once."""
    if visit.person is not None:
        return RedirectResponse(visit.own(visit.query.get("next")), 303)
    # HEAD asks what GET would answer, and uses no token up.
    if visit.services.door.has_links and "token" in visit.query and visit.request.method == "GET":
        return await _enter(visit, visit.query, visit.query.get("next"))
    return _form(visit, visit.query.get("next"))


async def sign_in(visit: Visit) -> Response:
    form = await visit.form()
    return await _enter(visit, form, form.get("next"))


async def sign_out(visit: Visit) -> Response:
    response = visit.redirect("/sign-in")
    visit.services.door.leave(visit.request, response)
    return response


async def _enter(visit: Visit, given: Mapping[str, str], then: str | None) -> Response:
    door = visit.services.door
    try:
        person = await door.enter(visit.request, given)
    except TooManyFailures as error:
        return _form(visit, then, str(error), status=429)
    except NotAdmitted as error:
        return _form(visit, then, str(error), status=401, email=given.get("email", ""))
    response = RedirectResponse(visit.own(then), 303)
    door.keep(visit.request, response, person)
    return response


def _form(visit: Visit, then: str | None, problem: str = "", *, status: int = 200, email: str = "") -> Response:
    way = visit.services.door.way
    return visit.render(
        "sign_in.html",
        title="Sign in",
        status=status,
        fields=way.fields,
        advice=way.advice,
        problem=problem,
        email=email,
        then=visit.own(then),
    )
