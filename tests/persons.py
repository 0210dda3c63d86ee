"""One person with a row in every table that can hold a number or a text, and a search for what is left of it."""

from typing import Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from jobs.runtime.phone import spellings
from tests.calls import accept, claim_all
from tests.campaigns import campaign, member, template
from tests.engine import insert, number
from tests.integration.replies import text_in
from tests.stack import Connection

PERSON: Final = number(1)
DIGITS: Final = PERSON[1:]
TEXT: Final = "quetzal"
"""A word in each text to and from the person."""


def make_person(db: Connection) -> None:
    """Messages in every state but in a request, replies, reports, callbacks, campaigns, imports and the traces of a restore."""
    template(db, body=f"{TEXT} {{{{name}}}}")
    campaign(db, schedule="once", starts_at="2026-11-24 12:00+00", late_limit="100 years", daily_cap=9)
    member(db, parameters={"name": TEXT})
    db.execute("select public.outbox_expand_campaigns(1000)")
    metadata = Jsonb({"phone": PERSON, "note": TEXT})
    insert(db, first=1, body=f"one {TEXT}", idempotency_key=f"order-{DIGITS}", metadata=metadata)
    insert(db, first=1, body=f"two {TEXT}", secret=True)
    # No request has a number twice.
    dispatches = [dispatch for _ in range(3) for dispatch in claim_all(db)]
    for place, dispatch in enumerate(dispatches):
        accept(db, dispatch, f"B{place}")
    for batch, status in (("B0", "delivered"), ("B1", "failed"), ("unknown", "delivered")):
        send_report(db, batch, status)
    insert(db, first=1, body=f"later {TEXT}", send_at="2100-01-01", idempotency_key="later", metadata=metadata)
    insert(db, first=1, body=f"secret {TEXT}", send_at="2100-01-01", secret=True)
    db.execute("update public.outbox_opt_out_words set reply = 'call us' where effect = 'help'")
    text_in(db, "HELP", phone=PERSON, name="reply 1")
    text_in(db, f"I like {TEXT}", phone=PERSON, name="reply 2")
    keep_callback(db, f'{{"from":"{DIGITS}","body":"{TEXT}"'.encode())
    keep_callback(db, f"to=+1 ({DIGITS[1:4]}) {DIGITS[4:7]}-{DIGITS[7:]}&text={TEXT}\0".encode())
    stage(db, PERSON)
    db.execute(
        "insert into outbox_engine.adopted_messages (provider, plan, batch_id, reference, recipient, sent_at, kept_until,"
        " released_at) values ('sinch', 'p', 'B9', gen_random_uuid(), %s, now(), now() + interval '9 days', now())",
        [PERSON],
    )


def stage(db: Connection, recipient: str) -> None:
    """A line of an import that is not finished."""
    db.execute(
        "select public.outbox_stage_members(gen_random_uuid(), 'c', '{1}', '{x}', array[%s], '{UTC}', '{\"\"}', array[%s])",
        [recipient, f'{{"name": "{TEXT}"}}'],
    )


def send_report(db: Connection, batch: str, status: str, *, code: int = 0, at: str = "", recipient: str = PERSON) -> None:
    """A report whose raw form names the number."""
    db.execute(
        "select public.outbox_record_reports('webhook', array[%s], array[%s], array[%s], array[%s], array[%s], '{\"\"}',"
        " array[%s])",
        [batch, recipient, status, str(code), at, f'{{"to": "{recipient}"}}'],
    )


def keep_callback(db: Connection, raw: bytes) -> None:
    db.execute("select public.outbox_keep_callbacks('{unreadable}', array[encode(%s, 'base64')])", [raw])


def erase(db: Connection, *numbers: str) -> dict[str, Any]:
    """What the command does, in its order. Returns the messages that stayed."""
    forms: Any = db.execute("select public.outbox_person_numbers(%s)", [list(numbers or (PERSON,))]).fetchone()
    known = [spelling for one in forms[0] for spelling in spellings(one)]
    _call(db, "outbox_erase_records(%s, 'imports', '', 100)", [known])
    while _call(db, "outbox_erase_members(%s, 100)", [known])["more"]:
        pass
    ids = _call(db, "outbox_find_person(%s, 0, 1000)", [known])["ids"]
    _call(db, "outbox_prepare_erasure(%s::bigint[], %s)", [ids, known])
    erased = _call(db, "outbox_erase_messages(%s::bigint[], %s)", [ids, known])
    for part in ("records", "members", "occurrences", "replies", "reports", "callbacks"):
        after: str | None = ""
        while after is not None:
            after = _call(db, "outbox_erase_records(%s, %s, %s, 100)", [known, part, after])["after"]
    return erased


def tables_with(db: Connection, *needles: str) -> set[str]:
    """The tables of both schemas that have one of these in any row, also within bytes."""
    found = set()
    for schema, name in db.execute(
        "select schemaname::text, tablename::text from pg_tables where schemaname in ('public', 'outbox_engine')"
    ).fetchall():
        table = sql.Identifier(str(schema), str(name))
        texts = [row for (row,) in db.execute(sql.SQL("select t::text from {} t").format(table)).fetchall()]
        for (column,) in db.execute(
            "select attname::text from pg_attribute where attrelid = to_regclass(%s) and atttypid = 'bytea'::regtype",
            [f"{schema}.{name}"],
        ).fetchall():
            shown = sql.SQL("select regexp_replace(encode({}, 'escape'), '[^0-9a-z]', '', 'g') from {}")
            texts += [row for (row,) in db.execute(shown.format(sql.Identifier(str(column)), table)).fetchall()]
        if any(needle in str(text) for text in texts for needle in needles):
            found.add(str(name))
    return found


def _call(db: Connection, call: str, values: list[object]) -> dict[str, Any]:
    row: Any = db.execute(f"select public.{call}".encode(), values).fetchone()
    answer: dict[str, Any] = row[0]
    return answer
