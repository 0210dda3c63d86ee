"""The demo's verdict, by the books of the simulators."""

from sandbox.demo.verdict import Count, compare, together
from sandbox.demo.work import Message
from sandbox.simulator.books import Tally


def test_verdict_sums_the_books_of_both_providers() -> None:
    wanted = Message("+12025550101", "once")
    at_sinch = Tally(recipient="12025550101", body="once", accepted=1, excused=0, batch_ids=["A"])
    at_vonage = Tally(recipient="12025550101", body="once", accepted=1, excused=0, batch_ids=["B"])
    stopped = Tally(recipient="12025550101", body="once", accepted=1, excused=1, batch_ids=["C"])

    assert compare([wanted], together([at_sinch, at_vonage])) == Count(lost=0, sent_twice=1, sent_wrongly=0)
    assert compare([wanted], together([stopped, at_vonage])) == Count(lost=0, sent_twice=0, sent_wrongly=0)


def test_verdict_counts_lost_duplicate_and_wrong_sends() -> None:
    """The counts come from the provider's books."""
    due = Message("+12025550101", "once")
    lost = Message("+12025550102", "never came")
    held = Message("+12025550103", "opted out", sent=False)
    books = [
        Tally(recipient="12025550101", body="once", accepted=2, excused=0, batch_ids=["A", "B"]),
        Tally(recipient="12025550103", body="opted out", accepted=1, excused=0, batch_ids=["A"]),
    ]

    assert compare([due, lost, held], books) == Count(lost=1, sent_twice=1, sent_wrongly=1)
