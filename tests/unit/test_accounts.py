"""Which accounts a process serves, and which of them sends."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.gateway import pause_words
from jobs.gateway.seen import RESTORED
from jobs.gateway.status import Pause
from jobs.providers import registry
from jobs.runtime.accounts import SinchSettings, VonageSettings
from jobs.runtime.settings import EngineSettings, SettingsError, SupabaseSettings
from jobs.schema import releases
from scheduler.cli import run_command_line
from scheduler.commands import adopt
from scheduler.engine import build_engine

JOBS = ["dispatch", "recover", "reconcile", "inbound", "campaigns", "events", "figures", "upkeep"]
SINCH = {"SINCH_SERVICE_PLAN_ID": "plan", "SINCH_API_TOKEN": "token", "SINCH_REGION": "us"}


@pytest.fixture
def vonage(private_key: str) -> dict[str, str]:
    return {
        "VONAGE_APPLICATION_ID": "00000000-0000-0000-0000-000000000001",
        "VONAGE_PRIVATE_KEY": private_key,
        "VONAGE_REPORTS": "0",
    }


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        *SINCH,
        "VONAGE_APPLICATION_ID",
        "VONAGE_PRIVATE_KEY",
        "VONAGE_API_KEY",
        "OUTBOX_PROVIDERS",
        "OUTBOX_ENV_FILE",
    ):
        monkeypatch.delenv(name, raising=False)


def served(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[type[Any]]:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return [type(account) for account in registry.configured()]


def test_sinch_alone_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, **SINCH) == [SinchSettings]


def test_vonage_alone_is_served(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    assert served(monkeypatch, **vonage) == [VonageSettings]


def test_sinch_goes_first_by_default(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    assert served(monkeypatch, **vonage, **SINCH) == [SinchSettings, VonageSettings]


@pytest.mark.parametrize("wanted", ["vonage,sinch", " Vonage , SINCH "])
def test_setting_gives_the_order(wanted: str, monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    assert served(monkeypatch, **vonage, **SINCH, OUTBOX_PROVIDERS=wanted) == [VonageSettings, SinchSettings]


def test_setting_leaves_a_configured_provider_out(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    assert served(monkeypatch, **vonage, **SINCH, OUTBOX_PROVIDERS="vonage") == [VonageSettings]


def test_empty_values_configure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, **SINCH, VONAGE_APPLICATION_ID="", VONAGE_PRIVATE_KEY="") == [SinchSettings]


def test_accounts_of_the_file_are_served(tmp_path: Path, vonage: dict[str, str]) -> None:
    one_line = {**vonage, "VONAGE_PRIVATE_KEY": vonage["VONAGE_PRIVATE_KEY"].replace("\n", "\\n")}
    (tmp_path / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in one_line.items()))

    (account,) = registry.configured()

    assert isinstance(account, VonageSettings)
    assert account.vonage_private_key.get_secret_value() == vonage["VONAGE_PRIVATE_KEY"].strip()


def test_key_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    (tmp_path / "private.key").write_text(vonage["VONAGE_PRIVATE_KEY"])

    assert served(monkeypatch, **{**vonage, "VONAGE_PRIVATE_KEY": "private.key"}) == [VonageSettings]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, "SINCH_SERVICE_PLAN_ID is not set: .* For Vonage set VONAGE_APPLICATION_ID"),
        ({"OUTBOX_PROVIDERS": "twilio"}, "OUTBOX_PROVIDERS: 'twilio' is no provider: sinch, vonage"),
        ({"OUTBOX_PROVIDERS": "sinch,sinch"}, "OUTBOX_PROVIDERS: names a provider twice"),
        ({**SINCH, "OUTBOX_PROVIDERS": "sinch,vonage"}, "VONAGE_APPLICATION_ID is not set"),
        ({"VONAGE_APPLICATION_ID": "00000000-0000-0000-0000-000000000001"}, "VONAGE_PRIVATE_KEY is not set"),
        ({"VONAGE_APPLICATION_ID": "mine", "VONAGE_PRIVATE_KEY": "x"}, "VONAGE_APPLICATION_ID: must be a UUID"),
    ],
)
def test_wrong_setting_is_named(values: dict[str, str], error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=error):
        served(monkeypatch, **values)


@pytest.mark.parametrize("key", ["no such file", "secret-without-a-first-line"])
def test_unreadable_key_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        served(monkeypatch, **{**vonage, "VONAGE_PRIVATE_KEY": key})

    assert str(refused.value).startswith("VONAGE_PRIVATE_KEY: ")
    assert key not in str(refused.value)


def test_password_in_the_callback_url_is_refused(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    """Vonage signs in the header that would carry it."""
    with pytest.raises(SettingsError, match="VONAGE_CALLBACK_URL: holds a user or a password") as refused:
        served(monkeypatch, **vonage, VONAGE_CALLBACK_URL="https://ann:hunter2@sms.example.com/webhooks/vonage/status")

    assert "hunter2" not in str(refused.value)


def test_reports_need_the_key_of_the_account(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"VONAGE_API_KEY is not set: .*VONAGE_REPORTS=0"):
        served(monkeypatch, **{**vonage, "VONAGE_REPORTS": "1"})


@pytest.mark.parametrize("options", [["--yes"], []])
def test_adoption_without_a_list_is_refused(
    monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """To adopt an empty list would let the messages go out again that were sent since the backup."""
    served(monkeypatch, **vonage)

    assert run_command_line(["adopt", "--since", "6h", *options]) == 1

    said = capsys.readouterr().err
    assert "vonage has no list of requests" in said
    assert f"outbox resume --restored --provider vonage --plan {vonage['VONAGE_APPLICATION_ID']}" in " ".join(said.split())


def test_adoption_reads_the_list_there_is(
    monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, **vonage, **SINCH, OUTBOX_PROVIDERS="vonage,sinch")
    accounts = [registry.account(chosen) for chosen in registry.configured()]

    assert adopt._with_list(accounts).provider == "sinch"
    adopt._say_without_list(accounts)

    said = " ".join(capsys.readouterr().out.split())
    assert f"`outbox resume --restored --provider vonage --plan {vonage['VONAGE_APPLICATION_ID']}`" in said
    assert "sinch" not in said


@pytest.mark.parametrize(
    ("provider", "command"),
    [("sinch", "outbox adopt --since"), ("vonage", "outbox resume --restored --provider vonage --plan p")],
)
def test_pause_after_a_restore_names_its_command(provider: str, command: str) -> None:
    at = datetime(2026, 11, 30, tzinfo=UTC)

    assert command in pause_words.until(Pause(provider, "p", RESTORED, "restored", at, None, probing=False))


def engine_of(**plans: Any) -> Any:
    """The engine of the configured accounts, or of those that ``plans`` names."""
    supabase = SupabaseSettings(_env_file=None, supabase_url="http://supabase.test", supabase_secret_key="sb_secret_key")
    return build_engine(supabase, registry.chosen(**plans), EngineSettings(_env_file=None), known=releases.packaged())


async def test_each_account_has_its_jobs(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    served(monkeypatch, **vonage, **SINCH)

    engine = await engine_of()
    await engine.aclose()

    assert [(one.plan.provider, one.plan.plan, one.plan.position) for one in engine.served] == [
        ("sinch", "plan", 0),
        ("vonage", vonage["VONAGE_APPLICATION_ID"], 1),
    ]
    assert [job.name for job in engine.jobs] == [
        "dispatch",
        "recover",
        "reconcile",
        "inbound",
        "dispatch vonage",
        "recover vonage",
        "reconcile vonage",
        "inbound vonage",
        "campaigns",
        "events",
        "figures",
        "upkeep",
    ]


async def test_one_account_adds_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, **SINCH)

    engine = await engine_of()
    await engine.aclose()

    assert [one.plan.position for one in engine.served] == [None]
    assert [job.name for job in engine.jobs] == JOBS


async def test_account_keeps_its_place_alone(monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]) -> None:
    """Its process may lack the settings of the others."""
    served(monkeypatch, **vonage, **SINCH, OUTBOX_PROVIDERS="sinch,vonage")
    monkeypatch.delenv("SINCH_API_TOKEN")

    engine = await engine_of(plans=["vonage"])
    await engine.aclose()

    assert [(one.plan.provider, one.plan.position) for one in engine.served] == [("vonage", 1)]
    assert [job.name for job in engine.jobs] == JOBS


@pytest.mark.parametrize(
    ("plans", "places"),
    [
        ([], [0, 1]),
        (["sinch"], [0]),
        (["Vonage", "sinch"], [0, 1]),
        (["sinch:plan"], [0]),
        (["vonage:00000000-0000-0000-0000-000000000001"], [1]),
    ],
)
def test_plans_name_the_accounts_to_serve(
    plans: list[str], places: list[int], monkeypatch: pytest.MonkeyPatch, vonage: dict[str, str]
) -> None:
    served(monkeypatch, **vonage, **SINCH)

    assert list(registry.chosen(plans)) == places


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ("twilio", "--plan: 'twilio' is no configured account: sinch"),
        ("vonage", "--plan: 'vonage' is no configured account: sinch"),
        ("sinch:other", "--plan: 'sinch:other' is no configured account: sinch:plan"),
    ],
)
def test_unknown_plan_ends_the_command(
    plan: str, error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, **SINCH, SUPABASE_URL="http://supabase.test", SUPABASE_SECRET_KEY="sb_secret_key")

    assert run_command_line(["run", "--once", "--plan", plan]) == 2

    assert capsys.readouterr().err == f"outbox: {error}\n"
