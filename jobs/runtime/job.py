"""What the scheduler knows of a job."""

from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

UNTOLD_SECONDS: Final = 300.0
"""How often a job looks for work that the dispatch job did not tell it of."""


class Job(Protocol):
    """Work that is due again and again.

    ``interval`` is in seconds. :meth:`tick` works off what is due and returns; it must be safe to call beside other processes
    that run the same job, and raises :class:`jobs.gateway.errors.GatewayUnavailable` when Supabase is away: the
    scheduler then backs off. Any other exception is a fault of ours: it is reported, and the next tick comes as usual.
    """

    @property
    def name(self) -> str: ...

    @property
    def interval(self) -> float: ...

    async def tick(self) -> None: ...


@runtime_checkable
class Draining(Protocol):
    """A job that holds claims between its awaits and has to be told to stop taking more."""

    async def drain(self) -> None:
        """Take nothing new, give back what was not started, and return when open requests are done."""
        ...


@runtime_checkable
class Finishing(Protocol):
    """A job whose tick may return while requests it began are still open."""

    async def finish(self) -> None:
        """Return when everything begun so far is done, what is claimed but not started included."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A job whose work may be stopped by what somebody has to mend."""

    @property
    def stopped(self) -> bool:
        """Whether work that is due was left for such a reason."""
        ...


@runtime_checkable
class Waking(Protocol):
    """A job that learns on its way that another one has something to do, and spares that one from asking."""

    def wakes(self, wake: Callable[[str], None]) -> None:
        """Call ``wake`` with the other job's name from now on."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """A job whose tick may take long, and that can attend to new work in the middle of it."""

    def notice(self) -> None:
        """There may be new work since the tick under way began. Another tick comes after it all the same."""
        ...
