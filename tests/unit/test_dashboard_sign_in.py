"""Sessions of the dashboard, and signing in with Supabase Auth. The local stack has no whole Auth: a transport stands in."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest

from dashboard.roles import Person, Role
from dashboard.signing_in.sessions import SECONDS, Sessions
from dashboard.signing_in.supabase import SupabaseWay
from dashboard.signing_in.ways import NotAdmitted
from jobs.runtime.dashboard import DashboardSettings
from jobs.runtime.settings import SupabaseSettings

ADA = Person("ada@example.com", Role.OPERATOR, "a-1")
SECRET = b"0123456789abcdef"
GIVEN = {"email": ADA.name, "password": "right"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


# Sessions


def test_session_ends_after_twelve_hours() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock=clock)
    cookie = sessions.issue(ADA)

    clock.now += SECONDS - 1
    session = sessions.read(cookie)
    assert session is not None
    assert session.person == ADA
    clock.now += 1
    assert sessions.read(cookie) is None


def test_changed_password_ends_its_sessions_only() -> None:
    before = Sessions(SECRET, {Role.OPERATOR: "one", Role.VIEWER: "same"})
    after = Sessions(SECRET, {Role.OPERATOR: "two", Role.VIEWER: "same"})

    assert after.read(before.issue(ADA)) is None
    assert after.read(before.issue(Person("v", Role.VIEWER))) is not None
    assert Sessions(b"another secret..", {Role.VIEWER: "same"}).read(before.issue(Person("v", Role.VIEWER))) is None


def test_signed_out_session_cannot_be_used() -> None:
    sessions = Sessions(SECRET)
    cookie = sessions.issue(ADA)
    session = sessions.read(cookie)
    assert session is not None

    sessions.end(session)

    assert sessions.read(cookie) is None
    assert sessions.read(sessions.issue(ADA)) is not None


def test_viewer_cannot_sign_itself_operator() -> None:
    """Not by another claim, not without a signature, and not by the viewers' key."""
    sessions = Sessions(SECRET)
    cookie = sessions.issue(Person("v", Role.VIEWER))
    claims = jwt.decode(cookie, options={"verify_signature": False}) | {"role": "OPERATOR"}
    head, _, signature = cookie.split(".")
    body = jwt.encode(claims, "x" * 32, "HS256").split(".")[1]

    assert sessions.read(f"{head}.{body}.{signature}") is None
    assert sessions.read(jwt.encode(claims, "", "none")) is None
    assert sessions.read(jwt.encode(claims, sessions._keys[Role.VIEWER], "HS256")) is None
    assert sessions.read("") is None


# Supabase Auth


class Auth:
    """What Auth answers. ``users`` by id; the password is always ``right`` and the code ``123456``."""

    def __init__(self, **user: Any) -> None:
        self.user = {"id": "a-1", "email": ADA.name, "app_metadata": {"outbox": "operator"}, "user_metadata": {}} | user
        self.is_away = False
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/auth/v1")
        self.asked.append(path)
        assert request.headers["apikey"] == "sb_secret_test"
        if self.is_away:
            return httpx.Response(503)
        given = json.loads(request.content or b"{}")
        match path:
            case "/token" if given.get("password") == "right":
                return self._session("aal1")
            case "/user" | "/admin/users/a-1":
                return httpx.Response(200, json=self.user)
            case "/factors/f-1/challenge":
                return httpx.Response(200, json={"id": "c-1"})
            case "/factors/f-1/verify" if given == {"challenge_id": "c-1", "code": "123456"}:
                return self._session("aal2")
            case "/logout":
                return httpx.Response(204)
        return httpx.Response(400, json={"msg": "no"})

    def _session(self, level: str) -> httpx.Response:
        return httpx.Response(200, json={"access_token": jwt.encode({"aal": level}, "k" * 32, "HS256")})


Made = Callable[..., SupabaseWay]


@pytest.fixture
async def way() -> AsyncIterator[Made]:
    made: list[SupabaseWay] = []

    def make(
        auth: Callable[[httpx.Request], httpx.Response], *, require_mfa: bool = False, clock: Callable[[], float] | None = None
    ) -> SupabaseWay:
        project = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key="sb_secret_test")
        how = {} if clock is None else {"clock": clock}
        made.append(SupabaseWay(project, require_mfa=require_mfa, transport=httpx.MockTransport(auth), **how))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def test_role_comes_from_app_metadata_alone(way: Made) -> None:
    assert await way(Auth()).admit(GIVEN) == ADA
    assert await way(Auth(banned_until="2026-01-01T00:00:00Z")).admit(GIVEN) == ADA
    assert (await way(Auth(app_metadata={"outbox": "viewer"})).admit(GIVEN)).role is Role.VIEWER
    for refused in (
        Auth(app_metadata={}, user_metadata={"outbox": "operator"}),
        Auth(app_metadata={"outbox": "admin"}),
        Auth(app_metadata={"outbox": ["operator"]}),
        Auth(app_metadata=None),
        Auth(banned_until="2999-01-01T00:00:00Z"),
    ):
        with pytest.raises(NotAdmitted, match="may not see"):
            await way(refused).admit(GIVEN)


async def test_auth_session_is_ended_again(way: Made) -> None:
    auth = Auth()
    await way(auth).admit(GIVEN)

    assert auth.asked == ["/token", "/user", "/logout"]


async def test_wrong_password_and_outage_admit_no_one(way: Made) -> None:
    auth = Auth()
    with pytest.raises(NotAdmitted, match="wrong"):
        await way(auth).admit(GIVEN | {"password": "guess"})
    auth.is_away = True
    with pytest.raises(NotAdmitted, match="does not answer"):
        await way(auth).admit(GIVEN)


@pytest.mark.parametrize(("code", "admitted"), [("123456", True), ("000000", False), ("", False)])
async def test_second_factor_can_be_demanded(way: Made, code: str, admitted: bool) -> None:
    factors = [
        {"id": "f-0", "status": "unverified", "factor_type": "totp"},
        {"id": "f-1", "status": "verified", "factor_type": "totp"},
    ]
    asked = way(Auth(factors=factors), require_mfa=True)
    if admitted:
        assert await asked.admit(GIVEN | {"code": code}) == ADA
    else:
        with pytest.raises(NotAdmitted):
            await asked.admit(GIVEN | {"code": code})


async def test_own_second_factor_is_never_left_out(way: Made) -> None:
    """Whoever knows only the password of a person with a factor must not get in."""
    totp = {"id": "f-1", "status": "verified", "factor_type": "totp"}
    assert await way(Auth(factors=[totp])).admit(GIVEN | {"code": "123456"}) == ADA
    for factors, words in (([totp], "wrong"), ([totp | {"factor_type": "phone"}], "authenticator app")):
        with pytest.raises(NotAdmitted, match=words):
            await way(Auth(factors=factors)).admit(GIVEN)


async def test_ban_ends_by_its_time(way: Made) -> None:
    assert await way(Auth(banned_until="2020-01-01T00:00:00Z")).admit(GIVEN) == ADA
    for name, value in (
        ("banned_until", "2999-01-01T00:00:00Z"),
        ("banned_until", "?"),
        ("deleted_at", "2020-01-01T00:00:00Z"),
    ):
        with pytest.raises(NotAdmitted, match="may not see"):
            await way(Auth(**{name: value})).admit(GIVEN)


async def test_withdrawn_role_ends_the_session(way: Made) -> None:
    """Auth is asked once a minute, and its outage ends no session."""
    auth, clock = Auth(), Clock()
    asked = way(auth, clock=clock)
    assert await asked.still_admitted(ADA) == ADA
    auth.user["app_metadata"] = {}
    assert await asked.still_admitted(ADA) == ADA

    clock.now += 60
    auth.is_away = True
    assert await asked.still_admitted(ADA) == ADA
    auth.is_away = False
    assert await asked.still_admitted(ADA) is None


@pytest.mark.parametrize(("said", "remains"), [('{"error_code": "user_not_found"}', False), ("no such page", True)])
async def test_deleted_account_ends_the_session(way: Made, said: str, remains: bool) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, text=said)

    assert (await way(answer).still_admitted(ADA) == ADA) == remains


# Settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dashboard_auth": "password"}, "password of operators"),
        ({"dashboard_viewer_password": "only for looking"}, "password of operators"),
        ({"dashboard_password": "short"}, "fewer than 12"),
        ({"dashboard_secret": "not so long a secret"}, "fewer than 32"),
        ({"dashboard_auth": "proxy", "dashboard_operators": "ada"}, "networks of the proxies"),
        ({"dashboard_auth": "proxy", "dashboard_trusted_proxies": "10.0.0.0/8"}, "people who may act"),
        ({"dashboard_password": "the same words", "dashboard_viewer_password": "the same words"}, "viewers could act"),
        ({"dashboard_root_path": "//evil.example"}, "single /"),
        ({"dashboard_frame_ancestors": "'self'; script-src *"}, "one frame-ancestors"),
    ],
)
def test_unsafe_settings_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DashboardSettings(_env_file=None, **given)  # type: ignore[arg-type]
