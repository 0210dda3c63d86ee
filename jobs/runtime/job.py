"""The base class of every job: what the process that runs it may call."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

FALLBACK_INTERVAL_SECONDS: Final = 300.0
"""How often a job looks for work that no claim has named. The dispatch job wakes it sooner."""


class Job(ABC):
    """Work that is due again and again. Any number of processes may run the same job.

    ``name`` is unique within a process: the kind of job, and after a space the account, where the process serves several.
    ``interval`` is the time between two ticks, in seconds.

    Only :meth:`tick` is required. The other methods do nothing here; they are for a job that leaves requests open between its
    ticks, that learns of other jobs' work, or whose ticks take long.
    """

    name: str
    interval: float

    @property
    def kind(self) -> str:
        """The name without the account."""
        return self.name.partition(" ")[0]

    @abstractmethod
    async def tick(self) -> None:
        """Do the work that is due, and return.

        Raises :class:`jobs.gateway.errors.GatewayUnavailable` when Supabase is away: the scheduler then waits longer before
        the next tick. Any other exception is a bug of this package: the scheduler logs it, and the next tick comes as usual.
        """

    @property
    def stopped(self) -> bool:
        """Whether the job left due work undone until an operator corrects an account, a setting or the network."""
        return False

    @property
    def others_may_help(self) -> bool:
        """Whether another job of this kind may do the work that this one, being stopped, left undone."""
        return False

    def wake_others_with(self, wake: Callable[[str], None]) -> None:
        """From now on, call ``wake`` with the name of each other job that has work."""

    def notice(self) -> None:
        """Take note that rows may have been inserted since the current tick began. Another tick follows in any case."""

    async def finish(self) -> None:
        """Return when every request that the job has begun or claimed is done."""

    async def drain(self) -> None:
        """Claim nothing more, give back requests that were not started, and return when the open ones are done."""
