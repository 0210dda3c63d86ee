"""A pause that is over is not told as a pause: what became of it, and when a scheduler showed its last sign."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.pages.now import plans_now
from jobs.gateway import pause_words
from jobs.gateway.replies import NONE_UNCLEAR
from jobs.gateway.status import Backlog, Count, Heartbeat, Pause, Requests, Status
from jobs.gateway.verdict import PlanState, Verdict
from scheduler.commands import status_view
from scheduler.commands.terminal import console

AT = datetime(2027, 1, 15, 9, tzinfo=UTC)
REFUSED = "HTTP 401 unauthorized, check SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID"
OVER = Pause("sinch", "p", "account", "HTTP 401 unauthorized", AT - timedelta(minutes=2), None, probing=True)
NONE = Count(0, exact=True)
STATUS = Status(
    at=AT,
    backlog=Backlog(NONE, None, NONE, None, NONE),
    requests=Requests(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    pauses=(OVER,),
    held=(),
    plans=(),
    jobs=(),
    processes=(),
    alarms_waiting=0,
    alarms=(),
    unclear_replies=NONE_UNCLEAR,
)


def status(seconds_ago: float) -> Status:
    """The status with heartbeats of two jobs, the latest so many seconds ago."""
    beats = [
        Heartbeat(job, "sinch", "p", AT, seconds) for job, seconds in (("dispatch", seconds_ago), ("inbound", seconds_ago + 50))
    ]
    return replace(STATUS, jobs=tuple(beats))


def verdict(seconds_ago: float, code: str = "trying") -> Verdict:
    state = PlanState(
        "sinch", "p", code, AT - timedelta(minutes=2), "account", OVER.reason, None, probing=True,
        sign_at=AT - timedelta(seconds=seconds_ago),
    )  # fmt: skip
    return Verdict("not_sending", code=code, at=AT, plans=(state,))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (12.0, "the pause is over, and the next message tries it"),
        (45.0, "the pause is over, and the last sign of a scheduler was 45 s ago"),
        (None, "the pause is over, and no scheduler runs"),
    ],
)
def test_words_name_the_last_sign(seconds: float | None, words: str) -> None:
    assert pause_words.over(seconds) == words


def test_every_screen_tells_an_ended_pause_alike(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    words = pause_words.over(45.0)

    console().print(status_view.screen(status(45), None, verdict=verdict(45), asked=0))

    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"NOT SENDING: {REFUSED}; {words}"
    place = next(place for place, line in enumerate(said) if line.startswith("paused"))
    assert [line.split(maxsplit=1)[-1] for line in said[place : place + 1]] == ["no plan"]
    assert said[place + 1].strip() == f"sinch p, account: {REFUSED}; {words}"
    (plan,) = plans_now(status(45), verdict(45))
    assert (plan.state, plan.is_paused, plan.pauses) == ("has no process", False, ((REFUSED, words),))


def test_ended_pause_with_a_scheduler_tries_again() -> None:
    (plan,) = plans_now(status(5), verdict(5))

    assert (plan.state, plan.tone, plan.is_paused) == ("tries again", "warn", False)
    assert verdict(5).line == f"NOT SENDING: {REFUSED}; the pause is over, and the next message tries it"


def test_pause_that_lasts_has_one_end() -> None:
    until = AT + timedelta(minutes=3)
    lasting = replace(OVER, until=until, probing=False)

    (plan,) = plans_now(replace(STATUS, pauses=(lasting,)), verdict(5, "paused"))

    assert (plan.state, plan.is_paused, plan.pauses) == ("paused", True, ((REFUSED, "until 2027-01-15 09:03:00Z"),))
