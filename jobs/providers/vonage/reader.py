"""Vonage's side of :class:`jobs.providers.callbacks.CallbackReader`."""

from collections.abc import Mapping, Sequence

from jobs.providers.base import CallbackItem
from jobs.providers.callbacks import Verdict
from jobs.providers.vonage import callbacks, signature


class VonageCallbacks:
    """Reads callbacks signed with any of ``secrets``; several while one replaces another."""

    secrets_setting = "VONAGE_SIGNATURE_SECRETS"
    committed_status = 200

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    def may_verify_later(self, *, signed: bool) -> bool:
        """An unsigned one comes again with a signature. While no secret is set, an operator has a day to set it."""
        return signed is not bool(self._secrets)

    def claims_origin(self, headers: Mapping[str, str]) -> bool:
        return signature.is_signed(headers.get("authorization", ""))

    def authenticate(self, headers: Mapping[str, str], raw: bytes) -> Verdict:
        authorization = headers.get("authorization", "")
        if not signature.is_signed(authorization):
            return Verdict.ABSENT
        if not self._secrets:
            return Verdict.UNVERIFIABLE
        return Verdict.VERIFIED if signature.verifies(self._secrets, authorization, raw) else Verdict.FORGED

    def parse(self, raw: bytes) -> list[CallbackItem]:
        return callbacks.parse(raw)
