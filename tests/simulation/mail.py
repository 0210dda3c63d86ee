"""The fate of accepted messages and the texts from phones: written into the provider's records and sent as callbacks."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from jobs.gateway.errors import GatewayUnavailable
from jobs.gateway.gateway import Gateway
from jobs.providers.base import Inbound, Report
from tests.simulation.books import Books, Taken
from tests.simulation.witness import Witness

_TRIES: Final = 12
_NETWORK: Final = (("failed", 99), ("failed", None), ("rejected", 62), ("deleted", 5), ("expired", 406), ("failed", 1290))
"""Of messages that a network or a phone refused."""
_FAILURES: Final = (*_NETWORK[:4], ("unknown", 3), ("aborted", 402), _NETWORK[4])
_FAILURES_WITHOUT_LIST: Final = (_NETWORK[5], ("rejected", 1240), ("unknown", 1490), ("failed", None))
_STOPPED: Final = (402, 403, 408, 410, 411, 412)
_STOPPED_WITHOUT_LIST: Final = (1100, 1120, 1140, 1160)
"""Codes of `aborted` of messages that never reached a network, and that say nothing of the account."""
_DAYS_LATE: Final = 72 * 3600.0
_ODD_TIMES: Final = (None, datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Word:
    """A report of the provider: this many seconds after accepting, this status and code."""

    after: float
    status: str
    code: int | None

    @property
    def is_stopped(self) -> bool:
        """Whether the message never reached a network. Providers here say `aborted` of no other."""
        return self.status == "aborted"

    @property
    def is_undelivered(self) -> bool:
        return (self.status, self.code) in _NETWORK


class Mail:
    """The provider's side of callbacks. ``gateway`` is the webhook app's."""

    def __init__(self, books: Books, witness: Witness, gateway: Gateway, seed: int) -> None:
        self._books = books
        self._chaos = books.chaos
        self._witness = witness
        self._gateway = gateway
        self._random = Random(f"mail {books.prefix}{seed}")
        self._group: list[Report] = []
        self._flush: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def taken(self, taken: Taken) -> None:
        """A batch was accepted: decide the fate of each recipient, and send its callbacks."""
        loop = asyncio.get_running_loop()
        for recipient in taken.batch.recipients:
            life = list(self._life(taken))
            story = [(taken.accepted + word.after, self._report(taken, recipient, word)) for word in life]
            taken.reports[recipient] = story
            self._note_truth(taken, recipient, life, [report for _, report in story])
            for when, report in story:
                for delay in self._deliveries(taken, report, when):
                    loop.call_later(delay, self._post, report)

    def _note_truth(self, taken: Taken, recipient: str, life: Sequence[Word], reports: Sequence[Report]) -> None:
        """Whether the text reached no phone, and which report proves that where a contradiction is beyond the promise."""
        if any(word.status == "delivered" for word in life) and not taken.request.is_corner:
            return
        for word, report in zip(life, reports, strict=True):
            if word.is_stopped:
                taken.stopped[recipient] = report
            elif word.is_undelivered and self._chaos.profile.trusts_network:
                taken.undelivered[recipient] = report

    def _life(self, taken: Taken) -> Iterator[Word]:
        return self._life_in_list(taken) if self._chaos.profile.has_list else self._life_without_list(taken)

    def _life_without_list(self, taken: Taken) -> Iterator[Word]:
        chaos, random = self._chaos, self._random
        # A callback may come before the answer to the request.
        after = random.choice((0.0, random.uniform(0.2, 5)))
        if random.random() < 0.7:
            yield Word(after, "dispatched", None)
        if chaos.happens("report.never"):
            return
        after += random.choice((0.0, random.uniform(0.1, 60), random.uniform(0.1, 2000)))
        if taken.accepted + after >= taken.expires:
            yield Word(taken.expires - taken.accepted, "expired", 1360)
        elif chaos.happens("report.doubted"):
            yield Word(after, "unknown", 1330)
            if random.random() < 0.5:
                yield Word(after + random.uniform(0, 4000), "delivered", None)
        elif chaos.happens("report.temporary"):
            yield Word(after, "aborted", 1000)
        elif chaos.happens("report.stopped"):
            yield Word(after, "aborted", random.choice(_STOPPED_WITHOUT_LIST))
        elif chaos.happens("report.blocked"):
            yield Word(after, "aborted", 1060)
        elif chaos.happens("report.failed"):
            yield Word(after, *random.choice(_FAILURES_WITHOUT_LIST))
        else:
            yield Word(after, "delivered", None)

    def _life_in_list(self, taken: Taken) -> Iterator[Word]:
        chaos, random = self._chaos, self._random
        after = 0.0 if chaos.happens("report.early") else random.uniform(0.2, 5)
        if random.random() < 0.7:
            yield Word(after, "dispatched", 401)
        if chaos.happens("report.never"):
            return
        after += random.choice((0.0, random.uniform(0.1, 60), random.uniform(0.1, 2000)))
        if taken.accepted + after >= taken.expires:
            yield Word(taken.expires - taken.accepted, "expired", 406)
            return
        final = self._final(after)
        yield final
        # What may be sent again for this word: a contradiction is beyond the promise.
        is_decisive = final.code == 404 or (chaos.profile.has_two and self._may_move(final))
        corner = is_decisive and chaos.happens("corner.contradicts")
        if corner:
            taken.request.is_corner = True
            yield Word(after + random.uniform(0, 400), "delivered", 0)
        elif not is_decisive and chaos.happens("report.contradicts"):
            others = [Word(after, *other) for other in (*_FAILURES, ("delivered", 0))]
            if chaos.profile.has_two:
                others = [other for other in others if not self._may_move(other)]
            other = random.choice(others)
            yield replace(other, after=after + random.choice((0.0, random.uniform(0, 100))))

    def _may_move(self, word: Word) -> bool:
        """Whether another account may send the message for this word."""
        return word.is_stopped or (word.is_undelivered and self._chaos.profile.trusts_network)

    def _final(self, after: float) -> Word:
        chaos = self._chaos
        if chaos.happens("report.temporary"):
            return Word(after, "aborted", 404)
        if chaos.happens("report.blocked"):
            return Word(after, "aborted", 413)
        if chaos.happens("report.stopped"):
            return Word(after, "aborted", self._random.choice(_STOPPED))
        if chaos.happens("report.opted_out"):
            return Word(after, "failed", 257)
        if chaos.happens("report.failed"):
            return Word(after, *self._random.choice(_FAILURES))
        return Word(after, "delivered", 0)

    def _report(self, taken: Taken, recipient: str, word: Word) -> Report:
        at: datetime | None = self._books.clock(round(taken.accepted + word.after, 3))
        if self._chaos.happens("report.odd_time"):
            at = self._chaos.pick(_ODD_TIMES)
        # Without a list, each report shows the reference.
        shows_reference = self._random.random() < 0.8 or not self._chaos.profile.has_list
        reference = taken.request.reference if shows_reference else None
        raw = f'{{"status": "{word.status}", "code": {"null" if word.code is None else word.code}}}'
        return Report(taken.batch.batch_id, recipient, word.status, word.code, at, reference, raw)

    def _deliveries(self, taken: Taken, report: Report, when: float) -> Iterator[float]:
        """The delays after which the callbacks of this report are sent."""
        chaos, random = self._chaos, self._random
        due = when - self._books.now
        if chaos.happens("report.days_late"):
            due += random.uniform(0, _DAYS_LATE)
        if chaos.happens("report.unsigned"):
            due += random.choice((5.0, 15.0, 915.0))
        if chaos.happens("report.lost"):
            self._witness.say(
                self._books.provider, f"will not call back about {report.recipient} {report.status} of {report.batch_id}"
            )
            return
        yield due + (random.uniform(0, 600) if chaos.happens("report.late") else 0.0)
        while chaos.happens("report.repeated"):
            yield due + random.uniform(0, 600)

    def _post(self, report: Report) -> None:
        """Callbacks that come together are committed together."""
        self._group.append(report)
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(self._random.choice((0.0, 0.0, 0.5)), self._send_group)

    def _send_group(self) -> None:
        group, self._group, self._flush = self._group, [], None
        self._random.shuffle(group)
        self._spawn(self._call_back(group))

    async def _call_back(self, group: Sequence[Report]) -> None:
        pause = 5.0
        await self._books.present.wait()
        for _ in range(_TRIES):
            try:
                await self._gateway.record_reports(group, source="webhook")
            except GatewayUnavailable:
                await asyncio.sleep(pause)
                pause *= 2
            else:
                return
        self._witness.say(self._books.provider, f"gives up calling back about {len(group)} reports")

    # Phones

    def write(self, sender: str, body: str) -> None:
        """A person sends us a message."""
        now = self._books.now
        number = len(self._books.inbounds) + 1
        received_at, provider = self._books.clock(round(now, 3)), self._books.provider
        inbound_id = f"{self._books.prefix}i{number}"
        inbound = Inbound(inbound_id, "mo_text", sender, "+15550100", body, received_at, None, "{}", provider)
        self._books.inbounds.append((now, inbound))
        self._witness.say("phone", f"{sender} writes {body}")
        if not self._chaos.happens("report.lost"):
            delay = self._random.uniform(0, 300) if self._chaos.happens("report.late") else 0.0
            asyncio.get_running_loop().call_later(delay, self._call_about, inbound)

    def _call_about(self, inbound: Inbound) -> None:
        self._spawn(self._call_in(inbound))

    async def _call_in(self, inbound: Inbound) -> None:
        pause = 5.0
        await self._books.present.wait()
        for _ in range(_TRIES):
            try:
                await self._gateway.record_inbounds([inbound], source="webhook")
            except GatewayUnavailable:
                await asyncio.sleep(pause)
                pause *= 2
            else:
                return

    def _spawn(self, story: object) -> None:
        task = asyncio.ensure_future(story)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
