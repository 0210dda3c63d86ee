"""What the checks look at: the settings that could be read, and the answers of the database that several of them share."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from pydantic import SecretStr

from jobs.gateway.doctor import Facts
from jobs.gateway.operating import Operating
from jobs.runtime import environment, settings
from jobs.runtime.accounts import AccountSettings
from jobs.runtime.environment import Origins
from jobs.runtime.project import project_host
from jobs.runtime.settings import (
    DatabaseSettings,
    EngineSettings,
    EventsSettings,
    MetricsSettings,
    ProcessSettings,
    SettingsError,
    SupabaseSettings,
    TelemetrySettings,
    WebhookSettings,
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The groups of settings, None if one could not be read: ``problems`` says why. ``misspelled`` are pairs of names."""

    supabase: SupabaseSettings | None
    accounts: Sequence[AccountSettings]
    engine: EngineSettings | None
    webhook: WebhookSettings | None
    db_url: SecretStr | None
    problems: tuple[str, ...]
    webhook_problems: tuple[str, ...]
    origins: Origins
    misspelled: Sequence[tuple[str, str]]

    @classmethod
    def read(cls) -> "Environment":
        """Raises SettingsError only if the file of settings cannot be read at all."""
        from jobs.providers import registry

        problems: list[str] = []
        webhook_problems: list[str] = []
        try:
            origins, misspelled = environment.origins(settings.names()), environment.misspellings(settings.names())
        except ValueError as error:
            raise SettingsError(str(error)) from None
        supabase, engine = _loaded(SupabaseSettings, problems), _loaded(EngineSettings, problems)
        database = _loaded(DatabaseSettings, problems)
        for group in (EventsSettings, ProcessSettings, MetricsSettings, TelemetrySettings):
            _loaded(group, problems)
        accounts: Sequence[AccountSettings] = ()
        try:
            accounts = registry.configured()
        except SettingsError as error:
            problems += error.problems
        return cls(
            supabase=supabase,
            accounts=accounts,
            engine=engine,
            webhook=_loaded(WebhookSettings, webhook_problems),
            db_url=None if database is None else database.outbox_db_url,
            problems=tuple(dict.fromkeys(problems)),
            webhook_problems=tuple(webhook_problems),
            origins=origins,
            misspelled=misspelled,
        )

    @property
    def host(self) -> str | None:
        """The host of the project, by which its database knows it."""
        return None if self.supabase is None else project_host(self.supabase.supabase_url)


def _loaded(group: type[settings.Group], problems: list[str]) -> settings.Group | None:
    try:
        return settings.load(group)
    except SettingsError as error:
        problems += error.problems
        return None


@dataclass(frozen=True, slots=True)
class Answered:
    """The facts, how long they took, and how far the database's clock is ahead of this machine's, in seconds."""

    facts: Facts
    seconds: float
    clock_ahead: float


class NotConnected(Exception):
    """A check needs Supabase, and its settings are missing or wrong."""


@dataclass(slots=True)
class Installation:
    """The settings, and one connection. The facts are asked for once, however many checks wait for them."""

    environment: Environment
    operating: Operating | None
    _asked: "asyncio.Task[Answered] | None" = field(default=None, init=False)

    @property
    def connection(self) -> Operating:
        """Raises NotConnected."""
        if self.operating is None:
            raise NotConnected
        return self.operating

    async def answered(self) -> Answered:
        """Raises NotConnected, and the errors of the call, each time."""
        connection = self.connection
        if self._asked is None:
            self._asked = asyncio.create_task(_ask(connection))
        return await asyncio.shield(self._asked)

    async def facts(self) -> Facts:
        """As :meth:`answered`."""
        return (await self.answered()).facts

    async def aclose(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait([self._asked])
        if self.operating is not None:
            await self.operating.aclose()


async def _ask(operating: Operating) -> Answered:
    # The first call makes the connection. Its time would count as a difference of the clocks.
    await operating.gateway.ping()
    began, here = monotonic(), datetime.now(UTC)
    facts = await operating.examination.facts()
    seconds = monotonic() - began
    return Answered(facts, seconds, (facts.at - here).total_seconds() - seconds / 2)
