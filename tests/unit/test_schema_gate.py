"""When the webhook app takes callbacks."""

import asyncio
from collections.abc import Iterator

from structlog.testing import capture_logs

from jobs.gateway.errors import GatewayUnavailable
from jobs.schema.compatibility import Fit, Verdict
from webhook.schema_gate import SchemaGate

FITS = Verdict(Fit.SAME)
TOO_OLD = Verdict(Fit.TOO_OLD, "a file is missing")
TOO_NEW = Verdict(Fit.TOO_NEW, "update it")


class Answers:
    """The answers of the database, one after the other. A schema that is too new ends the watch."""

    def __init__(self, *answers: Verdict | Exception) -> None:
        self._left: Iterator[Verdict | Exception] = iter((*answers, TOO_NEW))
        self.decided: list[bool] = []
        self.gate = SchemaGate(self._check, again=0.0, once_open=0.0)

    async def watched(self) -> list[str]:
        """Watch the gate to the end. Returns the events that it logged."""
        with capture_logs() as logs:
            await asyncio.wait_for(self.gate.watch(), 30)
        return [entry["event"] for entry in logs if entry["log_level"] != "debug"]

    async def _check(self) -> Verdict:
        self.decided.append(self.gate.decided.is_set())
        answer = next(self._left)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_unexpected_error_is_logged_until_it_changes() -> None:
    answers = Answers(KeyError("versions"), KeyError("versions"), KeyError("release"), FITS, KeyError("release"))

    assert await answers.watched() == [
        "schema.check_failed",
        "schema.check_failed",
        "schema.fits",
        "schema.check_failed",
        "schema.unfit",
    ]


async def test_any_answer_of_the_database_decides() -> None:
    answers = Answers(GatewayUnavailable("gone"), KeyError("versions"), TOO_OLD)

    await answers.watched()

    assert answers.decided == [False, False, False, True]


async def test_away_supabase_is_said_as_the_scheduler_does() -> None:
    """Once each time, also at an open gate, where a key may have been revoked."""
    gone = GatewayUnavailable("gone")

    assert await Answers(gone, gone, FITS, gone, FITS).watched() == [
        "supabase.away",
        "callbacks.held_back",
        "supabase.back",
        "schema.fits",
        "supabase.away",
        "supabase.back",
        "schema.unfit",
    ]
