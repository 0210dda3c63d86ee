"""Sinch's side of :class:`jobs.providers.callbacks.CallbackReader`."""

from collections.abc import Mapping, Sequence

from jobs.providers.base import CallbackItem
from jobs.providers.callbacks import Verdict
from jobs.providers.sinch import callbacks, signature


class SinchCallbacks:
    """Reads callbacks signed with any of ``secrets``; several while one replaces another."""

    secrets_setting = "SINCH_WEBHOOK_SECRETS"
    committed_status = 204

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = tuple(secrets)

    def may_verify_later(self, *, signed: bool) -> bool:  # noqa: ARG002
        """Signatures are optional at Sinch, and a callback without one is not sent again with one."""
        return False

    def claims_origin(self, headers: Mapping[str, str]) -> bool:
        return signature.SIGNATURE in headers

    def authenticate(self, headers: Mapping[str, str], raw: bytes) -> Verdict:
        if signature.SIGNATURE not in headers:
            return Verdict.ABSENT
        if not self._secrets:
            return Verdict.UNVERIFIABLE
        return Verdict.VERIFIED if signature.verifies(self._secrets, headers, raw) else Verdict.FORGED

    def parse(self, raw: bytes) -> list[CallbackItem]:
        return callbacks.parse(raw)
