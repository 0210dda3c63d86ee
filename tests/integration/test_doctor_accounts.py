"""What `outbox doctor` asks providers, how it follows a text, and the command as an operator runs it."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.examining.findings import Mark
from jobs.providers.inspection import Standing
from jobs.providers.sinch import inspection as sinch_inspection
from jobs.providers.vonage import inspection as vonage_inspection
from jobs.runtime.accounts import SinchSettings, VonageSettings
from sandbox.local.stack import LocalStack
from sandbox.simulator import server
from sandbox.simulator.server import Running
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.tokens import make_private_key, public_key_of
from scheduler.cli import run_command_line
from scheduler.doctor import certificates, text_check
from tests.acceptance.tls_front import tls_front
from tests.calls import report
from tests.commands import outbox
from tests.engine import MakeRig, Rig, stand_still
from tests.integration.doctor_round import configure, installation
from tests.stack import Connection

NUMBER = "+14155550123"
DEAD = "http://127.0.0.1:9"


# Sinch


def plan(sinch: Running, **changes: str | None) -> SinchSettings:
    chosen = {
        "sinch_service_plan_id": sinch.plan.id,
        "sinch_api_token": sinch.plan.token,
        "sinch_region": "us",
        "sinch_from_number": "+12025550100",
    }
    return SinchSettings(_env_file=None, **{**chosen, **changes})  # type: ignore[arg-type]


async def test_plan_of_another_region_is_found(sinch: Running) -> None:
    """The plan answers in `eu` only, where the simulator stands. In the others no host answers, or one refuses the token."""
    with server.running() as elsewhere:
        hosts = {"eu": sinch.url, "us": elsewhere.url}
        chosen = plan(sinch, sinch_service_plan_id="plan-of-eu")
        sinch.control.agree(type(sinch.plan)(id="plan-of-eu", token=sinch.plan.token))

        (remark,) = await sinch_inspection.inspect(chosen, lambda region: hosts.get(region, DEAD))

    assert remark.standing is Standing.WRONG
    assert remark.advice == "set SINCH_REGION=eu"


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"sinch_api_token": "wrong"}, "check SINCH_API_TOKEN"),
        ({"sinch_service_plan_id": "wrong"}, "check SINCH_"),
        ({"sinch_base_url": DEAD}, "SINCH_BASE_URL"),
    ],
)
async def test_refusal_names_the_setting(sinch: Running, changes: dict[str, str], advice: str) -> None:
    (remark,) = await sinch_inspection.inspect(plan(sinch, **{"sinch_base_url": sinch.url, **changes}))

    assert remark.standing is Standing.WRONG
    assert advice in remark.advice


async def test_missing_sender_is_a_doubt(sinch: Running) -> None:
    remarks = await sinch_inspection.inspect(plan(sinch, sinch_base_url=sinch.url, sinch_from_number=None))

    assert [remark.standing for remark in remarks] == [Standing.RIGHT, Standing.DOUBTFUL]


# Vonage


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    return make_private_key(), make_private_key()


@pytest.fixture(scope="module")
def vonage(keys: tuple[str, str]) -> Iterator[Running]:
    application = ApplicationSettings(public_key=public_key_of(keys[0]), status_url=f"{DEAD}/webhooks/vonage/status")
    with server.running(application=application) as running:
        yield running


def application(vonage: Running, key: str, **changes: object) -> VonageSettings:
    chosen = {
        "vonage_application_id": vonage.application.id,
        "vonage_private_key": key,
        "vonage_api_key": vonage.application.api_key,
        "vonage_api_secret": vonage.application.api_secret,
        "vonage_from_number": "+12025550100",
        "vonage_base_url": vonage.url,
    }
    return VonageSettings(_env_file=None, **{**chosen, **changes})  # type: ignore[arg-type]


async def test_right_application_answers_both_questions(vonage: Running, keys: tuple[str, str]) -> None:
    remarks = await vonage_inspection.inspect(application(vonage, keys[0]))

    assert [remark.standing for remark in remarks] == [Standing.RIGHT, Standing.RIGHT]


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"vonage_api_secret": "wrong"}, "check VONAGE_API_KEY and VONAGE_API_SECRET"),
        ({"vonage_application_id": "00000000-0000-4000-8000-0000000000ff"}, "check VONAGE_APPLICATION_ID"),
        ({"vonage_base_url": DEAD}, "VONAGE_BASE_URL"),
    ],
)
async def test_wrong_account_names_the_setting(
    vonage: Running, keys: tuple[str, str], changes: dict[str, str], advice: str
) -> None:
    (remark,) = await vonage_inspection.inspect(application(vonage, keys[0], **changes))

    assert remark.standing is Standing.WRONG
    assert advice in remark.advice


async def test_private_key_of_another_application(vonage: Running, keys: tuple[str, str]) -> None:
    (remark,) = await vonage_inspection.inspect(application(vonage, keys[1]))

    assert "check VONAGE_PRIVATE_KEY" in remark.advice


async def test_account_without_its_key_tells_nothing(vonage: Running, keys: tuple[str, str]) -> None:
    chosen = application(vonage, keys[0], vonage_reports=False, vonage_api_key=None, vonage_api_secret=None)

    (remark,) = await vonage_inspection.inspect(chosen)

    assert remark.standing is Standing.NOT_TOLD


# The certificate


async def test_certificate_that_nobody_signed(vonage: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_front(int(vonage.url.rpartition(":")[2]), tmp_path / "certificate.pem") as port:
        refused = await certificates.days_left("127.0.0.1", port)
        trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        monkeypatch.setattr(certificates, "trust", lambda **_: trusting)
        left = await certificates.days_left("127.0.0.1", port)

    assert refused == certificates.Refused("self-signed certificate")
    assert isinstance(left, float)
    assert 0 < left <= 1


# The text


@pytest.fixture
async def sending(stack: LocalStack, sinch: Running, make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    configure(monkeypatch, stack, sinch, DEAD, SINCH_CALLBACK_URL="")
    rig: Rig = await make_rig()
    await rig.tick("dispatch")
    return rig


async def test_text_is_followed_to_its_delivery(sending: Rig, db: Connection) -> None:
    said: list[str] = []

    async with installation() as of:
        looking = asyncio.create_task(text_check.look(of, NUMBER, wait=60, say=said.append))
        while not said:
            await sending.tick("dispatch")
        (batch,) = db.execute("select batch_id from public.outbox").fetchone() or ("",)
        report(db, str(batch), NUMBER, "delivered")
        (found,) = await looking

    assert found.mark is Mark.OK
    assert said[-1].endswith("to +1415•••0123: delivered")


async def test_unsent_text_fails_when_the_time_is_over(sending: Rig, db: Connection) -> None:
    async with installation() as of:
        (found,) = await text_check.look(of, NUMBER, wait=0.01, say=lambda _: None)

    assert found.mark is Mark.FAILED
    assert "is pending after" in found.found


async def test_no_text_is_sent_without_a_scheduler(
    stack: LocalStack, db: Connection, sinch: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, stack, sinch, DEAD)
    stand_still(db)

    async with installation() as of:
        (found,) = await text_check.look(of, NUMBER, wait=1, say=lambda _: None)

    assert found.mark is Mark.SKIPPED
    assert db.execute("select count(*) from public.outbox").fetchone() == (0,)


# The command


def test_command_prints_one_object_without_secrets(stack: LocalStack, sinch: Running, tmp_path: Path) -> None:
    token = "token-of-another-plan"
    env = {**stack.env, "SINCH_SERVICE_PLAN_ID": sinch.plan.id, "SINCH_API_TOKEN": token, "SINCH_BASE_URL": sinch.url}

    ran = outbox("doctor", "--json", env=env, cwd=tmp_path)
    told = json.loads(ran.stdout)

    assert ran.returncode == 1
    assert told["ok"] is False
    assert {one["check"] for one in told["checks"]} >= {"settings", "supabase", "schema", "provider", "sending", "storage"}
    assert any("check SINCH_API_TOKEN" in one["advice"] for one in told["checks"] if one["mark"] == "failed")
    for secret in (token, stack.secret_key, stack.db_url):
        assert secret not in ran.stdout + ran.stderr


@pytest.mark.parametrize("arguments", [["--send", "0151"], ["--send", NUMBER], ["--wait", "x"]])
def test_wrong_use_exits_with_two(arguments: list[str], project: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal to ask at, only `--yes` agrees to send."""
    assert run_command_line(["doctor", *arguments]) == 2
    assert (NUMBER in capsys.readouterr().err) is (arguments == ["--send", "0151"])  # The example of how to write one.


def test_settings_that_are_missing_are_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["doctor"]) == 1

    said = capsys.readouterr().out
    assert "SUPABASE_URL is not set" in said
    assert "skipped  schema" in said
