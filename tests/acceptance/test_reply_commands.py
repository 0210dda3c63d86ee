"""`outbox replies` as it is typed: what is shown of numbers and texts, and decisions."""

import pytest

from sandbox.local.stack import LocalStack
from tests.acceptance.test_operating import Operator
from tests.integration.replies import PHONE, suppressed, text_in
from tests.stack import Connection

ODD = "Please \u202e cancel\n\x1b[2J my\u200b appointment [bold]"


@pytest.fixture
def outbox(stack: LocalStack) -> Operator:
    return Operator(stack)


def test_unclear_replies_are_listed_and_decided(outbox: Operator, db: Connection) -> None:
    text_in(db, "See you", name="other")
    text_in(db, ODD, name="odd", to="")

    assert "1 reply may be an opt-out, the oldest since" in outbox("status").stdout
    shown = outbox("replies", "--unclear").stdout
    assert [line.split()[0] for line in shown.splitlines() if "•••" in line] == ["odd"]
    assert "unclear   Please cancel [2J my appointment [bold]" in shown
    assert PHONE not in shown

    tried = outbox("replies", "decide", "odd", "--opt-out", "--dry-run")
    assert (tried.returncode, suppressed(db)) == (0, [])
    assert tried.stdout.splitlines()[-1] == "nothing was changed: this was a dry run"
    for _ in range(2):
        done = outbox("replies", "decide", "odd", "--opt-out")
        assert (done.returncode, done.stdout) == (0, "odd: opted out: +1200•••0101 gets no more messages\n")
    assert suppressed(db) == [(PHONE, "replied STOP")]
    assert outbox("replies", "--unclear").stdout == "no reply waits for a decision\n"


def test_json_shows_numbers_only_when_asked(outbox: Operator, db: Connection) -> None:
    for n in range(3):
        text_in(db, "please don't stop", name=f"r{n}")

    (masked,) = outbox.json("replies", "--limit", 1)["replies"]
    assert (masked["sender"], masked["body"], masked["unclear"]) == ("+1200•••0101", "please don't stop", True)
    assert [reply["sender"] for reply in outbox.json("replies", "--show-numbers")["replies"]] == [PHONE] * 3
    decided = outbox.json("replies", "decide", "r0", "r1", "--no")
    assert [(one["id"], one["outcome"]) for one in decided["replies"]] == [("r0", "dismissed"), ("r1", "dismissed")]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nobody", "--no"], 1, "nobody: no such reply; outbox replies lists them\n"),
        (["nobody"], 2, "outbox: Invalid value: give --opt-out or --no\n"),
        (["--no"], 2, "outbox: Missing argument 'ID…'.\n"),
    ],
)
def test_wrong_decisions_are_refused(outbox: Operator, arguments: list[str], code: int, says: str) -> None:
    ran = outbox("replies", "decide", *arguments)
    assert (ran.returncode, ran.stdout + ran.stderr) == (code, says)
