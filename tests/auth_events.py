"""Events of Supabase Auth's Send SMS hook, as Auth makes them, and calls of the function as Auth makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from tests.stack import Connection

CODE = "048151"
PHONE = "12025550123"


def event(phone: str | None = PHONE, *, code: str = CODE, mfa: bool = False, **changes: Any) -> dict[str, Any]:
    """One event. ``phone`` has no ``+``, as Auth stores numbers; None is Auth before 2.180, which names none."""
    sms = {"otp": code} | ({} if phone is None else {"phone": phone}) | ({"sms_type": "mfa"} if mfa else {})
    return {
        "metadata": {"uuid": str(uuid4()), "time": "2026-12-01T12:00:00Z", "name": "send-sms", "ip_address": "203.0.113.7"},
        "user": {"id": "8d3f6f2e-62b1-4d1c-9ac5-6e0c0c2f2f11", "phone": "12025550199", "user_metadata": {}},
        "sms": sms,
    } | changes


def seed_templates(db: Connection) -> None:
    """The templates of codes, as the migrations write them. Other tests do without."""
    db.execute("delete from outbox_engine.seeds where name = 'auth_templates'")
    db.execute("select outbox_engine.seed_auth()")


def send(db: Connection, given: object) -> Any:
    """The answer of the function, called by its owner."""
    row = db.execute("select public.outbox_send_sms(%s)", [Jsonb(given)]).fetchone()
    assert row is not None
    return row[0]


def refusal(answer: Any) -> int:
    """The status that Auth gives its user."""
    assert answer["error"]["message"]
    return int(answer["error"]["http_code"])


@contextmanager
def as_auth(db: Connection) -> Iterator[None]:
    """The session of Auth: in a transaction, with its role, its search path and its time limit. Rolled back at the end."""
    with db.transaction(force_rollback=True):
        db.execute("create role supabase_auth_admin noinherit")
        db.execute("select outbox_engine.grant_auth_hook()")
        db.execute("set local role supabase_auth_admin")
        db.execute("set local search_path = auth")
        db.execute("set local statement_timeout = 2000")
        yield
