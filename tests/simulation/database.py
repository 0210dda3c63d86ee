"""A scratch database with the real migrations, whose clock the simulation sets."""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from postgrest.exceptions import APIError
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from jobs.gateway import rpc
from jobs.gateway.errors import GatewayUnavailable
from sandbox.schema.apply import apply
from tests.snapshots import Snapshot

SLACK: Final = 2
"""By how many messages a plan may exceed its share of a route in histories. In production it is 100."""
_SMALLER: Final = {"outbox_engine.most_by_weight": {"+ 100": f"+ {SLACK}", ">= 50": ">= 1"}}
"""Numbers of the engine that some dozens of messages would never reach."""
MIGRATIONS: Final = Path(__file__).parents[2] / "supabase" / "migrations"
_ROLES: Final = ("anon nologin", "authenticated nologin", "service_role nologin bypassrls")
_TABLES: Final = """
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and n.nspname in ('public', 'outbox_engine')
    order by 1
"""
_SEQUENCES: Final = """
    select format('%I.%I', schemaname, sequencename) as name from pg_sequences where schemaname in ('public', 'outbox_engine')
"""
_SIGNATURES: Final = """
    select p.proname as name, p.proargnames as names, p.pronargdefaults as defaults,
      array(select format_type(t, null) from unnest(p.proargtypes) with ordinality u (t, n) order by n) as types
    from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname like 'outbox\\_%'
"""
# Ids made in the database come from its random numbers, which have a seed, so that a history can be replayed.
_SEEDED_IDS: Final = """
    create or replace function pg_catalog.gen_random_uuid() returns uuid language sql volatile parallel unsafe
    as $$ select md5(random()::text || random()::text)::uuid $$
"""
# What Attempts (attempts.py) judges, noted when a transaction commits.
_ATTEMPTS: Final = """
    create schema simulation;
    create table simulation.attempts (
      number bigint generated always as identity,
      outbox_id bigint not null,
      recipient text,
      former uuid,
      provider text,
      plan text,
      state text,
      batch_id text,
      next uuid,
      next_provider text,
      next_plan text,
      is_part boolean,
      trusts_network boolean,
      open integer
    );

    -- Messages that went back to the queue for a report while their route moved what a network refused.
    create table simulation.trusting (outbox_id bigint not null);

    -- Runs when a transaction commits that put a message back into the queue for a report.
    create function simulation.note_return() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
      insert into simulation.trusting (outbox_id)
      select new.id
      from (select coalesce((select d.route from outbox_engine.detours d where d.id = old.route), old.route) as route) x
      left join public.outbox_routes r on r.id = x.route
      left join outbox_engine.default_route f on x.route = 0
      where coalesce(r.after_network_failure, f.after_network_failure);
      return null;
    end
    $$;
    create constraint trigger simulation_return after update on public.outbox
      deferrable initially deferred for each row
      when (new.status = 'pending' and old.status not in ('pending', 'scheduled', 'sending'))
      execute function simulation.note_return();

    -- Runs when a transaction commits that attached a message to another dispatch.
    create function simulation.note_change() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
      insert into simulation.attempts (
        outbox_id, recipient, former, provider, plan, state, batch_id, next, next_provider, next_plan, is_part,
        trusts_network)
      select new.id, m.recipient, old.dispatch_id, d.provider, d.plan, d.state, d.batch_id, n.id, n.provider, n.plan,
        coalesce(n.parent_id in (d.id, d.parent_id), false),
        exists (select from simulation.trusting t where t.outbox_id = new.id)
      from (select) x
      left join outbox_engine.dispatches d on d.id = old.dispatch_id
      left join outbox_engine.dispatches n on n.id = new.dispatch_id
      left join outbox_engine.dispatch_members m on m.dispatch_id = old.dispatch_id and m.outbox_id = new.id;
      return null;
    end
    $$;
    create constraint trigger simulation_change after update on public.outbox
      deferrable initially deferred for each row
      when (old.dispatch_id is not null and old.dispatch_id is distinct from new.dispatch_id)
      execute function simulation.note_change();

    -- Runs when a transaction commits that put a message into a dispatch.
    create function simulation.note_member() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
      insert into simulation.attempts (outbox_id, next, open)
      select new.outbox_id, new.dispatch_id, count(*)
      from outbox_engine.dispatch_members m
      join outbox_engine.dispatches d on d.id = m.dispatch_id
      where m.outbox_id = new.outbox_id and d.state in ('claimed', 'ambiguous')
      having count(*) > 1;
      return null;
    end
    $$;
    create constraint trigger simulation_member after insert on outbox_engine.dispatch_members
      deferrable initially deferred for each row
      execute function simulation.note_member();
"""


def create(server: str, name: str) -> str:
    """Make the database ``name`` afresh on the server at the URL ``server``, apply the migrations, and return its URL."""
    with psycopg.connect(server, autocommit=True) as admin:
        for role in _ROLES:
            with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                admin.execute(SQL("create role " + role))
        admin.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))
        admin.execute(SQL("create database {}").format(Identifier(name)))
        # The data need not survive a crash of the machine.
        admin.execute(SQL("alter database {} set synchronous_commit = off").format(Identifier(name)))
    url = psycopg.conninfo.make_conninfo(server, dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        for migration in sorted(MIGRATIONS.glob("*.sql")):
            apply(connection, migration.read_text(encoding="utf-8"))
        connection.execute(_SEEDED_IDS)
        connection.execute(_ATTEMPTS)
        for function, numbers in _SMALLER.items():
            connection.execute(_smaller(connection, function, numbers))
    return url


def _smaller(connection: psycopg.Connection[Any], function: str, numbers: Mapping[str, str]) -> bytes:
    """The statement that makes the function again with other numbers."""
    (text,) = connection.execute("select pg_get_functiondef(%s::regproc)", [function]).fetchone() or ("",)
    for number, instead in numbers.items():
        if text.count(number) != 1:
            raise LookupError(f"{function} does not say once: {number}")
        text = text.replace(number, instead)
    return str(text).encode()


def drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))


class Database:
    """Two connections to one database: what the processes may do, as ``service_role``, and what only we may."""

    def __init__(self, url: str) -> None:
        self._owner = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._service = psycopg.connect(url, autocommit=True)
        self._service.execute("set role service_role")
        self._service.execute("set plan_cache_mode = force_generic_plan")
        self._service.execute("set jit = off")
        self._functions = {row["name"]: _Function.of(row) for row in self.query(_SIGNATURES)}
        # What has rows now has them from the migrations, and keeps them.
        tables = [name for row in self.query(_TABLES) if not self.query(f"select from {(name := row['name'])} limit 1")]
        self._empty = f"truncate {', '.join(tables)}".encode()
        self._deletes = "; ".join(f"delete from {name}" for name in tables).encode()
        self._restart = "; ".join(f"alter sequence {row['name']} restart" for row in self.query(_SEQUENCES)).encode()
        self._histories = 0
        self._now: datetime | None = None
        self._shift = timedelta()

    @property
    def now(self) -> datetime | None:
        """The engine's time for a time of the loop."""
        return None if self._now is None else self._now + self._shift

    def close(self) -> None:
        self._service.close()
        self._owner.close()

    def begin(self, seed: int) -> None:
        """Delete everything that histories wrote, and seed the database's random numbers from ``seed``."""
        with self._owner.transaction():
            # Triggers refuse to empty the audit, and count what is deleted.
            self._owner.execute("set local session_replication_role = replica")
            # Deleting a few rows is quicker than truncating thirty tables, until the dead ones pile up.
            self._owner.execute(self._empty if self._histories % 25 == 0 else self._deletes)
            self._owner.execute("delete from simulation.attempts")
            self._owner.execute("delete from simulation.trusting")
            self._owner.execute(self._restart)
            self._owner.execute("update outbox_engine.installation set id = '5eed5eed5eed', earlier_ids = '{}', hosts = '{}'")
            self._owner.execute("update outbox_engine.upkeep set pruned_to = 0, blanked_to = null, blanking_since = null")
            self._owner.execute("update outbox_engine.health_judged set at = '-infinity'")
        self._histories += 1
        self._service.execute("select setseed(%s)", [(seed % 1_000_003) / 1_000_003])
        self._now = None
        self._shift = timedelta()

    def back_up(self) -> Snapshot:
        """The rows and sequences of now, to be restored later. One at a time."""
        return Snapshot(self._owner)

    def set_clock(self, at: datetime) -> None:
        """The engine's current time."""
        if at != self._now:
            self._owner.execute(
                "update outbox_engine.clock set frozen_at = %s, shift = %s", [at + self._shift, timedelta()], prepare=True
            )
            self._now = at

    def jump(self, by: timedelta) -> None:
        """Set the server's clock: it is off by ``by`` more from now on."""
        self._shift += by
        self._now = None

    def has(self, function: str) -> bool:
        """Whether there is a public function of this name."""
        return function in self._functions

    def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """Call a function by name as the API would. Raises what :class:`jobs.gateway.rpc.Rpc` would."""
        known = self._functions.get(function)
        if known is None or not known.takes(arguments):
            raise GatewayUnavailable(f"{function}({', '.join(arguments)}) is not in the database")
        try:
            row = self._service.execute(known.call(arguments), arguments).fetchone()
        except psycopg.Error as error:
            raise rpc._failure(function, APIError({"code": error.sqlstate, "message": str(error)})) from error
        return None if row is None else row[0]

    def app(self, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        """A statement of an application, as ``service_role``, as the API passes it on."""
        cursor = self._service.execute(statement.encode(), arguments)
        return cursor.fetchall() if cursor.description is not None else []

    def query(self, statement: str, arguments: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Query anything, as the owner of the database."""
        cursor = self._owner.execute(statement.encode(), arguments or None)
        return cursor.fetchall() if cursor.description is not None else []

    def execute(self, statement: str) -> None:
        self._owner.execute(statement.encode())

    def definition(self, function: str) -> str:
        """The statement that creates ``function`` (``schema.name``) as it is now."""
        return str(self.query("select pg_get_functiondef(%s::regproc) as text", [function])[0]["text"])


@dataclass(frozen=True, slots=True)
class _Function:
    """A public function. Those of its parameters that are not ``required`` have defaults."""

    name: str
    types: Mapping[str, str]
    required: Collection[str]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "_Function":
        types = dict(zip(row["names"] or [], row["types"], strict=False))
        return cls(row["name"], types, list(types)[: len(types) - row["defaults"]])

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        return self.types.keys() >= arguments.keys() >= set(self.required)

    def call(self, arguments: Iterable[str]) -> bytes:
        passed = ", ".join(f"{argument} => %({argument})s::{self.types[argument]}" for argument in arguments)
        return f"select public.{self.name}({passed})".encode()
