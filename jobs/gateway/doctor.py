"""The facts that `outbox doctor` judges, as the database gives them, and its two trials that leave nothing behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.gateway.rpc import Calls
from jobs.gateway.values import instant


@dataclass(frozen=True, slots=True)
class Usable:
    """The objects whose names begin with ours that a role may use: functions and tables of ``public``, the engine's tables."""

    functions: frozenset[str]
    tables: frozenset[str]
    engine_tables: frozenset[str]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Usable":
        return cls(frozenset(answer["functions"]), frozenset(answer["tables"]), frozenset(answer["engine_tables"]))


@dataclass(frozen=True, slots=True)
class Objects:
    """The state of our objects. ``functions`` are the digests of their sources by name, several for overloads."""

    tables: frozenset[str]
    without_rls: tuple[str, ...]
    invalid_indexes: tuple[str, ...]
    disabled_triggers: tuple[str, ...]
    events_cache: int | None
    functions: Mapping[str, Sequence[str]]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Objects":
        return cls(
            tables=frozenset(answer["tables"]),
            without_rls=tuple(sorted(answer["without_rls"])),
            invalid_indexes=tuple(sorted(answer["invalid_indexes"])),
            disabled_triggers=tuple(sorted(answer["disabled_triggers"])),
            events_cache=answer["events_cache"],
            functions=answer["functions"] or {},
        )

    @property
    def public_functions(self) -> frozenset[str]:
        """Those of ``public``, without the schema."""
        return frozenset(name.removeprefix("public.") for name in self.functions if name.startswith("public."))


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """A process that sends now. ``allowed`` are countries and beginnings of numbers, sorted; None allows all."""

    provider: str
    plan: str
    allowed: tuple[str, ...] | None
    schema_version: int | None

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Dispatcher":
        allowed = row["allowed"]
        return cls(row["provider"], row["plan"], None if allowed is None else tuple(allowed), row["schema_version"])


@dataclass(frozen=True, slots=True)
class Processes:
    """What the heartbeats say. The seconds are since the latest of the day, None if there was none."""

    dispatchers: tuple[Dispatcher, ...]
    dispatch_seconds_ago: float | None
    webhook_seconds_ago: float | None
    upkeep_seconds_ago: float | None
    oldest_due_seconds: float | None
    alarms_waiting: int

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Processes":
        return cls(**{**answer, "dispatchers": tuple(Dispatcher.parse(row) for row in answer["dispatchers"])})


@dataclass(frozen=True, slots=True)
class Storage:
    """Vacuum, sizes and long transactions. ``memory_bytes`` is what the planner reckons with."""

    autovacuum: bool
    without_autovacuum: tuple[str, ...]
    bytes: int
    memory_bytes: int
    messages: int
    bloated: tuple[str, ...]
    open_transactions: int
    longest_seconds: float | None
    prepared_transactions: int

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Storage":
        return cls(
            autovacuum=answer["autovacuum"],
            without_autovacuum=tuple(sorted(answer["without_autovacuum"])),
            bytes=int(answer["bytes"]),
            memory_bytes=int(answer["memory_bytes"]),
            messages=int(answer["messages"] or 0),
            bloated=tuple(sorted(answer["bloated"])),
            open_transactions=answer["open_transactions"]["count"],
            longest_seconds=answer["open_transactions"]["longest_seconds"],
            prepared_transactions=answer["prepared_transactions"],
        )


@dataclass(frozen=True, slots=True)
class AuthHook:
    """Whether Supabase Auth may call its hook, and the codes of the last hour."""

    may_call: bool
    codes_of_the_hour: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All of them. ``server`` and ``database`` tell whether another connection leads to the same database."""

    at: datetime
    server: float
    database: str
    usable: Mapping[str, Usable]
    objects: Objects
    processes: Processes
    storage: Storage
    auth: AuthHook | None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Facts":
        return cls(
            at=instant(answer["at"]),
            server=answer["server"],
            database=answer["database"],
            usable={role: Usable.parse(given) for role, given in answer["usable"].items() if given is not None},
            objects=Objects.parse(answer["objects"]),
            processes=Processes.parse(answer["processes"]),
            storage=Storage.parse(answer["storage"]),
            auth=None if answer["auth"] is None else AuthHook(**answer["auth"]),
        )


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What the hook of Supabase Auth answered: an HTTP status and words, both None for an acceptance; or a database error."""

    seconds: float
    status: int | None = None
    message: str | None = None
    error: str | None = None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "HookAnswer":
        refusal = (answer.get("answer") or {}).get("error") or {}
        failed = answer.get("error")
        return cls(
            seconds=answer["seconds"] or 0.0,
            status=refusal.get("http_code"),
            message=refusal.get("message"),
            error=None if failed is None else f"{answer['code']} {failed}",
        )


class Examination(Calls):
    """The calls of `outbox doctor`."""

    async def facts(self) -> Facts:
        """One call that reads the catalogue and small tables."""
        return Facts.parse(await self._rpc.call("outbox_doctor", {}))

    async def try_auth_hook(self, phone: str) -> HookAnswer:
        """Call the hook in a transaction that is rolled back. ``phone`` is E.164."""
        answer = await self._rpc.call("outbox_try_auth_hook", {"p_phone": phone.removeprefix("+")})
        return HookAnswer.parse(answer)

    async def take_test_report(self, batch_id: str) -> bool:
        """Delete the report of a test callback. False if it did not arrive in this database."""
        return bool(await self._rpc.call("outbox_take_test_report", {"p_batch_id": batch_id}))

    async def insert_text(self, recipient: str, body: str, *, key: str, expires_at: datetime) -> int:
        """Insert a message as an app does, and return its id. Raises GatewayRefused as a call does."""
        row = {"recipient": recipient, "body": body, "idempotency_key": key, "expires_at": expires_at.isoformat()}
        return int((await self._rpc.insert("outbox", row))["id"])
