"""Rows that the provider has accepted and not yet reported on, made in bulk as the dispatch job would have left them."""

import json
from dataclasses import dataclass
from typing import Any

import psycopg

PLAN = "bench-plan"

_DISPATCHES = """
insert into outbox_engine.dispatches (
  id, claim_id, worker, provider, plan, host, credential, sender, body, expire_at, expires_at, recipients, state, lease_token,
  lease_until, deadline, claimed_at, accepted_at, closed_at, batch_id
)
select gen_random_uuid(), gen_random_uuid(), 'bench', 'sinch', %(plan)s, 'bench', 'bench', '+12025550100', 'hello',
  now() + interval '1 day', now() + interval '1 day', %(recipients)s, 'accepted', nextval('outbox_engine.lease_tokens'), now(),
  interval '10 seconds', now(), now(), now(), upper(left(md5(%(tag)s || n), 26))
from generate_series(1, %(batches)s) n
returning id, batch_id
"""

_ROWS = """
with made as (
  insert into public.outbox (
    recipient, body, sender, send_at, expires_at, priority, status, batch_id, attempts, parts, created_at, sent_at, due_at,
    dispatch_id, reported_rank
  )
  select '+1415' || (2000000 + n), 'hello', '+12025550100', now(), now() + interval '1 day', 100, 'sent', d.batch_id, 1, 1,
    now(), now(), now(), d.id, 1
  from outbox_engine.dispatches d
  cross join generate_series(0, %(recipients)s - 1) n
  where d.id = any (%(dispatches)s)
  returning id, recipient, dispatch_id
)
insert into outbox_engine.dispatch_members (dispatch_id, recipient, outbox_id)
select dispatch_id, recipient, id from made
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """One accepted batch: its id, the reference it was sent with, and its numbers as the provider writes them."""

    batch_id: str
    reference: str
    recipients: tuple[str, ...]

    def callbacks(self) -> list[str]:
        """Delivered, one callback for each recipient."""
        return [json.dumps(self._report(recipient)) for recipient in self.recipients]

    def full_report(self) -> str:
        """Delivered, all recipients in one callback."""
        delivered = {"code": 0, "status": "Delivered", "count": len(self.recipients), "recipients": self.recipients}
        return json.dumps(
            {
                "type": "delivery_report_sms",
                "batch_id": self.batch_id,
                "client_reference": self.reference,
                "total_message_count": len(self.recipients),
                "statuses": [delivered],
            }
        )

    def _report(self, recipient: str) -> dict[str, Any]:
        return {
            "type": "recipient_delivery_report_sms",
            "batch_id": self.batch_id,
            "client_reference": self.reference,
            "recipient": recipient,
            "code": 0,
            "status": "Delivered",
            "at": "2026-11-24T12:00:00.123Z",
            "operator_status_at": "2026-11-24T12:00:00Z",
            "number_of_message_parts": 1,
            "applied_originator": "12025550100",
        }


def make_batches(connection: psycopg.Connection[Any], *, tag: str, batches: int, recipients: int) -> list[Batch]:
    """Sent rows in ``batches`` batches of ``recipients`` each. ``tag`` keeps the batch ids of one run apart from another's."""
    with connection.transaction():
        # The rows look as the engine would have left them, so the checks of an insert do not apply.
        connection.execute("set local session_replication_role = replica")
        made = connection.execute(_DISPATCHES, {"plan": PLAN, "tag": tag, "batches": batches, "recipients": recipients})
        dispatches = made.fetchall()
        connection.execute(_ROWS, {"recipients": recipients, "dispatches": [dispatch for dispatch, _ in dispatches]})
    numbers = tuple(str(14152000000 + n) for n in range(recipients))
    return [Batch(batch_id, str(dispatch), numbers) for dispatch, batch_id in dispatches]
