"""The part of :class:`~sandbox.simulator.control.Control` that is about Vonage."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from sandbox.simulator.vonage.applications import AccountView, ApplicationSettings
from sandbox.simulator.vonage.webhooks import Inbound
from sandbox.simulator.vonage_controls import Attachment


class VonageControl:
    """Applications, phones and accounts. ``ask`` makes a request to the simulator's controls."""

    def __init__(self, ask: Callable[..., httpx.Response]) -> None:
        self._ask = ask

    def applications(self) -> list[ApplicationSettings]:
        return msgspec.json.decode(self._ask("GET", "/vonage/applications").content, type=list[ApplicationSettings])

    def agree(self, settings: ApplicationSettings) -> None:
        """Add an application or change one: its keys, secrets and URLs."""
        self._ask("PUT", "/vonage/applications", settings)

    def change(self, **fields: Any) -> None:
        """Replace some fields of :class:`~sandbox.simulator.behaviour.VonageBehaviour`."""
        self._ask("PATCH", "/faults", {"vonage": fields})

    def text_in(
        self, *, sender: str, to: str, text: str | None = None, media: Sequence[Attachment] = (), **fields: Any
    ) -> Inbound:
        """A phone sends a text, or with ``media`` an MMS. ``fields`` as in :class:`VonageInject`."""
        wanted = {"sender": sender, "to": to, "text": text, "media": media, **fields}
        return msgspec.json.decode(self._ask("POST", "/vonage/inbounds", wanted).content, type=Inbound)

    def accounts(self) -> list[AccountView]:
        """Each account's costs of the Reports API, and the phones that opted out."""
        return msgspec.json.decode(self._ask("GET", "/vonage/accounts").content, type=list[AccountView])
