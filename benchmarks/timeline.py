"""What a drain waits for: ``python -m benchmarks.timeline`` prints each call of it with its time, and how much they overlap.

10,000 messages of one text, as in `benchmarks/peers.py`.
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import Final

from benchmarks import worker
from benchmarks.draining import ONE_TEXT
from benchmarks.rig import Gauge, Rig, running

Call = tuple[str, float, float]
MESSAGES: Final = 10_000
RUNS: Final = 5


def main() -> None:
    with running() as rig:
        for number in range(RUNS):
            _drain(rig, says_calls=number == RUNS - 1)


def _drain(rig: Rig, *, says_calls: bool) -> None:
    rig.empty()
    rig.insert(MESSAGES, body=ONE_TEXT)
    with worker.ready("benchmarks.drainer", environment=rig.environment) as drainer, Gauge(rig) as gauge:
        said = drainer.work()
    seconds, calls = float(said["seconds"]), [(str(name), float(began), float(ended)) for name, began, ended in said["calls"]]
    if says_calls:
        print(f"\n{'began':>8} {'ended':>8} {'took':>8}  ms")
        for name, began, ended in calls:
            print(f"{began * 1000:8.1f} {ended * 1000:8.1f} {(ended - began) * 1000:8.1f}  {name}")
    claims, acceptances = _of(calls, "outbox_claim_due"), _of(calls, "outbox_accept")
    print(
        f"{MESSAGES / seconds:,.0f} messages a second, {seconds * 1000:.0f} ms, a claim in flight in "
        f"{covered(claims) / seconds:.0%} of them, an acceptance in {covered(acceptances) / seconds:.0%}, "
        f"both in {_both(claims, acceptances) / seconds:.0%}; {sum(gauge.cpu.values()) / seconds:.2f} cores busy"
    )


def _of(calls: Iterable[Call], name: str) -> list[Call]:
    return sorted((call for call in calls if call[0] == name), key=lambda call: call[1])


def covered(calls: Sequence[Call]) -> float:
    """Seconds in which at least one of these was in progress."""
    seconds = until = 0.0
    for _, began, ended in calls:
        seconds += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return seconds


def _both(some: Sequence[Call], others: Sequence[Call]) -> float:
    return covered(some) + covered(others) - covered(sorted([*some, *others], key=lambda call: call[1]))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
