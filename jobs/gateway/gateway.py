"""Every call that the processes make. The rules are in `supabase/schemas`."""

from jobs.gateway.adopting import Adopting
from jobs.gateway.auth_codes import AuthCodes
from jobs.gateway.eventing import Eventing
from jobs.gateway.lookups import Lookups
from jobs.gateway.measures import Measuring
from jobs.gateway.polling import Polling
from jobs.gateway.recording import Recording
from jobs.gateway.rpc import Rpc
from jobs.gateway.schema import installed_schema
from jobs.gateway.sending import Sending
from jobs.gateway.upkeep import Upkeep
from jobs.runtime.settings import SupabaseSettings
from jobs.schema.installed import InstalledSchema


class Gateway(Sending, Lookups, Polling, Recording, Upkeep, Adopting, AuthCodes, Eventing, Measuring):
    """The outbox's database functions. A method has the name of its function, without ``outbox_``.

    Every method is one call and may be repeated with the same arguments without a second effect. It raises
    :class:`jobs.gateway.errors.GatewayUnavailable` or :class:`jobs.gateway.errors.GatewayRefused`. Durations are in seconds.
    """

    @classmethod
    async def connect(cls, settings: SupabaseSettings) -> "Gateway":
        """Make the client. This makes no request yet, so it succeeds while Supabase is away."""
        return cls(await Rpc.connect(settings))

    async def aclose(self) -> None:
        await self._rpc.aclose()

    async def ping(self) -> None:
        """Return if the database answers and its functions are there."""
        await self._rpc.call("outbox_ping", {})

    async def installed_schema(self) -> InstalledSchema | None:
        """The schema versions of the database, None where nothing is installed."""
        return await installed_schema(self._rpc)
