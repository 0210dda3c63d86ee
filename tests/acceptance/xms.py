"""A short client of Sinch's API, as a customer's program uses it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

SENDER = "+14155550000"
ONE = "+14155551234"
TWO = "+14155551235"
LONG_LIFE = {"dispatch_delay": 1000, "final_delay": 1000}


def send(api: httpx.Client, *to: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/batches", json={"to": list(to or (ONE,)), "from": SENDER, "body": "Hello", **fields})
    assert answer.status_code == 201, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def instant(**ago: float) -> str:
    return (datetime.now(UTC) + timedelta(**ago)).isoformat()
