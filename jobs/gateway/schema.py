"""Which schema the database has."""

from jobs.gateway.errors import FunctionMissing
from jobs.gateway.rpc import Rpc
from jobs.schema.installed import InstalledSchema


async def installed_schema(rpc: Rpc) -> InstalledSchema | None:
    """The versions that were applied; None where the function that returns them is missing, so nothing is installed."""
    try:
        return InstalledSchema.parse(await rpc.call("outbox_schema_version", {}))
    except FunctionMissing:
        return None
