"""`outbox adopt` and `outbox held` as they are typed."""

import json

from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests import commands
from tests.acceptance.test_run import environment
from tests.engine import MakeRig, insert, statuses
from tests.snapshots import Snapshot
from tests.stack import Connection


async def test_commands_adopt_list_and_send(stack: LocalStack, sinch: Running, make_rig: MakeRig, db: Connection) -> None:
    def outbox(*arguments: str) -> tuple[int, str]:
        ran = commands.outbox(*arguments, env=environment(stack, sinch))
        return ran.returncode, ran.stdout

    rig = await make_rig()
    insert(db)
    backup = Snapshot(db)
    insert(db, first=1)
    await rig.tick("dispatch")
    backup.restore()

    code, said = outbox("adopt", "--since", "1h")
    assert (code, statuses(db)) == (0, {"pending": 1})
    assert "1  messages  wait in the database, or ended there, and were sent" in said
    assert "+1200•••0101" in said
    assert "  would be adopted: message " in said
    assert "nothing was changed" in said
    code, said = outbox("adopt", "--since", "1h", "--yes", "--json")
    assert (code, statuses(db)) == (0, {"sent": 1})
    answer = json.loads(said)
    assert (answer["complete"], answer["counts"]["adopted"], answer["counts"]["remembered"]) == (True, 1, 1)

    rig = await make_rig()
    (again,) = insert(db, first=1)
    await rig.tick("dispatch")
    code, said = outbox("held")
    assert said.startswith("1 message held since a restore")
    assert "the same" in said
    assert outbox("held", "--send", str(again)) == (0, f"{again} (scheduled): is sent with the next claim\n")
    await rig.tick("dispatch")
    assert statuses(db) == {"sent": 2}
