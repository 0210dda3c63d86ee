"""What the judge of ``make chaos`` says of outages: how soon another provider sent instead."""

from datetime import UTC, datetime

from sandbox.simulator.behaviour import ProviderName
from sandbox.simulator.books import Accepted
from tests.chaos.outages import Failover, Outage, after, planned, summarized
from tests.chaos.providers import SINCH, VONAGE, Accounts

BOTH = Accounts((SINCH, VONAGE))
AWAY = Outage("sinch", "refuses connections", began=100.0, ended=160.0)
PAUSED = "through vonage b, because sinch a is paused (unreachable): no connection"


def accepted(at: float, provider: ProviderName, reference: str = "") -> Accepted:
    time = datetime.fromtimestamp(at, UTC).isoformat()
    return Accepted(
        provider=provider,
        batch_id="A",
        reference=reference,
        recipient="1",
        body="t",
        at=time,
        status="delivered",
        code=0,
        status_at=time,
    )


def failover(why: str, *books: Accepted) -> float | None:
    entries = [accepted(90, "sinch"), accepted(103.5, "vonage", "moved"), *books]
    (one,) = after([AWAY], entries, {"moved": why}, ["sinch"])
    return one.failover


def test_failover_counts_until_another_provider_sends() -> None:
    assert failover(PAUSED) == 3.5
    assert failover("through vonage b, because sinch a has no running process") == 3.5
    assert failover("through vonage b, because other c is paused; sinch a is paused (unreachable): no") == 3.5


def test_other_reasons_are_no_failover() -> None:
    assert failover("through vonage b, because sinch a is at the limit of its rate") is None
    assert failover("through sinch a, because vonage b is paused (unreachable): no") is None
    assert failover("") is None


def test_lost_weight_counts_once_it_grows() -> None:
    before = accepted(80, "vonage", "before")
    why = {"before": "through vonage b, because sinch a lost 10 points of its weight"}

    def seconds(lost: int) -> float | None:
        said = f"through vonage b, because sinch a lost {lost} points of its weight"
        (one,) = after([AWAY], [before, accepted(104, "vonage", "later")], why | {"later": said}, ["sinch"])
        return one.failover

    assert (seconds(10), seconds(20)) == (None, 4.0)


def test_return_counts_until_the_provider_sends_again() -> None:
    again = Outage("sinch", "hangs", began=200.0, ended=260.0)
    books = [accepted(150, "sinch"), accepted(162, "vonage"), accepted(167, "sinch"), accepted(300, "sinch")]

    first, second = after([AWAY, again], books, {}, ["sinch"])

    assert (first.back, second.back) == (7.0, 40.0)


def test_providers_that_stood_by_are_not_summarized() -> None:
    sinch = Failover("sinch", "hangs", 60.0, failover=4.0, back=2.0, stood_by=False)
    never = Failover("sinch", "hangs", 60.0, failover=None, back=6.0, stood_by=False)
    vonage = Failover("vonage", "hangs", 60.0, failover=None, back=90.0, stood_by=True)

    assert summarized([sinch, never, vonage]) == {
        "failover_median": 4.0,
        "failover_longest": 4.0,
        "failover_never": 1,
        "back_median": 4.0,
        "back_longest": 6.0,
        "back_never": 0,
    }


def test_each_of_several_providers_goes_away_twice() -> None:
    assert list(planned(BOTH)) == [
        ("sinch", "refuses connections"),
        ("vonage", "refuses connections"),
        ("sinch", "hangs"),
        ("vonage", "hangs"),
    ]
    assert not planned(Accounts((VONAGE,)))
