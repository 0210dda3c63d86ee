"""Whether the schema is the released one, whole and unedited, and no role has rights that it was not given."""

from collections.abc import Iterator, Sequence
from typing import Final

from jobs.examining.findings import Finder, Finding, some
from jobs.gateway.doctor import Facts, Objects, Usable
from jobs.schema.compatibility import Fit, judge
from jobs.schema.installed import InstalledSchema
from jobs.schema.releases import Releases
from jobs.schema.sources import Difference, Sources

find = Finder("schema")
APPLY_AGAIN: Final = "compare with `outbox schema sql`, and apply the released file again"
_AUTHENTICATED_FUNCTIONS: Final = frozenset({"outbox_events"})
_AUTHENTICATED_TABLES: Final = frozenset({"outbox", "outbox_events"})
_AUTH_ONLY: Final = frozenset({"outbox_send_sms"})


def versions(releases: Releases, installed: InstalledSchema | None) -> Finding | None:
    """None where the database has the version of this package. A version that allows no work has failed."""
    verdict = judge(releases, installed)
    if not verdict.allows_work:
        return find.failed(verdict.message, "`outbox schema status` compares the versions")
    return find.warning(verdict.message) if verdict.message else None


def whole(releases: Releases, sources: Sources, installed: InstalledSchema | None, facts: Facts) -> Sequence[Finding]:
    """All of this check, for a version that allows work. ``sources`` are those of ``releases``."""
    verdict = judge(releases, installed)
    findings = [find.warning(verdict.message)] if verdict.message else []
    if verdict.fit is Fit.SAME:
        findings += differences(sources.compare(facts.objects.functions), sources, facts.objects)
    findings += [*states(facts.objects), *rights(facts, sources)]
    if findings:
        return findings
    return [find.ok(f"version {releases.newest} as released; row level security is on, and `anon` may use nothing")]


def differences(found: Difference, sources: Sources, objects: Objects) -> Iterator[Finding]:
    """A migration that was edited, or applied in part."""
    tables = {name for name in sources.tables if name.partition(".")[2] not in objects.tables}
    if missing := {*found.missing, *tables}:
        yield find.failed(f"the schema is applied in part and lacks {some(missing)}", APPLY_AGAIN)
    if found.older:
        yield find.failed(f"functions of an earlier release are in place: {some(found.older)}", APPLY_AGAIN)
    if found.edited:
        yield find.failed(f"functions were edited: {some(found.edited)}", APPLY_AGAIN)


def states(objects: Objects) -> Iterator[Finding]:
    """What someone may have switched off by hand, or an interrupted migration left behind."""
    if objects.without_rls:
        tables = some(objects.without_rls)
        yield find.failed(f"row level security is off: {tables}", "alter table … enable row level security")
    if objects.invalid_indexes:
        indexes = some(objects.invalid_indexes)
        yield find.failed(f"indexes were not built to their end: {indexes}", "reindex index concurrently … for each")
    if objects.disabled_triggers:
        tables = some(objects.disabled_triggers)
        yield find.failed(f"triggers are disabled: {tables}", "alter table … enable trigger user for each")
    if objects.events_cache != 1:
        yield find.failed(
            f"sessions take {objects.events_cache} ids of outbox_events at once, and events would be overlooked",
            "alter table public.outbox_events alter column id set cache 1",
        )


def rights(facts: Facts, sources: Sources) -> Iterator[Finding]:
    """A `grant` for all functions or tables gives the roles of the API more than they may have."""
    ours = {name.partition(".")[2] for name in (*sources.newest, *sources.tables) if name.startswith("public.")}
    for role, given in facts.usable.items():
        if role == "service_role":
            continue
        if may := sorted(_beyond(role, given, ours)):
            yield find.failed(f"`{role}` may use {some(may)}", f"revoke all on it from {role}: docs/inserting.md")
    server = facts.usable.get("service_role")
    functions = {name.partition(".")[2] for name in sources.newest if name.startswith("public.")} - _AUTH_ONLY
    if server is not None and (may_not := functions & facts.objects.public_functions - server.functions):
        yield find.failed(f"`service_role` may not execute {some(may_not)}", APPLY_AGAIN)


def _beyond(role: str, given: Usable, ours: set[str]) -> set[str]:
    functions, tables = given.functions & ours, given.tables & ours
    if role == "authenticated":
        functions, tables = functions - _AUTHENTICATED_FUNCTIONS, tables - _AUTHENTICATED_TABLES
    return {*(f"{name}()" for name in functions), *tables, *(f"outbox_engine.{name}" for name in given.engine_tables)}
