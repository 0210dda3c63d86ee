"""A message has one open attempt at most, over all plans: ``outbox.dispatch_id``. It leaves an attempt only with a proof."""

from tests.stack import Connection

LEFT_WITHOUT_PROOF = """
    select m.outbox_id, d.id, d.provider, d.plan, d.state
    from outbox_engine.dispatch_members m
    join outbox_engine.dispatches d on d.id = m.dispatch_id
    join public.outbox o on o.id = m.outbox_id
    where o.dispatch_id is distinct from d.id
      -- The provider certainly did not take it, or its list does not have it. A refused request waits for its halves.
      and d.state not in ('refused', 'awaiting_half', 'released', 'not_found')
      -- A report says that nothing came of it, and none without a proof was there when it was claimed again.
      and not exists (
        select from public.outbox_events e
        where e.outbox_id = o.id and e.dispatch_id = d.id and e.event = 'report'
          and (outbox_engine.proof_class(d.provider, e.status, e.status_code) in ('stopped', 'network')
              and not exists (
                select from public.outbox_events x
                join outbox_engine.dispatches later on later.id = o.dispatch_id
                where x.outbox_id = o.id and x.dispatch_id = d.id and x.event = 'report' and x.at < later.claimed_at
                  and x.status not in ('sent', 'dispatched', 'delivered')
                  and outbox_engine.proof_class(d.provider, x.status, x.status_code) is null)
            or exists (
              select from outbox_engine.report_codes c
              where c.provider = d.provider and c.code = e.status_code and c.effect like 'retry%'))
      )
      -- It was given up or refused before, and turned out to be accepted only then.
      and not exists (select from outbox_engine.duplicate_sends x where x.outbox_id = o.id and x.dispatch_id = d.id)
      -- An operator had it sent again.
      and not exists (select from public.outbox_events e where e.outbox_id = o.id and e.event = 'retried')
"""
"""Attempts that their messages left although nothing proves that they came to nothing. There must be none at any time."""


def left_without_proof(db: Connection) -> list[tuple[object, ...]]:
    return list(db.execute(LEFT_WITHOUT_PROOF).fetchall())
