"""What `outbox run` warns of when it starts."""

import pytest
from structlog.testing import capture_logs

from jobs.runtime.accounts import SinchSettings
from scheduler.commands.run import warn_of_account

SERVED = ["delivery", "inbound", "delivery/", "delivery?app=1"]


def warned(url: str | None, sender: str | None = "Shop") -> list[str]:
    account = SinchSettings(
        _env_file=None,
        sinch_service_plan_id="plan",
        sinch_api_token="token",
        sinch_region="us",
        sinch_callback_url=url,
        sinch_from_number=sender,
    )
    with capture_logs() as logs:
        warn_of_account(account)
    return [log["event"] for log in logs]


@pytest.mark.parametrize("url", [None, *(f"https://sms.example.com/webhooks/sinch/{path}" for path in SERVED)])
def test_served_callback_path_gives_no_warning(url: str | None) -> None:
    assert warned(url) == []


@pytest.mark.parametrize("path", ["", "/", "/webhooks/sinch", "/webhook/sinch/delivery", "/sms/callback"])
def test_unserved_callback_path_is_warned_of(path: str) -> None:
    assert warned(f"https://sms.example.com{path}") == ["callbacks.path"]


def test_missing_default_sender_is_warned_of() -> None:
    assert warned(None, sender=None) == ["sender.missing"]
