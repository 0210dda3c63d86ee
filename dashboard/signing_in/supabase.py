"""Signing in with an account of Supabase Auth, from the server: no token of Auth ever reaches the browser.

The role is ``app_metadata.outbox`` (``viewer`` or ``operator``), which only the server's key can write. Users write
``user_metadata`` themselves, so it counts for nothing.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import jwt
import structlog
from starlette.requests import Request

from dashboard.roles import Person, Role
from dashboard.signing_in.ways import NotAdmitted
from jobs.runtime.settings import SupabaseSettings
from jobs.runtime.tls import trust

log = structlog.get_logger()

_TIMEOUT_SECONDS: Final = 10.0
_FRESH_SECONDS: Final = 60.0
_MOST_KNOWN: Final = 1000
_ROLES: Final = {"viewer": Role.VIEWER, "operator": Role.OPERATOR}
_WRONG: Final = "The e-mail address, the password or the code is wrong."
_AWAY: Final = "Supabase Auth does not answer. Try again in a moment."


class SupabaseWay:
    """Asks the project's Auth. ``require_mfa`` admits only sign-ins with a second factor (``aal2``)."""

    advice: Final = ""
    fields: Final[tuple[str, ...]] = ("email", "password", "code")

    def __init__(
        self,
        settings: SupabaseSettings,
        *,
        require_mfa: bool,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = settings.supabase_secret_key.get_secret_value()
        self._require_mfa = require_mfa
        self._http = httpx.AsyncClient(
            base_url=f"{settings.supabase_url}/auth/v1",
            headers={"apikey": self._key},
            timeout=_TIMEOUT_SECONDS,
            verify=trust(trust_env=True),
            transport=transport,
        )
        self._clock = clock
        self._known: dict[str, tuple[float, Person | None]] = {}

    async def aclose(self) -> None:
        await self._http.aclose()

    def recognise(self, request: Request) -> Person | None:  # noqa: ARG002  # no request names a person without a session
        return None

    async def admit(self, given: Mapping[str, str]) -> Person:
        credentials = {"email": given.get("email", "").strip(), "password": given.get("password", "")}
        session = await self._ask("POST", "/token?grant_type=password", json=credentials)
        token = session["access_token"]
        try:
            user = await self._ask("GET", "/user", token=token)
            code = given.get("code", "").strip()
            # A factor that a person has set up is asked for, whether all people need one or not.
            if code or _factors(user):
                token = await self._second_factor(user, token, code)
                # Auth itself says whose token it is: the project's keys may be of any kind.
                user = await self._ask("GET", "/user", token=token)
            if self._require_mfa and _level(token) != "aal2":
                raise NotAdmitted("A second factor is needed: set one up in your app, and give its code here.")
            person = _person(user)
            if person is None:
                raise NotAdmitted("This account may not see the dashboard. app_metadata.outbox names its role.")
            return person
        finally:
            await self._end(token)

    async def still_admitted(self, person: Person) -> Person | None:
        """Auth is asked at most once a minute for each person. While Auth is away, the session counts as it is."""
        known = self._known.get(person.account)
        if known is not None and self._clock() - known[0] < _FRESH_SECONDS:
            return known[1]
        try:
            answer = await self._http.get(f"/admin/users/{quote(person.account, safe='')}", headers=_bearer(self._key))
        except httpx.HTTPError as error:
            log.warning("auth.unavailable", error=type(error).__name__)
            return person
        if answer.status_code != 200 and not _has_no_user(answer):
            log.warning("auth.unavailable", status=answer.status_code)
            return person
        now_is = _person(answer.json()) if answer.status_code == 200 else None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[person.account] = (self._clock(), now_is)
        return now_is

    async def _second_factor(self, user: Mapping[str, Any], token: str, code: str) -> str:
        """The token of the same session after its code has been verified."""
        factors = _factors(user)
        totp = next((one for one in factors if one.get("factor_type") == "totp"), None)
        if totp is None and factors:
            raise NotAdmitted("The dashboard takes codes of an authenticator app only: set one up in your app.")
        if totp is None or not code:
            raise NotAdmitted(_WRONG)
        path = f"/factors/{quote(str(totp['id']), safe='')}"
        challenge = await self._ask("POST", f"{path}/challenge", token=token, json={})
        verified = await self._ask("POST", f"{path}/verify", token=token, json={"challenge_id": challenge["id"], "code": code})
        return str(verified["access_token"])

    async def _ask(self, method: str, path: str, *, token: str | None = None, json: Any = None) -> dict[str, Any]:
        """The answer of Auth. Raises NotAdmitted for every other answer."""
        try:
            answer = await self._http.request(method, path, json=json, headers=_bearer(token or self._key))
        except httpx.HTTPError as error:
            log.warning("auth.unavailable", error=type(error).__name__)
            raise NotAdmitted(_AWAY) from None
        if answer.status_code == 429 or answer.status_code >= 500:
            log.warning("auth.unavailable", status=answer.status_code)
            raise NotAdmitted(_AWAY)
        if answer.status_code != 200:
            raise NotAdmitted(_WRONG)
        found: dict[str, Any] = answer.json()
        return found

    async def _end(self, token: str) -> None:
        """The session at Auth is needed no more: the dashboard has its own."""
        try:
            await self._http.post("/logout?scope=local", headers=_bearer(token))
        except httpx.HTTPError as error:
            log.info("auth.session_left", error=type(error).__name__)


def _person(user: Mapping[str, Any]) -> Person | None:
    """The person with the role that Auth's administrators gave. None without a role, and while the account is banned."""
    metadata = user.get("app_metadata")
    given = metadata.get("outbox") if isinstance(metadata, dict) else None
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None or user.get("is_anonymous") or user.get("deleted_at") or _is_banned(user.get("banned_until")):
        return None
    return Person(str(user.get("email") or user["id"]), role, str(user["id"]))


def _is_banned(until: object) -> bool:
    """Auth leaves the time of a ban behind when it is over. What is no time is a ban."""
    if not until:
        return False
    try:
        return datetime.fromisoformat(str(until)).astimezone(UTC) > datetime.now(UTC)
    except (ValueError, OverflowError):
        return True


def _factors(user: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The second factors that are in use."""
    return [one for one in user.get("factors") or () if one.get("status") == "verified"]


def _has_no_user(answer: httpx.Response) -> bool:
    """Whether Auth says that the account is gone. A proxy and Supabase Lite answer 404 to paths that they do not know."""
    return answer.status_code == 404 and "user not found" in answer.text.lower().replace("_", " ")


def _level(token: str) -> str:
    """The assurance level of a token that Auth has just accepted."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("aal", ""))


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
