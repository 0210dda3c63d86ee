"""The call that hands a one-time code of Supabase Auth to the outbox."""

from dataclasses import dataclass

from jobs.gateway.rpc import Calls


@dataclass(frozen=True, slots=True)
class CodeRefused:
    """Why a code is not sent: the HTTP status and the words that Auth hands to its user."""

    status: int
    message: str


class AuthCodes(Calls):
    """Takes codes from the Send SMS hook over HTTP."""

    async def send_sms_over_http(self, body: str, digest: str) -> CodeRefused | None:
        """Put the code of an event into the outbox. None: it is there, also if it was before.

        ``body`` is the event as Auth sent it, ``digest`` the digest of its bytes: Auth before 2.187 gives an event no id.
        """
        answer = await self._rpc.call("outbox_send_sms_over_http", {"p_body": body, "p_digest": digest})
        error = answer.get("error")
        return None if error is None else CodeRefused(error["http_code"], error["message"])
