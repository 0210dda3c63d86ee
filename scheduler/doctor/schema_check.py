"""Check 3: the schema is the released one, whole and unedited, and no role has rights that it was not given."""

from collections.abc import Sequence

from jobs.examining import schema
from jobs.examining.findings import Finding, Mark
from jobs.examining.schema import find
from jobs.gateway.errors import FunctionMissing, GatewayFault, KeyNotAccepted
from jobs.schema import releases as released
from jobs.schema.releases import BrokenPackage, Releases
from jobs.schema.sources import Sources
from scheduler.doctor.installation import Installation


async def look(installation: Installation) -> Sequence[Finding]:
    try:
        releases = released.packaged()
    except BrokenPackage as error:
        return [find.failed(str(error))]
    try:
        return await _compare(installation, releases)
    except KeyNotAccepted:
        raise
    except GatewayFault as error:
        return [find.failed(f"the schema cannot answer: {error}", schema.APPLY_AGAIN)]


async def _compare(installation: Installation, releases: Releases) -> Sequence[Finding]:
    installed = await installation.connection.installed_schema()
    versions = schema.versions(releases, installed)
    if versions is not None and versions.mark is Mark.FAILED:
        return [versions]
    try:
        facts = await installation.facts()
    except FunctionMissing:
        missing = find.failed("outbox_doctor is not in the database", "run outbox install and supabase db push")
        return [missing] if versions is None else [versions, missing]
    return schema.whole(releases, Sources.read(releases), installed, facts)
