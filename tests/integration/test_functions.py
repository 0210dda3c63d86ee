"""Apps, commands and processes of an older version call the database's functions by name and argument during a rollout."""

from pathlib import Path

from jobs.gateway.values import Claim, Dispatch, Lookup
from tests.stack import Connection

KNOWN = Path(__file__).with_name("functions.txt")

SIGNATURES = """
    select format('%s(%s) returns %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname like 'outbox\\_%'
      and pg_get_function_result(p.oid) <> 'trigger'
    order by 1
"""


def signatures(db: Connection) -> list[str]:
    return [str(signature) for (signature,) in db.execute(SIGNATURES.encode()).fetchall()]


def test_functions_called_from_outside_stay_unchanged(db: Connection) -> None:
    known, present = KNOWN.read_text(encoding="utf-8").splitlines(), signatures(db)

    gone, new = sorted(set(known) - set(present)), sorted(set(present) - set(known))
    assert not gone, (
        "an older process, command or app still calls\n  "
        + "\n  ".join(gone)
        + "\nA function whose arguments or answer change gets a new name, "
        "and the old one stays for one release (docs/decisions/0001-packages.md). Only what no released version calls may be "
        f"changed here, in {KNOWN.name}. New in the database:\n  " + "\n  ".join(new)
    )
    assert not new, f"add to {KNOWN.name}:\n  " + "\n  ".join(new)


def test_no_function_is_overloaded(db: Connection) -> None:
    names = [signature.partition("(")[0] for signature in signatures(db)]

    assert sorted(set(names)) == names


def test_older_process_ignores_unknown_answer_fields() -> None:
    dispatch = {
        "dispatch_id": "d",
        "lease_token": "1",
        "sender": None,
        "body": "hello",
        "expire_at": None,
        "wait_seconds": 0,
        "recipients": ["+12025550100"],
        "texts": None,
        "of_a_later_version": True,
    }
    lookup = {"dispatch_id": "d", "lease_token": "1", "since": "2026-01-01T00:00:00+00:00", "of_a_later_version": [1]}

    claim = Claim.parse({"dispatches": [dispatch], "more": False, "of_a_later_version": {}})

    assert claim.dispatches == (Dispatch.parse(dispatch),)
    assert Lookup.parse(lookup).dispatch_id == "d"
