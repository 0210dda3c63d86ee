"""Where a claim and an acceptance spend their time: ``python -m benchmarks.explain`` prints each step with its time."""

import argparse
from uuid import uuid4

from psycopg.errors import Diagnostic

from benchmarks.rig import Connection, running
from benchmarks.size import ACCEPT, CLAIM

ROWS = 4000
WARM_UP = 6
_TELL = (
    "load 'auto_explain'",
    "set auto_explain.log_min_duration = '5ms'",
    "set auto_explain.log_analyze = on",
    "set auto_explain.log_nested_statements = on",
    "set client_min_messages = log",
)


def main() -> None:
    said: list[str] = []
    with running() as rig:
        for _ in range(WARM_UP):
            rig.insert(ROWS, body="'Your table is ready. See you soon!'")
            _claim_and_accept(rig.db)
        rig.insert(ROWS, body="'Your table is ready. See you soon!'")
        for setting in _TELL:
            rig.db.execute(setting.encode())

        def listen(notice: Diagnostic) -> None:
            said.append(notice.message_primary or "")

        rig.db.add_notice_handler(listen)
        _claim_and_accept(rig.db)
    print("\n\n".join(said))


def _claim_and_accept(db: Connection) -> None:
    [[claim]] = db.execute(CLAIM.encode(), [str(uuid4()), ROWS]).fetchall()
    assert isinstance(claim, dict)  # noqa: S101  # for the type checker
    ids = [str(dispatch["dispatch_id"]) for dispatch in claim["dispatches"]]
    db.execute(ACCEPT.encode(), [ids, [f"batch {one}" for one in ids]])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
