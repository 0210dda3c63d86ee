"""Notices in the answers to claims that the database got a schema version which this process does not know."""

from jobs.gateway.values import Claim
from jobs.schema.admission import Admission, SchemaUnfit
from jobs.schema.compatibility import too_new
from jobs.schema.installed import AppliedVersion


class SchemaWatch:
    """Compares versions through ``admission``, which warned of newer ones at the start of the process. None watches nothing."""

    def __init__(self, admission: Admission | None) -> None:
        self._admission = admission
        self._newest = 0
        self._breaking: AppliedVersion | None = None

    @property
    def known(self) -> int | None:
        """The newest version that this process knows."""
        return None if self._admission is None else self._admission.known

    @property
    def forbids_work(self) -> bool:
        """Whether the database has a breaking version, and so claims nothing for this process."""
        return self._breaking is not None

    def answered(self, claim: Claim) -> None:
        self._newest = claim.schema_version or self._newest
        self._breaking = claim.breaking or self._breaking

    async def check(self) -> None:
        """Warn of a newer version. Raise :class:`SchemaUnfit` where the process may not work any more."""
        if self._breaking is not None:
            raise SchemaUnfit(too_new(self._breaking).message)
        if self._admission is not None and self._newest > self._admission.compared:
            await self._admission.require()
