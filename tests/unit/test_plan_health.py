"""What the dispatch job logs about its plan, and whether the plan counts as stopped."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.dispatching.health import PlanHealth
from jobs.gateway.values import Claim, Dispatch
from jobs.providers.base import Refusal, Refused

DISPATCH = Dispatch("d", "1", None, "text", None, 0.0, ("+12025550100",))


@pytest.fixture
def health() -> PlanHealth:
    return PlanHealth("plan", provider="sinch")


def answer(paused: str | None = None) -> Claim:
    return Claim((), False, False, (), paused, None, "reason", 1.0)


def levels(logs: Sequence[Any], event: str) -> list[str]:
    return [entry["log_level"] for entry in logs if entry["event"] == event]


def test_pause_is_logged_once_until_a_request_succeeds(health: PlanHealth) -> None:
    with capture_logs() as logs:
        health.claimed(answer("account"), urgent_only=False)
        health.claimed(answer("account"), urgent_only=False)
        health.claimed(answer(), urgent_only=False)
        assert not health.stopped
        health.claimed(answer("account"), urgent_only=False)
        health.accepted()
        health.accepted()
        health.claimed(answer("account"), urgent_only=False)

    assert levels(logs, "plan.paused") == ["warning", "debug", "debug", "warning"]
    assert levels(logs, "plan.resumed") == ["info"]


def test_log_names_the_setting_to_change(health: PlanHealth) -> None:
    def settings_of(reason: str, *refused: tuple[Refusal, str]) -> list[str | None]:
        with capture_logs() as logs:
            health.claimed(Claim((), False, False, (), "account", None, reason, 1.0), urgent_only=False)
            for why, error in refused:
                health.refused(DISPATCH, Refused(why=why, error=error))
        return [entry.get("setting") for entry in logs]

    assert settings_of("HTTP 401 no", (Refusal.ACCOUNT, "HTTP 404 no"), (Refusal.SETTING, "HTTP 400 invalid from")) == [
        "SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID",
        "SINCH_SERVICE_PLAN_ID and SINCH_REGION",
        "SINCH_FROM_NUMBER",
    ]
    assert settings_of("HTTP 402 no money", (Refusal.THROTTLED, "HTTP 429")) == [None, None]


def test_pause_of_another_kind_is_logged(health: PlanHealth) -> None:
    with capture_logs() as logs:
        for kind in ("throttled", "account", "throttled"):
            health.claimed(answer(kind), urgent_only=False)
        health.accepted()

    assert levels(logs, "plan.paused") == ["warning"] * 3
    assert levels(logs, "plan.resumed") == ["info"]


def test_claim_of_urgent_rows_ends_no_pause(health: PlanHealth) -> None:
    health.claimed(answer("account"), urgent_only=False)

    health.claimed(answer(), urgent_only=True)

    assert health.stopped


@pytest.mark.parametrize(
    ("why", "logged", "stopped"),
    [
        (Refusal.ACCOUNT, ["warning", "debug"], True),
        (Refusal.SETTING, ["warning", "debug"], True),
        (Refusal.UNREACHABLE, ["warning", "debug"], True),
        (Refusal.THROTTLED, ["warning", "debug"], False),
        (Refusal.RECIPIENT, ["warning", "warning"], False),
        (Refusal.SHARED, ["warning", "warning"], False),
    ],
)
def test_refusal_that_stops_the_plan_is_logged_once(health: PlanHealth, why: Refusal, logged: list[str], stopped: bool) -> None:
    with capture_logs() as logs:
        health.refused(DISPATCH, Refused(why, "no"))
        health.refused(DISPATCH, Refused(why, "no"))

    assert (levels(logs, "dispatch.refused"), health.stopped) == (logged, stopped)
    health.accepted()
    assert not health.stopped


def test_restored_database_stops_the_plan_until_adopted(health: PlanHealth) -> None:
    with capture_logs() as logs:
        health.claimed(answer("restored"), urgent_only=False)
        assert health.stopped
        health.claimed(answer("restored"), urgent_only=False)
        health.claimed(answer(), urgent_only=False)

    assert levels(logs, "plan.paused") == ["warning", "debug"]
    assert not health.stopped
