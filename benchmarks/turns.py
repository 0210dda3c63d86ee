"""What callbacks wait for: ``python -m benchmarks.turns`` prints how the webhook app and the database share the time.

What a callback costs each program is in the table of `benchmarks/callbacks.py`; this is why they do not all work at once.
"""

import argparse
import subprocess
from contextlib import closing
from typing import Any, Final

import psycopg

from benchmarks.callbacks import DELIVERY, SECRET, fire
from benchmarks.load import Order
from benchmarks.sent import make_batches
from benchmarks.timeline import covered
from benchmarks.worker import Worker, started
from jobs.runtime import settings
from sandbox.local.stack import LocalStack

CONNECTIONS: Final = (50, 200, 500)
SECONDS: Final = 5.0
_RECIPIENTS: Final = 500
_MOST_PER_SECOND: Final = 12_000


def main() -> None:
    with LocalStack(durable=True) as stack, closing(psycopg.connect(stack.admin_url, autocommit=True)) as db:
        environment = {
            **dict.fromkeys(settings.names(), ""),
            "SUPABASE_URL": stack.url,
            "SUPABASE_SECRET_KEY": stack.secret_key,
            "SINCH_WEBHOOK_SECRETS": SECRET,
            "LOG_LEVEL": "warning",
        }
        for connections in CONNECTIONS:
            print(_turns(db, environment, connections), flush=True)


def _turns(db: psycopg.Connection[Any], environment: dict[str, str], connections: int) -> str:
    batches = make_batches(
        db, tag=f"turns {connections}", batches=int(_MOST_PER_SECOND * SECONDS) // _RECIPIENTS, recipients=_RECIPIENTS
    )
    db.execute("vacuum analyze public.outbox, outbox_engine.dispatches, outbox_engine.dispatch_members")
    bodies = [body for batch in batches for body in batch.callbacks()]
    with started(["-m", "benchmarks.timed_webhook"], environment, stdout=subprocess.PIPE, text=True) as process:
        app = Worker(process)
        port = int(app.listen()["port"])
        outcome, cpu = fire(Order(port, DELIVERY, SECRET, bodies, connections, SECONDS))
        process.terminate()
        said = app.listen()["calls"]
    calls = sorted(
        ((name, began, ended) for name, began, ended in said if name == "outbox_take_reports"), key=lambda call: call[1]
    )
    busy, all_of_them, taken = covered(calls), sum(ended - began for _, began, ended in calls), len(outcome.acknowledged)
    used = {"app": cpu["python"], "API": cpu["node"], "database": cpu["postgres"], "load": outcome.cpu}
    cores = ", ".join(f"{name} {seconds / outcome.seconds:.0%}" for name, seconds in used.items())
    return (
        f"{connections:3} connections: {taken / outcome.seconds:,.0f} callbacks a second, {taken / len(calls):.0f} a call; "
        f"a call is in flight in {busy / outcome.seconds:.0%} of the time, {all_of_them / busy:.1f} at once then, "
        f"each {1000 * all_of_them / len(calls):.1f} ms. Of a core: {cores}"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
