"""The settings that the environment may hold, and that docs/settings.md documents the same ones."""

import os
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from structlog.testing import capture_logs

from jobs.runtime import settings
from jobs.runtime.accounts import SinchSettings, VonageSettings
from jobs.runtime.environment import warn_of_misspelled
from jobs.runtime.settings import (
    EngineSettings,
    SettingsError,
    SupabaseSettings,
    WebhookSettings,
)
from tests.keys import elliptic_key, private_key, public_key

COMPLETE = {
    "SUPABASE_URL": "https://ref.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_x",
    "SINCH_SERVICE_PLAN_ID": "plan",
    "SINCH_API_TOKEN": "token",
    "SINCH_REGION": "us",
    "SINCH_WEBHOOK_SECRETS": "secret",
    "VONAGE_APPLICATION_ID": "00000000-0000-0000-0000-000000000000",
    "VONAGE_PRIVATE_KEY": private_key(),
    "VONAGE_REPORTS": "0",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<default>[^|]+) \| [^|]+ \|$", re.MULTILINE)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Only required settings are set, and no file is read."""
    monkeypatch.chdir(tmp_path)
    for name in settings.names():
        monkeypatch.delenv(name, raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def load_all() -> None:
    for group in settings.GROUPS:
        settings.load(group)


def group_of(name: str) -> type[BaseSettings]:
    return next(group for group in settings.GROUPS if name.lower() in group.model_fields)


def documented() -> dict[str, str]:
    return {row["name"]: row["default"] for row in ROW.finditer(DOCUMENT.read_text(encoding="utf-8"))}


def test_document_lists_exactly_the_settings() -> None:
    assert set(documented()) == {field.upper() for group in settings.GROUPS for field in group.model_fields}


@pytest.mark.parametrize("name", documented())
def test_the_default_is_the_documented_one(name: str, environment: pytest.MonkeyPatch) -> None:
    default = documented()[name]
    if default == "required":
        environment.delenv(name)
        with pytest.raises(SettingsError, match=name):
            settings.load(group_of(name))
        return

    environment.delenv(name, raising=False)
    if name == "SINCH_WEBHOOK_SECRETS":
        environment.setenv("WEBHOOK_TOKENS", "token")
    if name == "VONAGE_REPORTS":
        environment.setenv("VONAGE_API_KEY", "key")
        environment.setenv("VONAGE_API_SECRET", "secret")
    value = getattr(settings.load(group_of(name)), name.lower())
    if default in ("none", "all", "the region's") or default.startswith("as "):
        assert value in (None, [])
    elif isinstance(value, str):
        assert value == default
    else:
        assert value == float(default)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_URL", "ref.supabase.co"),
        ("SUPABASE_URL", "http://ref.supabase.co"),
        ("SUPABASE_URL", "http://8.8.8.8:8000"),
        ("SUPABASE_URL", "http://[2606:4700::1111]"),
        ("SUPABASE_URL", "https://ref.supabase.co/rest/v1"),
        ("SUPABASE_URL", "https://"),
        ("SUPABASE_URL", "http://127.0.0.1:99999"),
        ("SUPABASE_URL", "http://127.0.0.1:port"),
        ("SUPABASE_URL", "http://two words"),
        ("SUPABASE_URL", "https://[::1"),
        ("SUPABASE_SECRET_KEY", "sb_secret_ two words"),
        ("SUPABASE_SECRET_KEY", "sb_secret_\N{CYRILLIC SMALL LETTER A}"),
        ("SINCH_SERVICE_PLAN_ID", "plan/batches"),
        ("SINCH_API_TOKEN", "token\n"),
        ("SINCH_REGION", "asia"),
        ("SINCH_FROM_NUMBER", "a name that is too long"),
        ("SINCH_BASE_URL", "http://127.0.0.1:port"),
        ("SINCH_BASE_URL", "http://127.0.0.1/xms/v1"),
        ("SINCH_BASE_URL", "http://us.sms.api.sinch.com"),
        ("SINCH_CALLBACK_URL", "sms.example.com/webhooks"),
        ("SINCH_CALLBACK_URL", "https://"),
        ("SINCH_CALLBACK_URL", "http://user:hunter2@sms.example.com/webhooks/sinch/delivery"),
        ("SINCH_CALLBACK_URL", "https://example.com/" + "x" * 2048),
        ("SINCH_MESSAGES_PER_SECOND", "0"),
        ("SINCH_MESSAGES_PER_SECOND", "inf"),
        ("SINCH_MESSAGES_PER_SECOND", "nan"),
        ("SINCH_REQUESTS_PER_MINUTE", "1.5"),
        ("SINCH_REQUESTS_PER_MINUTE", "4"),
        ("SINCH_REQUESTS_PER_MINUTE", "99999999999"),
        ("SINCH_WEBHOOK_SECRETS", " , "),
        ("VONAGE_APPLICATION_ID", "application"),
        ("VONAGE_PRIVATE_KEY", "private.key"),
        ("VONAGE_PRIVATE_KEY", private_key()[:300]),
        ("VONAGE_PRIVATE_KEY", private_key(password="secret")),
        ("VONAGE_PRIVATE_KEY", public_key()),
        ("VONAGE_PRIVATE_KEY", elliptic_key()),
        ("VONAGE_FROM_NUMBER", "a name that is too long"),
        ("VONAGE_BASE_URL", "https://api.nexmo.com/v1/messages"),
        ("VONAGE_BASE_URL", "http://api.nexmo.com"),
        ("VONAGE_CALLBACK_URL", "http://sms.example.com/webhooks/vonage/status"),
        ("VONAGE_CALLBACK_URL", "example.com/webhooks"),
        ("VONAGE_MESSAGES_PER_SECOND", "0"),
        ("WEBHOOK_BASIC_AUTH", "user"),
        ("WEBHOOK_ALLOWED_IPS", "example.com"),
        ("WEBHOOK_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("WEBHOOK_ALLOW_UNAUTHENTICATED", "perhaps"),
        ("ALLOWED_COUNTRIES", "USA"),
        ("ALLOWED_COUNTRIES", "US,UK"),
        ("ALLOWED_COUNTRIES", "US;CA"),
        ("ALLOWED_COUNTRIES", ","),
        ("DISPATCH_INTERVAL_SECONDS", "0"),
        ("LEASE_SECONDS", "soon"),
        ("LEASE_SECONDS", "nan"),
        ("SETTLE_SECONDS", "-1"),
        ("RECONCILE_AFTER_SECONDS", "inf"),
        ("RECONCILE_INTERVAL_SECONDS", "inf"),
        ("RETENTION_DAYS", "14"),
        ("RETENTION_DAYS", "inf"),
        ("BODY_RETENTION_DAYS", "-1"),
        ("BODY_RETENTION_DAYS", "1e12"),
        ("SENTRY_DSN", "nonsense"),
        ("SENTRY_DSN", "https://sentry.example.com"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_wrong_value_error_names_setting_in_one_line(name: str, value: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        load_all()

    assert str(refused.value).startswith(name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUPABASE_SECRET_KEY", "hunter2 hunter2"),
        ("SINCH_API_TOKEN", "hunter2 hunter2"),
        ("SINCH_BASE_URL", "http://user:hunter2@127.0.0.1:port"),
        ("SINCH_CALLBACK_URL", "ftp://user:hunter2@example.com"),
        ("SINCH_CALLBACK_URL", "http://user:hunter2@example.com"),
        ("WEBHOOK_BASIC_AUTH", "hunter2"),
        ("SENTRY_DSN", "https://:hunter2@/"),
    ],
)
def test_a_wrong_secret_is_not_repeated(name: str, value: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        load_all()

    assert "hunter2" not in str(refused.value)


def test_an_empty_setting_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEASE_SECONDS", "")
    environment.setenv("SINCH_API_TOKEN", "")

    environment.setenv("ALLOWED_COUNTRIES", " ")

    assert settings.load(EngineSettings).lease_seconds == 30
    assert settings.load(EngineSettings).allowed_countries is None
    with pytest.raises(SettingsError, match="SINCH_API_TOKEN is not set: the service plan's API token"):
        settings.load(SinchSettings)


def test_legacy_service_role_key_is_a_fallback(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SUPABASE_SERVICE_ROLE_KEY", "legacy")
    assert settings.load(SupabaseSettings).supabase_secret_key.get_secret_value() == "sb_secret_x"

    environment.delenv("SUPABASE_SECRET_KEY")
    assert settings.load(SupabaseSettings).supabase_secret_key.get_secret_value() == "legacy"


def test_one_callback_authentication_method_is_enough(environment: pytest.MonkeyPatch) -> None:
    """A list of allowed addresses alone is not enough."""
    environment.delenv("SINCH_WEBHOOK_SECRETS")
    for name, value in [("WEBHOOK_BASIC_AUTH", "u:p"), ("WEBHOOK_TOKENS", "t"), ("WEBHOOK_ALLOW_UNAUTHENTICATED", "1")]:
        with pytest.raises(SettingsError, match="SINCH_WEBHOOK_SECRETS is not set"):
            settings.load(WebhookSettings)
        environment.setenv(name, value)
        settings.load(WebhookSettings)
        environment.delenv(name)

    environment.setenv("WEBHOOK_ALLOWED_IPS", "203.0.113.0/24")
    with pytest.raises(SettingsError, match="SINCH_WEBHOOK_SECRETS is not set"):
        settings.load(WebhookSettings)


def test_region_names_the_host_unless_origin_given(environment: pytest.MonkeyPatch) -> None:
    assert settings.load(SinchSettings).host == "https://us.sms.api.sinch.com"

    environment.setenv("SINCH_BASE_URL", "http://127.0.0.1:8081/")
    environment.delenv("SINCH_REGION")
    assert settings.load(SinchSettings).host == "http://127.0.0.1:8081"


def test_lists_are_split_at_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_COUNTRIES", "us, CA ,")
    environment.setenv("SINCH_WEBHOOK_SECRETS", "new, old")
    environment.setenv("WEBHOOK_ALLOWED_IPS", "203.0.113.7, 2001:db8::/32")

    assert settings.load(EngineSettings).allowed_countries == ["US", "CA"]
    webhook = settings.load(WebhookSettings)
    assert [secret.get_secret_value() for secret in webhook.sinch_webhook_secrets] == ["new", "old"]
    assert [str(network) for network in webhook.webhook_allowed_ips] == ["203.0.113.7/32", "2001:db8::/32"]


def test_allowed_recipients_follow_the_countries(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_COUNTRIES", "US")
    environment.setenv("ALLOWED_RECIPIENTS", "+12025550100, +1415555*")

    assert settings.load(EngineSettings).allowed_destinations == ["US", "+12025550100", "+1415555"]


@pytest.mark.parametrize("value", ["12025550100", "+0151", ",", "+1202,all"])
def test_recipients_that_allow_nothing_are_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("ALLOWED_RECIPIENTS", value)

    with pytest.raises(settings.SettingsError, match="ALLOWED_RECIPIENTS"):
        settings.load(EngineSettings)


@pytest.mark.parametrize(
    ("group", "name", "value", "code"),
    [
        (EngineSettings, "ALLOWED_RECIPIENTS", "+4407700", "+44"),
        (EngineSettings, "ALLOWED_RECIPIENTS", "+12025550100, +440*", "+44"),
        (SinchSettings, "SINCH_FROM_NUMBER", "+4407700900000", "+44"),
        (SinchSettings, "SINCH_FROM_NUMBER", "330612345678", "+33"),
    ],
)
def test_setting_with_a_trunk_zero_is_refused(
    environment: pytest.MonkeyPatch, group: type[EngineSettings | SinchSettings], name: str, value: str, code: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(settings.SettingsError, match=rf"{name}: .*Leave out the zero after \{code}$"):
        settings.load(group)


@pytest.mark.parametrize("value", ["+4470", "+2250700", "+390612", "+60", "+2010"])
def test_zero_of_a_code_or_number_is_kept(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("ALLOWED_RECIPIENTS", value)
    environment.setenv("SINCH_FROM_NUMBER", "44012")

    assert settings.load(EngineSettings).allowed_recipients
    assert settings.load(SinchSettings).sinch_from_number == "44012"


def test_a_file_is_read_and_the_environment_wins(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LEASE_SECONDS=7\nSETTLE_SECONDS=8\n", encoding="utf-8")
    environment.setenv("SETTLE_SECONDS", "9")

    engine = settings.load(EngineSettings)

    assert (engine.lease_seconds, engine.settle_seconds) == (7, 9)


def test_another_file_may_be_named_or_none(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LEASE_SECONDS=7\n", encoding="utf-8")
    (tmp_path / "other").write_text("LEASE_SECONDS=8\n", encoding="utf-8")

    environment.setenv("OUTBOX_ENV_FILE", str(tmp_path / "other"))
    assert settings.load(EngineSettings).lease_seconds == 8
    for nothing in ("", os.devnull):
        environment.setenv("OUTBOX_ENV_FILE", nothing)
        assert settings.load(EngineSettings).lease_seconds == 30
    os.mkfifo(tmp_path / "pipe")
    environment.setenv("OUTBOX_ENV_FILE", "pipe")
    with pytest.raises(SettingsError, match=r"^OUTBOX_ENV_FILE: pipe is a pipe"):
        load_all()
    environment.setenv("OUTBOX_ENV_FILE", "gone")
    with pytest.raises(SettingsError, match=r"^OUTBOX_ENV_FILE: gone cannot be read: No such file"):
        settings.load(EngineSettings)


@pytest.mark.parametrize("line", ["SUPABASE_SECRET_KEY sb_secret_y", "SUPABASE_SECRET_KEY='sb_secret_y"])
def test_unreadable_env_line_is_named_but_not_shown(environment: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"LEASE_SECONDS=7\n{line}\n", encoding="utf-8")

    with pytest.raises(SettingsError, match=r"^\.env, line 2: is not of the form NAME=value$"):
        settings.load(EngineSettings)


def test_missing_setting_error_names_the_misspelled_one(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("SUPABASE_SECRET_KEY")
    environment.setenv("SUPABASE_SECERT_KEY", "sb_secret_y")

    with pytest.raises(SettingsError, match=r"^SUPABASE_SECRET_KEY is not set, but SUPABASE_SECERT_KEY is: "):
        load_all()


def test_only_misspelled_names_are_logged(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are found in the environment and in the .env file."""
    (tmp_path / ".env").write_text("ALOWED_COUNTRIES=US\nSUPABASE_DB_URL=x\nMY_OWN=1\n", encoding="utf-8")
    environment.setenv("SINCH_REIGON", "us")

    with capture_logs() as logs:
        warn_of_misspelled(settings.names())

    assert [(entry["name"], entry["similar_to"]) for entry in logs] == [
        ("ALOWED_COUNTRIES", "ALLOWED_COUNTRIES"),
        ("SINCH_REIGON", "SINCH_REGION"),
    ]


@pytest.mark.parametrize("written", [private_key(), private_key().replace("\n", "\\n"), f" {private_key()} "])
def test_private_key_may_be_one_line(written: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VONAGE_PRIVATE_KEY", written)

    assert settings.load(VonageSettings).vonage_private_key.get_secret_value() == private_key().strip()


def test_private_key_may_be_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "private.key").write_text(private_key())
    environment.setenv("VONAGE_PRIVATE_KEY", str(tmp_path / "private.key"))

    assert settings.load(VonageSettings).vonage_private_key.get_secret_value() == private_key().strip()


@pytest.mark.parametrize("missing", ["VONAGE_API_KEY", "VONAGE_API_SECRET"])
def test_reports_need_key_and_secret(missing: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VONAGE_REPORTS", "1")
    environment.setenv("VONAGE_API_KEY", "abcd1234")
    environment.setenv("VONAGE_API_SECRET", "secret")
    environment.delenv(missing)

    with pytest.raises(SettingsError, match=missing):
        settings.load(VonageSettings)
