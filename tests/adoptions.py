"""`outbox adopt` as tests run it: with the gateway and the provider of a rig."""

from datetime import UTC, datetime, timedelta

from jobs.adoption import Adopted, Adoption
from tests.engine import Rig

AN_HOUR = timedelta(hours=1)


async def adopt(rig: Rig, *, dry_run: bool = False, before: timedelta = AN_HOUR, all_references: bool = False) -> Adopted:
    engine = rig.engine
    adoption = Adoption(
        gateway=engine.gateway,
        provider=engine.served[0].provider,
        plan=engine.served[0].plan,
        deadline=10,
        all_references=all_references,
        show=lambda *_: None,
        clocks=rig.dispatcher._clocks,
    )
    return await adoption.run(datetime.now(UTC) - before, dry_run=dry_run)
