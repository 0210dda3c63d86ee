"""What a process says of its settings before it begins, and what it puts up with."""

import pytest

from jobs.runtime import settings
from jobs.runtime.accounts import SinchSettings
from jobs.runtime.settings import SettingsError, SupabaseSettings
from scheduler.cli import run_command_line
from tests.unit.test_settings import environment

__all__ = ["environment"]


@pytest.mark.parametrize("written", ["US", " us ", "Us\t"])
def test_region_has_any_case_and_blanks(written: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SINCH_REGION", written)

    assert settings.load(SinchSettings).sinch_region == "us"
    environment.setenv("SINCH_REGION", "  ")
    with pytest.raises(SettingsError, match=r"^SINCH_REGION is not set: us, eu"):
        settings.load(SinchSettings)


@pytest.mark.parametrize(
    "host",
    ["localhost:54321", "127.9.9.9", "[::1]:8000", "10.0.0.7", "192.168.1.1", "100.64.0.9", "[fd00::1]", "[fe80::1%25eth0]",
     "kong:8000", "host.docker.internal", "kong.default.svc.cluster.local", "KONG", "supabase.home.arpa."],
)  # fmt: skip
def test_http_reaches_this_machine_and_private_networks(host: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SUPABASE_URL", f"http://{host}")

    assert settings.load(SupabaseSettings).supabase_url == f"http://{host}"


def test_all_wrong_settings_are_told_at_once(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that another one makes necessary, too. Each once, with its name first."""
    for name in ("SUPABASE_URL", "SINCH_API_TOKEN", "SINCH_REGION", "VONAGE_REPORTS"):
        environment.delenv(name)
    environment.setenv("LOG_LEVEL", "loud")
    environment.setenv("LEASE_SECONDS", "soon")
    environment.setenv("SETTLE_SECONDS", "-1")
    environment.setenv("ALLOWED_RECIPIENTS", "12025550100")
    environment.setenv("OUTBOX_DB_URL", "nonsense = hunter2")
    wrong = {"LOG_LEVEL", "SUPABASE_URL", "SINCH_API_TOKEN", "SINCH_REGION", "VONAGE_API_KEY", "VONAGE_API_SECRET",
             "ALLOWED_RECIPIENTS", "LEASE_SECONDS", "SETTLE_SECONDS", "OUTBOX_DB_URL"}  # fmt: skip

    assert run_command_line(["run"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.removeprefix("outbox: ").partition(" ")[0].rstrip(":") for line in lines) == sorted(wrong)
    assert "hunter2" not in "".join(lines)

    environment.delenv("SINCH_WEBHOOK_SECRETS")
    environment.setenv("WEBHOOK_ALLOWED_IPS", "everywhere")
    assert run_command_line(["webhook", "--port", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "WEBHOOK_ALLOWED_IPS", "SINCH_WEBHOOK_SECRETS", "SUPABASE_URL", "LOG_LEVEL",
    ]  # fmt: skip
