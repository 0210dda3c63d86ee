"""Questions about an application that change nothing, and a test callback in Vonage's format.

Vonage has no question that a token of the application answers without sending. Its Application API, which takes the key and
secret of the account, tells the public key and the URLs of the application; a private key that fits it makes good tokens.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import msgspec

from jobs.providers.answers import Answer
from jobs.providers.http import HttpClient, NeverSent, describe
from jobs.providers.inspection import DEADLINE_SECONDS, TEST_RECIPIENT, Remark, Remarks, Standing
from jobs.providers.vonage.reports import basic_credentials, global_host
from jobs.runtime import checks, phone
from jobs.runtime.accounts import VonageSettings
from jobs.runtime.clocks import Clocks

_NUMBERS_HOST: Final = "https://rest.nexmo.com"
_ALL_HOST: Final = "https://api.nexmo.com"


class _Address(msgspec.Struct, frozen=True):
    address: str = ""


class _Webhooks(msgspec.Struct, frozen=True):
    status_url: _Address = _Address()
    inbound_url: _Address = _Address()


class _Messages(msgspec.Struct, frozen=True):
    webhooks: _Webhooks = _Webhooks()


class _Capabilities(msgspec.Struct, frozen=True):
    messages: _Messages | None = None


class _Keys(msgspec.Struct, frozen=True):
    public_key: str = ""


class _Application(msgspec.Struct, frozen=True):
    keys: _Keys = _Keys()
    capabilities: _Capabilities = _Capabilities()


class _Numbers(msgspec.Struct, frozen=True):
    numbers: tuple[dict[str, Any], ...] = ()


async def inspect(chosen: VonageSettings) -> Remarks:
    """Ask for the application and for the number of the sender: two questions."""
    key, secret = chosen.vonage_api_key, chosen.vonage_api_secret
    if key is None or secret is None:
        return [Remark(Standing.NOT_TOLD, "Vonage tells nothing without VONAGE_API_KEY and VONAGE_API_SECRET")]
    headers = {"Authorization": basic_credentials(key, secret.get_secret_value())}
    origin = global_host(chosen.host)
    http = HttpClient(origin, headers=headers, clocks=Clocks())
    numbers = HttpClient(_NUMBERS_HOST if origin == _ALL_HOST else origin, headers=headers, clocks=Clocks())
    try:
        path = f"/v2/applications/{quote(chosen.vonage_application_id, safe='')}"
        answer = await http.get(path, {}, deadline=DEADLINE_SECONDS)
        remarks = _application(chosen, answer)
        return remarks if remarks[0].standing is Standing.WRONG else [*remarks, *await _sender(chosen, numbers)]
    except NeverSent as error:
        return [Remark(Standing.WRONG, f"no connection: {error}", "check the network of this machine and VONAGE_BASE_URL")]
    except Exception as error:  # noqa: BLE001  # whatever the network does is an answer to this question
        return [Remark(Standing.WRONG, f"no answer: {describe(error)}", "check VONAGE_BASE_URL, and ask again")]
    finally:
        await http.aclose()
        await numbers.aclose()


def _application(chosen: VonageSettings, answer: Answer) -> Remarks:
    if answer.status == 401:
        advice = "check VONAGE_API_KEY and VONAGE_API_SECRET: they are not those of one account"
        return [Remark(Standing.WRONG, "HTTP 401", advice)]
    if answer.status == 404:
        advice = "check VONAGE_APPLICATION_ID: the account of VONAGE_API_KEY has no such application"
        return [Remark(Standing.WRONG, "HTTP 404", advice)]
    try:
        found = msgspec.json.decode(answer.body or b"", type=_Application) if answer.status == 200 else None
    except ValueError:
        found = None
    if found is None:
        return [Remark(Standing.WRONG, f"HTTP {answer.status} does not describe the application", "check VONAGE_BASE_URL")]
    if not _fits(chosen.vonage_private_key.get_secret_value(), found.keys.public_key):
        advice = "check VONAGE_PRIVATE_KEY: it does not belong to the public key of VONAGE_APPLICATION_ID"
        return [Remark(Standing.WRONG, "the application has another key", advice)]
    return [Remark(Standing.RIGHT, "VONAGE_PRIVATE_KEY belongs to the application"), *_urls(chosen, found)]


def _urls(chosen: VonageSettings, found: _Application) -> Remarks:
    messages = found.capabilities.messages
    if messages is None:
        return [Remark(Standing.WRONG, "the application has no capability Messages", "switch it on in Vonage's dashboard")]
    if not messages.webhooks.inbound_url.address:
        advice = "set the inbound URL of the application to the address of the webhook app"
        return [Remark(Standing.DOUBTFUL, "the application has no inbound URL: replies come hourly, by polling", advice)]
    if chosen.vonage_callback_url is None and not messages.webhooks.status_url.address:
        return [Remark(Standing.DOUBTFUL, "no status URL is set: reports come by polling", "set VONAGE_CALLBACK_URL")]
    return []


def _fits(private: str, public: str) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        given = load_pem_public_key(public.encode())
    except ValueError:
        return False
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return given.public_bytes(*form) == checks.rsa_key(private).public_key().public_bytes(*form)


async def _sender(chosen: VonageSettings, http: HttpClient) -> Remarks:
    """Whether the account rents the default sender. Names and short codes are in no list."""
    sender = chosen.vonage_from_number
    if sender is None:
        advice = "set VONAGE_FROM_NUMBER, or name a sender in each row"
        return [Remark(Standing.DOUBTFUL, "VONAGE_FROM_NUMBER is not set: rows without a sender are held", advice)]
    number = phone.e164(sender)
    if number is None:
        return [Remark(Standing.NOT_TOLD, "Vonage tells only of numbers, and VONAGE_FROM_NUMBER is a name or a short code")]
    pattern = number.removeprefix("+")
    answer = await http.get("/account/numbers", {"pattern": pattern, "search_pattern": "1"}, deadline=DEADLINE_SECONDS)
    try:
        listed = msgspec.json.decode(answer.body or b"", type=_Numbers) if answer.status == 200 else None
    except ValueError:
        listed = None
    if listed is None:
        return [Remark(Standing.NOT_TOLD, f"HTTP {answer.status}: Vonage does not tell whether VONAGE_FROM_NUMBER is yours")]
    if any(str(one.get("msisdn")) == pattern for one in listed.numbers):
        return [Remark(Standing.RIGHT, "VONAGE_FROM_NUMBER is a number of the account")]
    return [Remark(Standing.DOUBTFUL, "VONAGE_FROM_NUMBER is no number of the account", "check VONAGE_FROM_NUMBER")]


def test_report(batch_id: str) -> bytes:
    """A status that a text was submitted."""
    return msgspec.json.encode(
        {
            "message_uuid": batch_id,
            "to": TEST_RECIPIENT.removeprefix("+"),
            "from": TEST_RECIPIENT.removeprefix("+"),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": "submitted",
            "channel": "sms",
        }
    )


def signed(secret: str, raw: bytes) -> Mapping[str, str]:
    """The header of Vonage's signature."""
    claims = {
        "iat": int(datetime.now(UTC).timestamp()),
        "jti": str(uuid4()),
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(raw).hexdigest(),
    }
    signing = b".".join(_segment(msgspec.json.encode(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    token = b".".join((signing, _segment(hmac.digest(secret.encode(), signing, "sha256"))))
    return {"authorization": f"Bearer {token.decode()}"}


def _segment(binary: bytes) -> bytes:
    return base64.urlsafe_b64encode(binary).rstrip(b"=")
