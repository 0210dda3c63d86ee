"""Lost, sent twice, sent though it must not be: by the provider's books alone."""

from dataclasses import asdict, dataclass

from sandbox.demo.work import Work
from sandbox.simulator.control import Control


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the demo came to. ``seconds`` are from the first insert to the last final state."""

    messages: int
    statuses: dict[str, int]
    lost: int
    sent_twice: int
    sent_wrongly: int
    stuck: int
    requests: int
    seconds: float

    @property
    def good(self) -> bool:
        return not (self.lost or self.sent_twice or self.sent_wrongly or self.stuck)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def judge(work: Work, simulator: Control, *, statuses: dict[str, int], stuck: int, seconds: float) -> Verdict:
    accepted = {(_plus(tally.recipient), tally.body): tally.accepted - tally.excused for tally in simulator.tallies(least=1)}
    return Verdict(
        messages=len(work.rows),
        statuses=dict(sorted(statuses.items())),
        lost=sum(1 for message in work.once if message not in accepted),
        sent_twice=sum(1 for times in accepted.values() if times > 1),
        sent_wrongly=sum(1 for message in accepted if message not in work.once),
        stuck=stuck,
        requests=simulator.summary().requests.get("send", 0),
        seconds=round(seconds, 1),
    )


def _plus(number: str) -> str:
    return number if number.startswith("+") else f"+{number}"
