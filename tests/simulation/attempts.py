"""Attempts of messages, as the database commits them: at most one is open, and each ends with a proof before the next."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jobs.providers.base import Report
from tests.simulation.books import COMES_BACK, STOPPED
from tests.simulation.database import Database

_SINCE: Final = "delete from simulation.attempts returning *"


class Attempts:
    """Judges each change of a message's attempt by what was known when it was committed.

    ``has_list`` says of each provider whether two lookups can prove that it never got a request. ``reports`` gives those on a
    batch and number that the database has recorded. What is a proof is written here, and not asked of the engine.
    """

    def __init__(self, database: Database, has_list: Mapping[str, bool]) -> None:
        self._database = database
        self._has_list = has_list

    def wrong(self, reports: Mapping[tuple[str, str], list[Report]]) -> Iterator[str]:
        """What is wrong with the changes since the last call."""
        for change in sorted(self._database.query(_SINCE), key=lambda row: row["number"]):
            if change["open"] is not None:
                yield f"message {change['outbox_id']} has {change['open']} open attempts"
            else:
                said = reports.get((change["batch_id"], change["recipient"]), [])
                doubt = self._doubt(change, said)
                if doubt:
                    yield f"message {change['outbox_id']} left {change['former']} for {change['next']}: {doubt}"

    def _doubt(self, change: Mapping[str, Any], said: list[Report]) -> str | None:
        match change["state"]:
            case "released" | "refused":
                return None
            case "awaiting_half" if change["is_part"]:
                return None  # The provider refused it. Of its messages, some are tried alone while the others wait.
            case "not_found" if self._has_list[change["provider"]]:
                return None
            case "accepted":
                return self._doubt_about_accepted(change, said)
        return f"it is {change['state']} at {change['provider']}"

    def _doubt_about_accepted(self, change: Mapping[str, Any], said: list[Report]) -> str | None:
        # ROUTES: after_network_failure lets a route move the codes of the network, once. Histories do not switch it on.
        moves = (change["provider"], change["plan"]) != (change["next_provider"], change["next_plan"])
        proofs = COMES_BACK | (STOPPED[change["provider"]] if moves else frozenset())
        if not any(report.status == "aborted" and report.code in proofs for report in said):
            return f"{change['provider']} accepted it, and said only {_words(said)}"
        if any(report.status == "delivered" for report in said):
            return f"{change['provider']} delivered it"
        if not self._has_list[change["provider"]] and any(report.status == "dispatched" for report in said):
            return f"{change['provider']} had handed it on"
        return None


def _words(said: list[Report]) -> str:
    return ", ".join(f"{report.status} {report.code}" for report in said) or "nothing"
