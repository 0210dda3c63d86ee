"""Vonage's side of :class:`jobs.providers.callbacks.CallbackReader`."""

from collections.abc import Mapping, Sequence

from jobs.providers.base import CallbackItem, Unusable
from jobs.providers.callbacks import Verdict


class VonageCallbacks:
    """Reads callbacks signed with any of ``secrets``; several while one replaces another."""

    committed_status = 200

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)
        self.repeats_unsigned = bool(secrets)

    def claims_origin(self, headers: Mapping[str, str]) -> bool:
        return headers.get("authorization", "").lower().startswith("bearer ")

    def authenticate(self, headers: Mapping[str, str], raw: bytes) -> Verdict:
        return Verdict.ABSENT if not self.claims_origin(headers) else Verdict.UNVERIFIABLE

    def parse(self, raw: bytes) -> list[CallbackItem]:
        return [Unusable("not built yet", raw)]
