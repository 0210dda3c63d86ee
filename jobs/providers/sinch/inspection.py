"""Questions about a service plan that change nothing, and a test callback in Sinch's format."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from jobs.providers.base import ProviderError, Refusal
from jobs.providers.inspection import DEADLINE_SECONDS, TEST_RECIPIENT, Remark, Remarks, Standing
from jobs.providers.sinch import refusals, signature
from jobs.providers.sinch.client import SinchClient
from jobs.runtime.accounts import REGIONS, SinchSettings

_REFUSED: Final = frozenset({401, 403, 404})


def region_host(region: str) -> str:
    """The origin of one region."""
    return f"https://{region}.sms.api.sinch.com"


async def inspect(chosen: SinchSettings, host_of: Callable[[str], str] = region_host) -> Remarks:
    """List the requests of the last minute, which needs the plan, its token and its region. Two questions at most a region."""
    where = "at SINCH_BASE_URL" if chosen.sinch_base_url else f"in region {chosen.sinch_region}"
    error = await _ask(chosen, chosen.sinch_base_url or host_of(str(chosen.sinch_region)))
    if error is None:
        return [Remark(Standing.RIGHT, f"plan {chosen.sinch_service_plan_id} accepts its token {where}"), *_sender(chosen)]
    if error.http_status in _REFUSED and chosen.sinch_base_url is None:
        for region in REGIONS:
            if region != chosen.sinch_region and await _ask(chosen, host_of(region)) is None:
                advice = f"set SINCH_REGION={region}"
                return [Remark(Standing.WRONG, f"{error.error}: the plan is not {where}, and answers in {region}", advice)]
    return [Remark(Standing.WRONG, f"{error.error} ({where})", _advice(error))]


async def _ask(chosen: SinchSettings, host: str) -> ProviderError | None:
    client = SinchClient(plan=chosen.sinch_service_plan_id, token=chosen.sinch_api_token.get_secret_value(), host=host)
    try:
        await client.references(start=datetime.now(UTC) - timedelta(minutes=1), page=0, deadline=DEADLINE_SECONDS)
    except ProviderError as error:
        return error
    finally:
        await client.aclose()
    return None


def _advice(error: ProviderError) -> str:
    if error.why is Refusal.UNREACHABLE or error.http_status is None:
        return "check the network of this machine, SINCH_REGION and SINCH_BASE_URL"
    if error.http_status == 401:
        return "check SINCH_API_TOKEN and SINCH_SERVICE_PLAN_ID: Sinch knows no such plan with this token in this region"
    if error.http_status == 429:
        return "the plan sends as fast as it may; ask again"
    setting = refusals.SETTINGS.get(error.http_status)
    return f"check {setting}" if setting else "ask Sinch about the account: no setting explains this answer"


def _sender(chosen: SinchSettings) -> Remarks:
    if chosen.sinch_from_number is None:
        advice = "set SINCH_FROM_NUMBER, or name a sender in each row"
        return [Remark(Standing.DOUBTFUL, "SINCH_FROM_NUMBER is not set: rows without a sender are refused", advice)]
    return [Remark(Standing.NOT_TOLD, "Sinch does not tell with this token whether SINCH_FROM_NUMBER belongs to the plan")]


def test_report(batch_id: str) -> bytes:
    """A report that a text is queued."""
    return msgspec.json.encode(
        {
            "type": "recipient_delivery_report_sms",
            "batch_id": batch_id,
            "recipient": TEST_RECIPIENT.removeprefix("+"),
            "code": 400,
            "status": "Queued",
            "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
    )


def signed(secret: str, raw: bytes) -> Mapping[str, str]:
    """The headers of Sinch's signature."""
    nonce, timestamp = uuid4().hex, str(int(datetime.now(UTC).timestamp()))
    return {
        signature.SIGNATURE: signature.sign(secret, raw, nonce=nonce, timestamp=timestamp).decode(),
        signature.NONCE: nonce,
        signature.TIMESTAMP: timestamp,
        "x-sinch-webhook-signature-algorithm": "HmacSHA256",
    }
