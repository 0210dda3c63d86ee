"""Messages from phones and reports of carriers, as the webhook app passes them to the database."""

from datetime import datetime, timedelta
from typing import Any

from tests.engine import SENDER, number
from tests.stack import Connection

NOW = datetime.fromisoformat("2026-11-24T12:00:00+00:00")
PHONE = number(1)


def text_in(
    db: Connection, body: str, *, phone: str = PHONE, to: str = SENDER, ago: float = 0, name: str | None = None
) -> None:
    """A phone's message as the webhook app passes it on, ``ago`` seconds old."""
    at = (NOW - timedelta(seconds=ago)).isoformat()
    db.execute(
        "select public.outbox_record_inbounds('webhook', '{sinch}', array[%s], '{mo_text}', array[%s], array[%s], array[%s],"
        " array[%s], '{\"\"}', '{\"{}\"}')",
        [name or f"{body}{ago}{to}", phone, to, body, at],
    )


def suppressed(db: Connection) -> list[tuple[Any, ...]]:
    return db.execute("select recipient, reason from public.outbox_suppressions order by 1").fetchall()


def carrier_blocks(db: Connection, *, ago: float = 0, n: int = 1) -> None:
    """A report, ``ago`` seconds old, that the number opted out at the provider."""
    at = (NOW - timedelta(seconds=ago)).isoformat()
    db.execute(
        "select public.outbox_record_reports('webhook', array[batch_id], array[recipient], '{failed}', '{257}', array[%s],"
        " '{\"\"}', '{\"{}\"}') from public.outbox where recipient = %s",
        [at, number(n)],
    )
