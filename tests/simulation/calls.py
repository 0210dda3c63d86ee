"""Arguments of database functions as a process passes them, for tests that call the functions themselves."""

from typing import Any
from uuid import uuid4


def claim(*, worker: str, rows: int, claim_id: str | None = None) -> dict[str, Any]:
    """Of ``outbox_claim_due``: up to ``rows`` rows, in one dispatch where their texts agree. Leases are of 30 seconds."""
    return {
        "p_claim_id": claim_id or str(uuid4()),
        "p_worker": worker,
        "p_provider": "sinch",
        "p_plan": "p",
        "p_host": "h",
        "p_credential": "c",
        "p_lease_seconds": 30,
        "p_deadline_seconds": 10,
        "p_max_dispatches": 8,
        "p_max_recipients": 1000,
        "p_max_rows": rows,
        "p_messages_per_second": None,
        "p_requests_per_minute": 6000,
        "p_allowed_countries": None,
        "p_share_texts": False,
        "p_urgent_only": False,
        "p_schema_version": None,
        "p_project": None,
        "p_highest_lease_token": None,
        "p_known_dispatch": None,
        "p_heartbeat_at": None,
        "p_timeline": None,
        "p_sleep_seconds": None,
        "p_messages_per_day": None,
        "p_position": None,
        "p_tick_seconds": None,
    }
