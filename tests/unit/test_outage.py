"""An outage is logged once when it begins and once when it ends."""

from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from jobs.runtime.outage import Outage


@pytest.fixture
def outage() -> Outage:
    return Outage("supabase.away", ended="supabase.back")


def above_debug(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["log_level"] != "debug"]


def test_outage_is_logged_once_until_recovery(outage: Outage) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            outage.failed()
        outage.recovered()
        outage.recovered()

    assert above_debug(logs) == [("warning", "supabase.away"), ("info", "supabase.back")]


def test_repeated_failures_are_logged_at_debug(outage: Outage) -> None:
    with capture_logs() as logs:
        outage.failed(error="first")
        outage.failed(error="second")

    assert [(entry["log_level"], entry["error"]) for entry in logs] == [("warning", "first"), ("debug", "second")]


def test_new_outage_is_logged_again(outage: Outage) -> None:
    with capture_logs() as logs:
        for _ in range(2):
            outage.failed()
            outage.recovered()

    assert above_debug(logs) == [("warning", "supabase.away"), ("info", "supabase.back")] * 2


def test_outage_ends_when_every_source_recovered(outage: Outage) -> None:
    with capture_logs() as logs:
        outage.failed("dispatch", job="dispatch")
        outage.failed("recover", job="recover")
        outage.recovered("upkeep", job="upkeep")
        outage.recovered("dispatch", job="dispatch")
        assert outage.ongoing
        outage.recovered("recover", job="recover")

    assert above_debug(logs) == [("warning", "supabase.away"), ("info", "supabase.back")]
    assert (logs[0]["job"], logs[-1]["job"]) == ("dispatch", "recover")
    assert not outage.ongoing


def test_recovery_without_event_is_not_logged() -> None:
    outage = Outage("lease.not_renewed")

    with capture_logs() as logs:
        outage.failed()
        outage.recovered()

    assert above_debug(logs) == [("warning", "lease.not_renewed")]
    assert not outage.ongoing
