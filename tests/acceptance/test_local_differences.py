"""What docs/local.md says of the local API that a hosted project does otherwise: that it is still so here."""

import httpx

from sandbox.local.stack import LocalStack
from tests.stack import Connection

NUMBER = "+14155550123"


def test_local_api_differs_as_documented(stack: LocalStack, db: Connection) -> None:
    """If this fails, the local API has learned something: change the document."""
    headers = {"apikey": stack.secret_key}
    with httpx.Client(base_url=stack.url, headers=headers, trust_env=False, timeout=30) as api:
        sent = api.post(
            "/rest/v1/outbox",
            headers={"prefer": "return=representation"},
            json={"recipient": NUMBER, "body": "Hello", "send_at": "2099-01-14T18:20:11Z"},
        )
        (row,) = sent.json()
        assert row["send_at"] == "2099-01-14 18:20:11+00"

        def found(operator: str) -> int:
            answer = api.get("/rest/v1/outbox", params={"recipient": f"{operator}.{NUMBER}", "select": "id"})
            return len(answer.raise_for_status().json())

        assert (found("eq"), found("like")) == (0, 1)
        # The table browser's page takes every address that no service has.
        for service in ("/realtime/v1/websocket", "/functions/v1/hello"):
            assert "json" not in api.get(service).headers.get("content-type", "")
        assert api.post("/auth/v1/otp", json={"phone": NUMBER}).status_code == 400
        assert api.post("/auth/v1/signup", json={"email": "a@example.com", "password": "Secret-123"}).status_code == 200

    extensions = "select name from pg_available_extensions where name in ('pg_cron', 'pg_net', 'pgmq')"
    assert db.execute(extensions).fetchall() == []
    assert db.execute("select pubname from pg_publication").fetchall() == []
