"""The request that sends: parsing and the documented limits of SMS and MMS. Unknown fields are ignored."""

import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from sandbox.simulator.vonage.problems import Problem, no_json, wrong

_RECIPIENT = re.compile(r"[1-9][0-9]{6,14}")
_SMS_SENDER = re.compile(r"[0-9]{3,15}|(?=.*[A-Za-z])[ -~]{1,11}")
_MMS_SENDER = re.compile(r"[0-9]{5,6}|[0-9]{10,11}")
_TTL: Final = {"sms": (20, 604_800), "mms": (300, 259_200)}
_MEDIA: Final = ("image", "audio", "video", "vcard", "file")
_TITLES: Final = {
    "to": "Invalid recipient",
    "from": "Invalid sender",
    "channel": "Unsupported channel",
    "message_type": "Invalid message type",
    "client_ref": "Invalid client reference",
    "sms": "Invalid channel parameters",
    "mms": "Invalid channel parameters",
}
"""The title of a refusal for a wrong field. All others are ``Invalid params``."""


class Media(Struct, kw_only=True):
    """One attachment."""

    url: str
    caption: str | None = None
    name: str | None = None


class Part(Media, kw_only=True):
    """One attachment of several."""

    type: Literal["image", "audio", "video", "vcard", "file"]


class SmsOptions(Struct, kw_only=True):
    """Options of an SMS."""

    encoding_type: Literal["auto", "text", "unicode"] = "auto"
    content_id: str | None = None
    entity_id: str | None = None
    pool_id: str | None = None


class MmsOptions(Struct, kw_only=True):
    """Options of an MMS: the other members of a group."""

    participants: list[str] = []


class Wanted(Struct, kw_only=True):
    """Body of ``POST /v1/messages``."""

    to: str | None = None
    from_: str | None = field(name="from", default=None)
    channel: str | None = None
    message_type: str | None = None
    text: str | None = None
    image: Media | None = None
    audio: Media | None = None
    video: Media | None = None
    vcard: Media | None = None
    file: Media | None = None
    content: list[Part] | None = None
    client_ref: str | None = None
    webhook_url: str | None = None
    webhook_version: Literal["v1", "v0.1"] = "v1"
    ttl: int | None = None
    trusted_recipient: bool | None = None
    trusted_sender: bool | None = None
    sms: SmsOptions | None = None
    mms: MmsOptions | None = None
    failover: "list[Wanted]" = []

    @property
    def attachments(self) -> list[Media]:
        if self.message_type == "content":
            return [*(self.content or ())]
        media = getattr(self, self.message_type or "", None) if self.message_type in _MEDIA else None
        return [] if media is None else [media]

    @property
    def words(self) -> str:
        """The text of an SMS; of an MMS its text or its first caption."""
        return self.text or next((media.caption for media in self.attachments if media.caption), "")


_DECODER = msgspec.json.Decoder(Wanted)


def read(body: bytes) -> Wanted:
    """Parse and check a request's body, its failover messages too. Raises Problem."""
    try:
        wanted = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _mistyped(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_json(str(error)) from None
    _check(wanted)
    for following in wanted.failover:
        if following.failover:
            raise wrong("Invalid params", ("failover", "a failover message cannot have failover messages"))
        _check(following)
    return wanted


def _check(wanted: Wanted) -> None:
    missing = [
        (name, "is required")
        for name, value in (
            ("to", wanted.to),
            ("from", wanted.from_),
            ("channel", wanted.channel),
            ("message_type", wanted.message_type),
        )
        if value is None
    ]
    if missing:
        raise wrong("Missing params", *missing)
    if wanted.channel not in _TTL:
        raise wrong(_TITLES["channel"], ("channel", "must be sms or mms"))
    kinds = ("text",) if wanted.channel == "sms" else ("text", *_MEDIA, "content")
    if wanted.message_type not in kinds:
        raise wrong(_TITLES["message_type"], ("message_type", f"must be one of {', '.join(kinds)}"))
    if not _RECIPIENT.fullmatch(wanted.to or ""):
        raise wrong(_TITLES["to"], ("to", "must have 7 to 15 digits, with the country code and without + or 00"))
    if not (_SMS_SENDER if wanted.channel == "sms" else _MMS_SENDER).fullmatch(wanted.from_ or ""):
        raise wrong(_TITLES["from"], ("from", f"is no sender for {wanted.channel}"))
    _check_content(wanted)
    _check_options(wanted, wanted.channel)


def _check_content(wanted: Wanted) -> None:
    if wanted.message_type == "text":
        if not wanted.text or len(wanted.text) > 3200:
            raise wrong("Invalid params", ("text", "must have 1 to 3200 characters"))
        return
    if not wanted.attachments:
        raise wrong("Missing params", (wanted.message_type or "", "is required"))
    for media in wanted.attachments:
        if not _is_url(media.url):
            raise wrong("Invalid params", (f"{wanted.message_type}.url", "must be an http or https URL"))
        if media.caption is not None and not 1 <= len(media.caption) <= 3000:
            raise wrong("Invalid params", (f"{wanted.message_type}.caption", "must have 1 to 3000 characters"))


def _check_options(wanted: Wanted, channel: str) -> None:
    if wanted.client_ref is not None and len(wanted.client_ref) > 100:
        raise wrong(_TITLES["client_ref"], ("client_ref", "must have at most 100 characters"))
    lowest, highest = _TTL[channel]
    if wanted.ttl is not None and not lowest <= wanted.ttl <= highest:
        raise wrong("Invalid params", ("ttl", f"must be between {lowest} and {highest}"))
    if wanted.webhook_url is not None and not _is_url(wanted.webhook_url):
        raise wrong("Invalid params", ("webhook_url", "must be an http or https URL"))
    if wanted.mms and not all(_RECIPIENT.fullmatch(number) for number in wanted.mms.participants):
        raise wrong(_TITLES["mms"], ("mms.participants", "must be numbers"))


def _is_url(text: str) -> bool:
    parts: Any = urlsplit(text)
    return len(text) <= 2048 and parts.scheme in ("http", "https") and bool(parts.hostname)


def _mistyped(message: str) -> Problem:
    reason, _, path = message.partition(" - at ")
    name = path.strip("`").removeprefix("$.") or "body"
    first = name.partition(".")[0].partition("[")[0]
    return wrong(_TITLES.get(first, "Invalid params"), (name, reason))
