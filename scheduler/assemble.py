"""Builds the parts of an `outbox run` process from its settings."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jobs.runtime import settings
from jobs.runtime.accounts import AccountSettings
from jobs.runtime.settings import (
    DatabaseSettings,
    EngineSettings,
    EventsSettings,
    MetricsSettings,
    ProcessSettings,
    SupabaseSettings,
    TelemetrySettings,
)
from jobs.runtime.waking import Wakings
from jobs.schema.releases import Releases
from scheduler.process import Listener

if TYPE_CHECKING:
    from scheduler.engine import Engine


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything `outbox run` reads from the environment. ``accounts`` are those that it serves, by their place among all."""

    telemetry: TelemetrySettings
    supabase: SupabaseSettings
    accounts: Mapping[int | None, AccountSettings]
    engine: EngineSettings
    events: EventsSettings
    process: ProcessSettings
    metrics: MetricsSettings

    @classmethod
    def load(cls, plans: Sequence[str] = ()) -> "RunSettings":
        """``plans`` limits the accounts. Raises SettingsError for all settings that are missing or wrong."""
        # Imported here, because it imports the providers' clients, which a command without them should not wait for.
        from jobs.providers.registry import chosen

        telemetry, supabase, accounts, engine, events, process, metrics, _ = settings.gathered(
            lambda: settings.load(TelemetrySettings),
            lambda: settings.load(SupabaseSettings),
            lambda: chosen(plans),
            lambda: settings.load(EngineSettings),
            lambda: settings.load(EventsSettings),
            lambda: settings.load(ProcessSettings),
            lambda: settings.load(MetricsSettings),
            _check_database_url,
        )
        return cls(
            telemetry=telemetry,
            supabase=supabase,
            accounts=accounts,
            engine=engine,
            events=events,
            process=process,
            metrics=metrics,
        )


@asynccontextmanager
async def assembled(chosen: RunSettings, known: Releases, wakings: Wakings, *, once: bool) -> AsyncIterator["Engine"]:
    """The jobs of this process and their gateway, closed when the block ends. Sends no request to Supabase or the provider."""
    # Imported here, because importing the Supabase client takes a second and errors in settings should be reported at once.
    from scheduler.engine import build_engine

    engine = await build_engine(
        chosen.supabase,
        chosen.accounts,
        chosen.engine,
        known=known,
        waits_for_rates=not once,
        wakings=wakings,
        events=chosen.events,
    )
    try:
        yield engine
    finally:
        await engine.aclose()


@asynccontextmanager
async def scraped(chosen: RunSettings, engine: "Engine", known: Releases) -> AsyncIterator[None]:
    """Give metrics while the block runs, if METRICS_PORT is set. Raises SettingsError if that port cannot be had."""
    if chosen.metrics.metrics_port is None:
        yield
        return
    # Imported here, because few processes need the memory that the server takes.
    from jobs.gateway.exposition import Exposition
    from scheduler.metrics_server import serving

    read = partial(engine.gateway.metrics, by_country=chosen.metrics.metrics_by_country)
    exposition = Exposition(read, token=chosen.metrics.metrics_token, schema=known.newest)
    async with serving(chosen.metrics.metrics_host, chosen.metrics.metrics_port, exposition):
        yield


def _check_database_url() -> None:
    url = settings.load(DatabaseSettings).outbox_db_url
    if url is not None:
        from scheduler.wakeup import check_url

        check_url(url)


def listener(chosen: RunSettings, wakings: Wakings) -> Listener | None:
    """The listener for new rows, None if ``OUTBOX_DB_URL`` is not set."""
    if chosen.supabase.outbox_db_url is None:
        return None
    from scheduler.wakeup import Wakeup

    return Wakeup(chosen.supabase.outbox_db_url, wakings)
