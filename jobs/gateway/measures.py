"""What the database knows of the outbox, as metrics. It is the same in every process: take the maximum over them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from jobs.gateway.browsing.figures import FigureCalls
from jobs.gateway.rpc import Calls

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Measures:
    """The answer of ``outbox_metrics``. ``by_country`` has countries, statuses and messages, None where that is not wanted."""

    queue: Mapping[str, float]
    oldest_due_seconds: Mapping[str, float]
    pauses: tuple[tuple[str, str | None], ...]
    requests: Mapping[str, float]
    duplicate_sends: float
    reports_missing_batches: float
    alarms_pending: float
    ticks: tuple[tuple[str, str, float], ...]
    by_country: tuple[tuple[str, str, int], ...] | None = None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> "Measures":
        return cls(
            queue=answer["queue"],
            oldest_due_seconds=answer["oldest_due_seconds"],
            pauses=tuple((pause["plan"], pause["kind"]) for pause in answer["pauses"]),
            requests=answer["requests"],
            duplicate_sends=answer["duplicate_sends"],
            reports_missing_batches=answer["reports_missing_batches"],
            alarms_pending=answer["alarms_pending"],
            ticks=tuple((tick["job"], tick["plan"], float(tick["at"])) for tick in answer["ticks"]),
        )

    def families(self) -> Iterator[Metric]:
        """The metrics, each with its samples."""
        yield _by("outbox_queue_messages", "Messages that are not sent yet, by state.", "state", self.queue)
        yield _by(
            "outbox_queue_oldest_due_seconds",
            "How long the oldest due message has waited. Urgent: its priority is below 100.",
            "urgency",
            self.oldest_due_seconds,
        )
        paused = GaugeMetricFamily(
            "outbox_plan_paused",
            "1 for each pause of a plan; 0 with an empty reason if it has none.",
            labels=["plan", "reason"],
        )
        for plan, kind in self.pauses:
            paused.add_metric([plan, kind or ""], 0 if kind is None else 1)
        yield paused
        yield _by("outbox_requests_open", "Requests whose outcome is open, by state.", "state", self.requests)
        yield CounterMetricFamily(
            "outbox_duplicate_sends", "Messages that a provider accepted twice.", value=self.duplicate_sends
        )
        yield GaugeMetricFamily(
            "outbox_reports_missing_batches",
            "Batches that lack a final report although the provider was asked for it.",
            value=self.reports_missing_batches,
        )
        yield GaugeMetricFamily("outbox_alarms_pending", "Alarms that no scheduler has logged.", value=self.alarms_pending)
        ticked = GaugeMetricFamily(
            "outbox_job_last_tick_timestamp_seconds", "When a job last ran in any process.", labels=["job", "plan"]
        )
        for job, plan, at in self.ticks:
            ticked.add_metric([job, plan], at)
        yield ticked
        if self.by_country is not None:
            yield _by_country(self.by_country)


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _by_country(messages: Iterable[tuple[str, str, int]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "outbox_messages_by_country",
        "Messages that were to go out in this hour of UTC or the 23 hours before.",
        labels=["country", "status"],
    )
    for country, status, number in messages:
        family.add_metric([country, status], number)
    return family


class Measuring(Calls):
    """Reads what the database knows."""

    async def metrics(self, *, by_country: bool = False) -> Measures:
        """One call that takes milliseconds; with ``by_country`` two, of which the second reads the sums for charts."""
        measures = Measures.parse(await self._rpc.call("outbox_metrics", {}))
        return replace(measures, by_country=await self._messages_by_country()) if by_country else measures

    async def _messages_by_country(self) -> tuple[tuple[str, str, int], ...]:
        until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
        figures = await FigureCalls(self._rpc).delivery_figures(until - 24 * _HOUR, until, "all", "country")
        return tuple((one.by or "", status, number) for one in figures for status, number in one.statuses.items())
