"""A schema of a few lines in two versions, and what leads from the first to the second."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.schema.releases import MANIFEST, MIGRATIONS, digest, read_manifest
from sandbox.schema import preflight
from sandbox.schema.release import SCHEMAS, Release


def _preflight(relations: str, functions: str) -> str:
    """The product's preflight, for these names."""
    names = preflight.Names(frozenset(relations.split()), frozenset(functions.split()))
    return preflight.check((SCHEMAS / preflight.SOURCE).read_text(encoding="utf-8"), names)


_THINGS = """
create schema outbox_engine;
create table outbox_engine.schema_versions (
  version integer primary key,
  breaking boolean not null,
  release text not null
);
create table public.outbox_things (
  id bigint generated always as identity primary key,
  name text
);
"""
_KEPT = """
create function public.outbox_kept(p_number integer default 1) returns integer
language sql
as $$
  select p_number
$$;
revoke all on function public.outbox_kept from public, anon, authenticated, service_role;
grant execute on function public.outbox_kept to service_role;
"""
_SEED = """
create function outbox_engine.seed() returns void
language sql
as $$
  insert into outbox_engine.schema_versions values {rows} on conflict do nothing
$$;
select outbox_engine.seed();
"""
_GRANTS = """
revoke all on all functions in schema outbox_engine from public, anon, authenticated, service_role;
notify pgrst, 'reload schema';
"""

FIRST: Mapping[str, str] = {
    "00_preflight.sql": _preflight("outbox_things outbox_things_id_seq outbox_things_pkey", "outbox_kept outbox_old"),
    "10_things.sql": _THINGS,
    "20_kept.sql": _KEPT,
    "30_changed.sql": """
create function outbox_engine.twice(p_number integer) returns integer
language sql
as $$
  select 2 * p_number
$$;
create function public.outbox_old() returns integer
language sql
as $$
  select outbox_engine.twice(1)
$$;
revoke all on function public.outbox_old from public, anon, authenticated, service_role;
""",
    "95_seed.sql": _SEED.format(rows="(1, false, '0.1.0')"),
    "99_grants.sql": _GRANTS,
}
SECOND: Mapping[str, str] = {
    "00_preflight.sql": _preflight(
        "outbox_things outbox_things_id_seq outbox_things_name outbox_things_pkey", "outbox_kept outbox_new"
    ),
    "10_things.sql": f"""{_THINGS}
alter table public.outbox_things add column note text;
create index outbox_things_name on public.outbox_things (name);
create table outbox_engine.notes (
  id bigint generated always as identity primary key,
  thing text
);
""",
    "20_kept.sql": _KEPT,
    "30_changed.sql": """
create function outbox_engine.twice(p_number integer) returns integer
language sql
as $$
  select p_number + p_number
$$;
create function outbox_engine.note() returns trigger
language plpgsql
as $$
begin
  insert into outbox_engine.notes (thing) values (new.name);
  return null;
end
$$;
create trigger outbox_things_note after insert on public.outbox_things
for each row execute function outbox_engine.note();
create function public.outbox_new(p_name text, p_more text default ', more') returns text
language sql
as $$
  select p_name || p_more
$$;
revoke all on function
  public.outbox_new
from public, anon, authenticated, service_role;
grant execute on function
  public.outbox_new
to service_role;
""",
    "95_seed.sql": _SEED.format(rows="(1, false, '0.1.0'), (2, false, '0.2.0')"),
    "99_grants.sql": _GRANTS,
}
CHANGES: Mapping[str, str] = {
    "0002_pre_notes.sql": """
create table outbox_engine.notes (
  id bigint generated always as identity primary key,
  thing text
);
alter table public.outbox_things add column note text; -- functions
-- functions
create trigger outbox_things_note after insert on public.outbox_things
for each row execute function outbox_engine.note();
""",
    "0002_concurrently_notes.sql": "create index concurrently if not exists outbox_things_name on outbox_things (name);\n",
    "0002_post_notes.sql": "drop function if exists public.outbox_old();\n",
}
NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """A version in ``releases.json``, as a maintainer opens it."""
    return {"version": number, "release": f"0.{number}.0", "breaking": False, "frozen": False, "files": {}, **changes}


def first_release(supabase: Path) -> Path:
    """A ``supabase`` folder whose version 1 is frozen."""
    (supabase / MIGRATIONS).mkdir(parents=True)
    sources(supabase, FIRST)
    manifest(supabase, entry(1))
    assert Release(supabase).write(NOON) == []
    freeze(supabase)
    return supabase


def second_release(supabase: Path, changes: Mapping[str, str] = CHANGES) -> Path:
    """The same, and the sources and hand-written changes of an open version 2, of which nothing is generated yet."""
    first_release(supabase)
    sources(supabase, SECOND)
    manifest(supabase, *read_manifest(supabase), entry(2))
    write(supabase / "releases", changes)
    return supabase


def sources(supabase: Path, texts: Mapping[str, str]) -> None:
    write(supabase / "schemas", texts)


def manifest(supabase: Path, *entries: dict[str, Any]) -> None:
    (supabase / MANIFEST).write_text(json.dumps({"versions": entries}), encoding="utf-8")


def freeze(supabase: Path) -> None:
    """What `make schema` and a maintainer do at a release: the digests, and ``frozen``."""
    entries = read_manifest(supabase)
    for one in entries:
        paths = sorted((supabase / MIGRATIONS).glob(f"*_outbox_{one['version']:04}_*.sql"))
        one |= {"frozen": True, "files": {path.name: digest(path.read_bytes()) for path in paths}}
    manifest(supabase, *entries)


def write(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def migrations(supabase: Path) -> dict[str, str]:
    """The files of ``migrations`` by name, in the order in which they run."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((supabase / MIGRATIONS).glob("*.sql"))}
