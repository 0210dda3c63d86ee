"""Logical replication refuses updates and deletes of tables that have no key. It does so at every ``wal_level``."""

from collections.abc import Iterator

import pytest

from tests.campaigns import campaign, member, rows, template
from tests.engine import Clocks
from tests.stack import Connection


@pytest.fixture
def publication(db: Connection) -> Iterator[None]:
    db.execute("create publication everything for all tables")
    yield
    db.execute("drop publication everything")


@pytest.mark.usefixtures("publication")
def test_campaigns_work_under_a_publication_of_all_tables(db: Connection, clocks: Clocks) -> None:
    clocks.set("2026-11-24 12:00+00")
    template(db)
    campaign(db, status="draft", offsets=["-1 hour"])
    for n in range(3):
        member(db, f"m{n}", n=n, event_at="2026-11-24 13:01+00")
    db.execute("update public.outbox_campaigns set status = 'active'")
    expand(db)
    assert rows(db) == [("scheduled",)] * 3
    assert counts(db) == (3, 3)

    # A message that comes back unsent makes its member due again.
    db.execute("update outbox_engine.clock set shift = '1 second'")
    db.execute("update public.outbox_campaign_members set event_at = '2026-11-24 14:00+00' where external_id = 'm0'")
    db.execute("insert into outbox_engine.campaign_returns (campaign, external_id) values ('c', 'm1')")
    db.execute("update public.outbox_campaigns set priority = 50")
    db.execute("delete from public.outbox_campaign_members where external_id = 'm2'")
    expand(db)
    assert counts(db) == (2, 3)

    db.execute("delete from public.outbox_campaigns")
    expand(db)
    assert {status for (status,) in rows(db)} == {"cancelled"}


def expand(db: Connection) -> None:
    more: object = True
    while more:
        ((answer,),) = db.execute("select public.outbox_expand_campaigns(100)").fetchall()
        assert isinstance(answer, dict)
        more = answer["more"]


def counts(db: Connection) -> tuple[object, ...] | None:
    return db.execute("select member_count, message_count from public.outbox_campaigns").fetchone()
