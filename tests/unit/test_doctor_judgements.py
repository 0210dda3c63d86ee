"""What the checks of `outbox doctor` conclude from answers, without a database or a provider."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from jobs.examining import storage
from jobs.examining.findings import Finder, Finding, Mark, some
from jobs.gateway.doctor import AuthHook, Dispatcher, Facts, HookAnswer, Objects, Processes, Storage, Usable
from jobs.gateway.verdict import PlanState, Verdict
from jobs.providers import registry
from jobs.providers.base import Report
from jobs.providers.callbacks import Verdict as Proof
from jobs.runtime.accounts import SinchSettings
from jobs.runtime.environment import Origins
from jobs.runtime.keys import KeyKind, kind_of, project_of
from jobs.runtime.settings import DestinationSettings, EngineSettings, SupabaseSettings, WebhookSettings
from scheduler.commands import doctor_view
from scheduler.doctor import (
    auth_check,
    callbacks_check,
    certificates,
    sending_check,
    settings_check,
    storage_check,
    supabase_check,
    text_check,
    wakeups_check,
)
from scheduler.doctor.installation import Answered, Environment, Installation
from scheduler.doctor.rounds import Check, run

SECRET = "sb_secret_never-shown"
PROCESSES = Processes(
    dispatchers=(),
    dispatch_seconds_ago=1.0,
    webhook_seconds_ago=2.0,
    upkeep_seconds_ago=3.0,
    oldest_due_seconds=None,
    alarms_waiting=0,
)
STORAGE = Storage(
    autovacuum=True,
    without_autovacuum=(),
    bytes=2_000_000,
    memory_bytes=4_000_000_000,
    messages=12,
    bloated=(),
    open_transactions=0,
    longest_seconds=None,
    prepared_transactions=0,
)
NOTHING = Usable(frozenset(), frozenset(), frozenset())
FACTS = Facts(
    at=datetime(2027, 1, 1, tzinfo=UTC),
    server=1000.5,
    database="postgres",
    usable={"anon": NOTHING},
    objects=Objects(frozenset(), (), (), (), 1, {}),
    processes=PROCESSES,
    storage=STORAGE,
    auth=None,
)


def token(**claims: str) -> str:
    """A key of the older kind. No one checks its signature."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.x"


def environment(**changes: object) -> Environment:
    here = Environment(
        supabase=None,
        accounts=(),
        engine=None,
        webhook=None,
        db_url=None,
        problems=(),
        webhook_problems=(),
        origins=Origins((), (), ()),
        misspelled=(),
    )
    return replace(here, **changes)  # type: ignore[arg-type]


def marks(findings: object) -> list[Mark]:
    return [finding.mark for finding in findings]  # type: ignore[attr-defined]


# Settings


def test_settings_are_named_without_their_values() -> None:
    here = environment(origins=Origins(("SINCH_API_TOKEN",), ("SUPABASE_URL",), ()))

    (found,) = settings_check.read(here)

    assert found == Finding("settings", Mark.OK, "from .env: SINCH_API_TOKEN; from environment: SUPABASE_URL")


def test_setting_with_two_values_is_a_warning() -> None:
    found = list(settings_check.read(environment(origins=Origins((), ("PORT",), ("PORT",)))))

    assert marks(found) == [Mark.WARNING, Mark.OK]
    assert "PORT has two values" in found[0].found


def test_numbers_of_destinations_are_not_shown() -> None:
    allowed = ("+14155550123", "US"), ("DE",)
    dispatchers = [Dispatcher("sinch", "p", one, 2) for one in allowed]

    (found,) = settings_check.destinations(environment(), dispatchers)

    assert found.mark is Mark.FAILED
    assert found.found.endswith("US, 1 beginning of numbers / DE")


@pytest.mark.parametrize(("countries", "count"), [("US,GB", 0), ("US", 1), (None, 1)])
def test_processes_started_with_other_settings_are_noticed(countries: str | None, count: int) -> None:
    here = environment(engine=EngineSettings(_env_file=None, allowed_countries=countries))

    found = list(settings_check.destinations(here, [Dispatcher("sinch", "p", ("GB", "US"), 2)] * 2))

    assert marks(found) == [Mark.WARNING] * count


# Supabase


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("sb_secret_x", KeyKind.SECRET),
        ("sb_publishable_x", KeyKind.PUBLISHABLE),
        ("sbp_0123", KeyKind.ACCESS_TOKEN),
        (token(role="service_role"), KeyKind.SERVICE_ROLE),
        (token(role="anon"), KeyKind.ANON),
        (token(role="authenticated"), KeyKind.USER_TOKEN),
        ("a.b.c", KeyKind.UNKNOWN),
        ("anything", KeyKind.UNKNOWN),
    ],
)
def test_kind_of_a_key(key: str, kind: KeyKind) -> None:
    assert kind_of(key) is kind


async def test_anon_key_is_told_before_any_call() -> None:
    key = token(role="anon", ref="abc")
    chosen = SupabaseSettings(_env_file=None, supabase_url="http://127.0.0.1:9", supabase_secret_key=key)

    (found,) = await supabase_check.look(Installation(environment(supabase=chosen), None))

    assert found.mark is Mark.FAILED
    assert "SUPABASE_SECRET_KEY holds an anon key" in found.found
    assert key not in f"{found.found}{found.advice}"


@pytest.mark.parametrize(("ref", "count"), [("abc", 0), ("xyz", 1)])
def test_legacy_key_of_another_project(ref: str, count: int) -> None:
    key = token(role="service_role", ref=ref)
    chosen = SupabaseSettings(_env_file=None, supabase_url="https://abc.supabase.co", supabase_secret_key=key)

    assert project_of(key) == ref
    assert marks(supabase_check.key_of(chosen, KeyKind.SERVICE_ROLE)) == [Mark.FAILED] * count


@pytest.mark.parametrize(("ahead", "mark"), [(0.3, Mark.OK), (-1.9, Mark.OK), (70.0, Mark.WARNING), (-70.0, Mark.WARNING)])
def test_clock_difference_beyond_the_call(ahead: float, mark: Mark) -> None:
    (found,) = supabase_check.clock(Answered(FACTS, 0.1, ahead))

    assert found.mark is mark


# Wakeups


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((1000.5, "postgres", True), "hears notices"),
        ((1000.5, "postgres", False), "may not execute"),
        ((1000.5, "other", True), "another database"),
        ((2000.0, "postgres", True), "another database"),
        (None, "another database"),
    ],
)
def test_connection_leads_to_the_same_database(answer: tuple[object, ...] | None, says: str) -> None:
    found = wakeups_check.judge(answer, FACTS)

    assert says in found.found
    assert (found.mark is Mark.OK) is (says == "hears notices")


# Callbacks


@pytest.mark.parametrize(
    ("status", "arrived", "mark", "says"),
    [
        (204, True, Mark.OK, "went through"),
        (204, False, Mark.FAILED, "not in this database"),
        (401, False, Mark.FAILED, "HTTP 401"),
        (503, False, Mark.FAILED, "cannot record"),
        (301, False, Mark.FAILED, "redirects"),
        (404, False, Mark.FAILED, "takes no callbacks"),
        (500, False, Mark.FAILED, "HTTP 500"),
    ],
)
def test_answer_to_the_test_callback(status: int, arrived: bool, mark: Mark, says: str) -> None:
    url = "https://user:password@sms.example.com/webhooks/sinch/delivery"
    account = registry.account(_sinch(sinch_callback_url=url))

    found = callbacks_check.judge(account, status, arrived, "signed", "SINCH_WEBHOOK_SECRETS", is_limited=False)

    assert found.mark is mark
    assert says in found.found
    assert "password" not in found.found


def _sinch(**changes: str) -> SinchSettings:
    chosen = {"sinch_service_plan_id": "p", "sinch_api_token": "t", "sinch_region": "us"}
    return SinchSettings(_env_file=None, **{**chosen, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("provider", "name"), [("sinch", "sinch_webhook_secrets"), ("vonage", "vonage_signature_secrets")])
def test_callback_for_a_test_verifies(provider: str, name: str) -> None:
    """It is a report in the provider's own format, with neither a reference nor a batch that could be ours."""
    reader = registry.callback_readers(WebhookSettings(_env_file=None, **{name: "a secret"}))[provider]  # type: ignore[arg-type]

    callback = registry.test_callback(provider, "a secret")
    (report,) = reader.parse(callback.raw)

    assert reader.authenticate(callback.headers, callback.raw) is Proof.VERIFIED
    assert isinstance(report, Report)
    assert (report.batch_id, report.reference, report.code in (None, 400)) == (callback.batch_id, None, True)
    assert report.status in ("sent", "dispatched")


@pytest.mark.parametrize(
    ("left", "mark", "advice"),
    [
        (80.0, Mark.OK, ""),
        (3.0, Mark.WARNING, "see why it is not renewed"),
        (certificates.Refused("certificate has expired"), Mark.FAILED, "renew or complete it: providers refuse it"),
        ("wrong version number", Mark.FAILED, "check the port of SINCH_CALLBACK_URL: does your TLS proxy listen there?"),
    ],
)
def test_certificate_is_judged_by_its_days(left: float | certificates.Refused | str, mark: Mark, advice: str) -> None:
    found = certificates.judge(left, Finder("callbacks"), "SINCH_CALLBACK_URL")

    assert (found.mark, found.advice) == (mark, advice)


# Sending


def test_silent_scheduler_and_old_backlog() -> None:
    works = Verdict("sending", works=True)

    assert marks(sending_check.scheduler(replace(PROCESSES, dispatch_seconds_ago=None), works)) == [Mark.FAILED]
    assert marks(sending_check.scheduler(replace(PROCESSES, dispatch_seconds_ago=61.0), works)) == [Mark.FAILED]
    assert marks(sending_check.scheduler(PROCESSES, works)) == [Mark.OK]
    assert marks(sending_check.backlog(works, replace(PROCESSES, oldest_due_seconds=301.0))) == [Mark.WARNING]
    assert marks(sending_check.webhook(replace(PROCESSES, webhook_seconds_ago=None), awaited=True)) == [Mark.WARNING]
    assert marks(sending_check.webhook(replace(PROCESSES, webhook_seconds_ago=None), awaited=False)) == []


def test_part_that_waits_on_purpose_is_a_warning() -> None:
    assert sending_check.messages(Verdict("in_part", works=True, code="no_process")).mark is Mark.WARNING
    assert sending_check.messages(Verdict("in_part", works=False, code="held")).mark is Mark.FAILED


# Auth


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        (HookAnswer(0.02), Mark.OK),
        (HookAnswer(0.7), Mark.WARNING),
        (HookAnswer(0.02, status=422, message="no"), Mark.OK),
        (HookAnswer(0.02, status=429, message="cap"), Mark.WARNING),
        (HookAnswer(0.02, status=500, message="no"), Mark.FAILED),
        (HookAnswer(0.02, error="42P01 no table"), Mark.FAILED),
    ],
)
def test_answer_of_the_hook(answer: HookAnswer, mark: Mark) -> None:
    assert auth_check.judge(answer).mark is mark


def test_hourly_limit_of_auth_is_named_when_reached() -> None:
    assert auth_check.limit(AuthHook(may_call=True, codes_of_the_hour=29)) == []
    (found,) = auth_check.limit(AuthHook(may_call=True, codes_of_the_hour=30))
    assert "rate_limit_sms_sent" in found.advice


# Storage


def test_storage_names_what_keeps_dead_rows() -> None:
    busy = replace(STORAGE, open_transactions=1, longest_seconds=7300.0, prepared_transactions=2, bloated=("outbox",))

    assert marks(storage.transactions(busy)) == [Mark.WARNING, Mark.WARNING]
    assert marks(storage.vacuum(busy)) == [Mark.WARNING]
    assert marks(storage.vacuum(replace(STORAGE, autovacuum=False))) == [Mark.FAILED]
    assert storage.size(replace(STORAGE, bytes=5_000_000_000)).mark is Mark.WARNING
    assert marks(storage_check.retention(None, replace(PROCESSES, upkeep_seconds_ago=None))) == [Mark.WARNING]


# The text, the round and the screen


@pytest.mark.parametrize(
    ("number", "settings", "says"),
    [
        ("0151 23456", {}, "is no E.164 number"),
        ("+4401632960123", {}, "is no E.164 number"),
        ("+447700900123", {"allowed_countries": "US"}, "ALLOWED_COUNTRIES"),
        ("+14155550123", {"allowed_recipients": "+1202555"}, "ALLOWED_RECIPIENTS"),
    ],
)
def test_number_that_gets_no_text(number: str, settings: dict[str, str], says: str) -> None:
    destinations = DestinationSettings(_env_file=None, **settings)  # type: ignore[arg-type]

    with pytest.raises(text_check.NotAllowed, match=says) as refused:
        text_check.recipient(number, destinations)

    assert number not in str(refused.value)


def test_number_is_read_as_people_write_it() -> None:
    assert text_check.recipient("+1 (415) 555-0123", None) == "+14155550123"


async def test_check_without_a_result_has_failed() -> None:
    async def never(_: Installation) -> list[Finding]:
        raise TimeoutError

    async def breaks(_: Installation) -> list[Finding]:
        raise ZeroDivisionError

    async def connects(installation: Installation) -> list[Finding]:
        return [Finder("x").ok(str(installation.connection))]

    installation = Installation(environment(), None)

    assert marks(await run(Check("x", 1, never), installation)) == [Mark.FAILED]
    assert marks(await run(Check("x", 1, breaks), installation)) == [Mark.FAILED]
    assert marks(await run(Check("x", 1, connects), installation)) == [Mark.SKIPPED]


def test_screen_holds_no_secret() -> None:
    findings = [
        Finding("a", Mark.FAILED, f"the key {SECRET} and +14155550123", "postgres://user:password@host/db"),
        Finding("b", Mark.WARNING, "slow"),
    ]

    said = json.dumps(doctor_view.plain(findings))

    assert not any(secret in said for secret in (SECRET, "4155550123", "password"))
    assert doctor_view.summary(findings) == "1 failed, 1 warning"


def test_long_lists_of_names_are_cut() -> None:
    assert some(["d", "c", "b", "a"]) == "a, b, c, d"
    assert some(["e", "d", "c", "b", "a"]) == "a, b, c, d and 1 more"


@pytest.mark.parametrize("code", ["paused", "trying", "not_claiming"])
def test_scheduler_that_may_not_claim_runs(code: str) -> None:
    """As with a wrong token: to start another one would change nothing."""
    waiting = Verdict("paused", plans=(PlanState("sinch", "p", code),))

    (found,) = sending_check.scheduler(replace(PROCESSES, dispatch_seconds_ago=None), waiting)

    assert (found.mark, found.advice) == (Mark.OK, "")
    assert found.found.startswith("a scheduler runs, and does not claim for sinch p")


@pytest.mark.parametrize(("count", "words"), [(1, "1 alarm not logged"), (2000, "2,000 alarms not logged")])
def test_alarms_are_counted_in_words(count: int, words: str) -> None:
    (found,) = sending_check.backlog(Verdict("sending"), replace(PROCESSES, alarms_waiting=count))

    assert found.found.startswith(words)


async def test_port_that_is_asked_is_named() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(502))) as http:
        found = await callbacks_check._health(
            http, "https://sms.example.com/healthz", Finder("callbacks"), "SINCH_CALLBACK_URL"
        )

    assert found is not None
    assert found.found == "GET https://sms.example.com/healthz (port 443): HTTP 502"
    assert "8080 if neither is set" in found.advice
