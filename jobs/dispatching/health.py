"""The state of the plan as this process learns it from claims and refusals, and its log."""

from typing import Any, Final

import structlog

from jobs.gateway.seen import RESTORED
from jobs.gateway.values import Claim, Dispatch
from jobs.providers.base import Refusal, Refused
from jobs.providers.registry import setting_to_check
from jobs.runtime.outage import Outage, named

log = structlog.get_logger()

_STOPS_THE_PLAN: Final = (Refusal.SETTING, Refusal.THROTTLED, Refusal.ACCOUNT, Refusal.UNREACHABLE)
_LEAVES_ROWS: Final = (Refusal.SETTING, Refusal.ACCOUNT, Refusal.UNREACHABLE)
"""An operator or the network has to change something. Throttling passes by itself."""
_AFTER_RESTORE: Final = (
    "the database was restored from a backup and lacks messages that were sent since: "
    "adopt them with `outbox adopt --since TIME`, the time of the backup"
)


class PlanHealth:
    """Logs once that the plan stops, and once that it works again."""

    def __init__(self, plan: str, *, provider: str, project: str | None = None) -> None:
        self._plan = plan
        self._provider = provider
        self._project = project
        self._unbound = Outage("project.unbound", ended="project.bound")
        self._paused: str | None = None
        self._pause, self._pause_kind = self._new_pause(), ""
        self._refusals = {why: Outage("dispatch.refused") for why in _STOPS_THE_PLAN}

    @property
    def holds(self) -> bool:
        """Whether messages are held for a setting of this process, so that no other plan takes them."""
        return self._refusals[Refusal.SETTING].ongoing

    @property
    def stopped(self) -> bool:
        """Whether due rows stay until an operator or the network changes something."""
        return (
            self._unbound.ongoing
            or self._paused in (*_LEAVES_ROWS, RESTORED)
            or any(self._refusals[why].ongoing for why in _LEAVES_ROWS)
        )

    def claimed(self, claim: Claim, *, urgent_only: bool) -> None:
        """Take note of the pause in the answer to a claim.

        A claim of urgent rows that finds none answers before it reads the pauses, so it does not end one. A claim that brings
        requests after a pause brings a probe: the plan is logged as resumed once a request is accepted.
        """
        self._read_binding(claim)
        if claim.paused is None:
            if not urgent_only:
                self._paused = None
            return
        self._paused = claim.paused
        if claim.paused != self._pause_kind:
            self._pause, self._pause_kind = self._new_pause(), claim.paused
        fields: dict[str, Any] = {"plan": self._plan, "kind": claim.paused, "reason": claim.reason}
        if claim.paused == RESTORED:
            self._pause.failed(**fields, meaning=_AFTER_RESTORE)
        else:
            setting = setting_to_check(self._provider, claim.reason or "") if claim.paused == Refusal.ACCOUNT else None
            self._pause.failed(**fields, seconds=claim.wait_seconds, **named(setting))

    def refused(self, dispatch: Dispatch, refused: Refused) -> None:
        """Log a refusal. One that stops the whole plan is a warning once, until a request is accepted."""
        self._refusals.get(refused.why, Outage("dispatch.refused")).failed(
            plan=self._plan,
            dispatch=dispatch.dispatch_id,
            why=refused.why.value,
            http_status=refused.http_status,
            error=refused.error,
            recipients=len(dispatch.recipients),
            **named(self._setting_of(refused)),
        )

    def accepted(self) -> None:
        """A request was accepted, so the plan works."""
        for refusal in self._refusals.values():
            refusal.recovered()
        self._pause.recovered(plan=self._plan)
        self._pause_kind = ""

    def _setting_of(self, refused: Refused) -> str | None:
        if refused.why not in (Refusal.ACCOUNT, Refusal.SETTING):
            return None
        return setting_to_check(self._provider, refused.error, is_held=refused.why is Refusal.SETTING)

    def _read_binding(self, claim: Claim) -> None:
        if claim.unbound is None:
            self._unbound.recovered(plan=self._plan, project=self._project)
            return
        bound = ", ".join(claim.unbound)
        self._unbound.failed(
            plan=self._plan,
            project=self._project,
            setting="SUPABASE_URL",
            meaning=f"nothing is sent: this database sends from {bound}. If it is a copy, set ALLOWED_RECIPIENTS first; "
            "if it was restored from a backup, run `outbox adopt` first. "
            f"`outbox bind` has it send from {self._project} only, `outbox bind --also {self._project}` from both",
        )

    @staticmethod
    def _new_pause() -> Outage:
        return Outage("plan.paused", ended="plan.resumed")
