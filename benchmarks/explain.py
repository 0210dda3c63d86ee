"""Where a claim and an acceptance spend their time: ``python -m benchmarks.explain`` prints a table of their steps.

The calls handle 4000 rows of one text while the database does nothing else. EXPLAIN ANALYZE reports the steps. It slows the
calls down, so the same calls are also timed without it. ``--plans`` prints the last plans in full.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

from psycopg.errors import Diagnostic

from benchmarks import machine
from benchmarks.rig import Connection, Rig, running
from benchmarks.size import ACCEPT, CLAIM

ROWS: Final = 4000
ROUNDS: Final = 8
_TEXT: Final = "'Your table is ready. See you soon!'"
_EXPLAIN: Final = (
    "load 'auto_explain'",
    "set auto_explain.log_min_duration = 0",
    "set auto_explain.log_analyze = on",
    "set auto_explain.log_nested_statements = on",
    "set auto_explain.log_format = json",
    "set client_min_messages = log",
)
_QUIET: Final = "set auto_explain.log_min_duration = -1"

Plan = Mapping[str, Any]


def main() -> None:
    given = _parser().parse_args()
    with running() as rig:
        for _ in range(2):  # until every plan is made
            _claim_and_accept(rig)
        plain, explained = [], []
        for _ in range(ROUNDS):
            plain.append(_claim_and_accept(rig))
            explained.append(_explained(rig))
    if given.plans:
        print("\n\n".join(json.dumps(plan, indent=1) for plan in explained[-1]))
    steps = [_steps(plans) for plans in explained]
    where = machine.describe()
    print(f"{where.when}, commit {where.commit}: medians of {ROUNDS}\n")
    print("| step | ms |\n|---|--:|")
    for same in zip(*steps, strict=True):
        print(f"| {same[0][0]} | {median(took for _, took in same):.0f} |")
    claim, accept = (median(each[place] for each in plain) for place in (0, 1))
    print(f"\nNot explained, the claim takes {claim:.0f} ms and the acceptance {accept:.0f}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__)
    parser.add_argument("--plans", action="store_true", help="print the plans too")
    return parser


def _claim_and_accept(rig: Rig) -> tuple[float, float]:
    """The milliseconds of each call."""
    rig.insert(ROWS, body=_TEXT)
    return _timed(rig.db)


def _timed(db: Connection) -> tuple[float, float]:
    began = perf_counter()
    [[claim]] = db.execute(CLAIM.encode(), [str(uuid4()), ROWS]).fetchall()
    claimed = perf_counter()
    assert isinstance(claim, dict)  # noqa: S101  # for the type checker
    ids = [str(dispatch["dispatch_id"]) for dispatch in claim["dispatches"]]
    db.execute(ACCEPT.encode(), [ids, [f"batch {one}" for one in ids]])
    return (claimed - began) * 1000, (perf_counter() - claimed) * 1000


def _explained(rig: Rig) -> list[Plan]:
    """The plan of every statement of both calls, those in functions before those that call them."""
    plans: list[Plan] = []

    def listen(notice: Diagnostic) -> None:
        _, is_plan, text = (notice.message_primary or "").partition("plan:\n")
        plans.extend([json.loads(text)] if is_plan else [])

    rig.insert(ROWS, body=_TEXT)
    for setting in _EXPLAIN:
        rig.db.execute(setting.encode())
    rig.db.add_notice_handler(listen)
    try:
        _timed(rig.db)
    finally:
        rig.db.remove_notice_handler(listen)
        rig.db.execute(_QUIET.encode())
    return plans


def _steps(plans: Sequence[Plan]) -> list[tuple[str, float]]:
    """Milliseconds by step, in order: the steps of each call, and the rest of the call."""
    picking, claim_rows, mark_sent = (_saying(words, plans) for words in ("x.was_in_request", "CTE judged", "CTE sent"))
    judged, packed = _step("judged", claim_rows), _step("packed", claim_rows)
    return [
        *_with_rest(
            ("claim", _took(_saying("public.outbox_claim_due(", plans)["Plan"])),
            ("pick: lock ready rows, the most urgent first", _took(picking["Plan"])),
            ("judge: cancel request, expiry, opt-out, country, text", judged),
            ("pack: make requests of them", packed - judged),
            ("write: which message is in which request", _step("members", claim_rows)),
            ("write: the rows", _step("sending", claim_rows)),
        ),
        *_with_rest(
            ("acceptance", _took(_saying("public.outbox_accept(", plans)["Plan"])),
            ("mark the rows", _step("sent", mark_sent)),
            ("the history", _step("history", mark_sent)),
        ),
    ]


def _with_rest(call: tuple[str, float], *steps: tuple[str, float]) -> Iterator[tuple[str, float]]:
    yield call
    for name, took in (*steps, ("all else", call[1] - sum(took for _, took in steps))):
        yield f"· {name}", took


def _saying(words: str, plans: Sequence[Plan]) -> Plan:
    """The longest plan whose text or step names contain this."""
    found = [
        plan for plan in plans if words in plan["Query Text"] or words in {n.get("Subplan Name") for n in _nodes(plan["Plan"])}
    ]
    return max(found, key=lambda plan: _took(plan["Plan"]))


def _step(name: str, plan: Plan) -> float:
    return next(_took(node) for node in _nodes(plan["Plan"]) if node.get("Subplan Name") == f"CTE {name}")


def _took(node: Plan) -> float:
    return float(node["Actual Total Time"] * node["Actual Loops"])


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


if __name__ == "__main__":
    main()
