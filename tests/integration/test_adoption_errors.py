"""What `outbox adopt` says and does where it cannot read the provider's list."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.providers.base import ProviderError, Refusal
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from scheduler.cli import run_command_line
from tests.adoptions import adopt
from tests.engine import MakeRig


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("setting", ["SINCH_API_TOKEN", "SINCH_SERVICE_PLAN_ID"])
def test_error_names_the_settings_of_the_account(
    stack: LocalStack, sinch: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    right = {
        **stack.env,
        "SINCH_BASE_URL": sinch.url,
        "SINCH_SERVICE_PLAN_ID": sinch.plan.id,
        "SINCH_API_TOKEN": sinch.plan.token,
    }
    for name, value in {**right, setting: "wrong"}.items():
        monkeypatch.setenv(name, value)

    assert run_command_line(["adopt", "--since", "1h"]) == 1

    said = capsys.readouterr().err
    assert "Check SINCH_SERVICE_PLAN_ID, SINCH_API_TOKEN and SINCH_REGION; nothing was changed" in said


async def test_unanswered_list_is_asked_for_again(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await make_rig()
    answer = rig.engine.served[0].provider.sent_batches
    errors = [ProviderError("no connection", why=Refusal.UNREACHABLE, retry_after=0.001)]

    async def answer_later(**question: Any) -> Any:
        if errors:
            raise errors.pop()
        return await answer(**question)

    monkeypatch.setattr(rig.engine.served[0].provider, "sent_batches", answer_later)
    with capture_logs() as log:
        assert (await adopt(rig)).is_complete

    (said,) = [one for one in log if one["event"] == "adoption.tries_again"]
    assert (said["error"], said["in_seconds"]) == ("no connection", 0.001)
    assert datetime.fromisoformat(said["until"]) > datetime.now(UTC) + timedelta(minutes=1)
