"""What a request to Vonage's Messages API holds. Numbers travel without ``+``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from jobs.providers.base import Submission

_SHORTEST_TTL: Final = {"sms": 20, "mms": 300}
_LONGEST_TTL: Final = {"sms": 604_800, "mms": 259_200}
_OPTIONS: Final = frozenset({"entity_id", "content_id"})
"""What India's operators ask for: the ids of the business and of the text in their register (DLT)."""
_FILE: Final = "file"
_MEDIA: Final[Mapping[str, str]] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "bmp"), "image"),
    **dict.fromkeys(("mp3", "amr", "mid", "midi", "wav", "ac3"), "audio"),
    **dict.fromkeys(("mp4", "3gp", "avi", "mpg", "mpeg"), "video"),
    "vcf": "vcard",
}
"""The type of message that carries a file with this ending, as Vonage's page on MMS lists them. All others are files."""


def submission_body(submission: Submission, *, sender: str, callback_url: str | None, now: datetime) -> bytes:
    """The body of ``POST /v1/messages``. ``sender`` is the default, ``now`` Vonage's time.

    The encoding is left to Vonage (``auto``): the GSM alphabet where it holds all characters, Unicode otherwise. To ask for
    ``text`` after a check of ours would lose characters wherever Vonage's alphabet is smaller than ours; ``auto`` costs one
    more part at most. ``failover`` is never used: its second message would be sent outside the ledger.
    """
    channel = "sms" if submission.media_url is None else "mms"
    (recipient,) = submission.recipients
    body: dict[str, Any] = {
        "to": recipient.removeprefix("+"),
        "from": (submission.sender or sender).removeprefix("+"),
        "channel": channel,
        "client_ref": submission.reference,
        **_content(submission.body, submission.media_url),
    }
    if channel == "sms" and (options := _options(submission)):
        body["sms"] = options
    if submission.expire_at is not None:
        body["ttl"] = _ttl(channel, (submission.expire_at - now).total_seconds())
    if callback_url is not None:
        body |= {"webhook_url": callback_url, "webhook_version": "v1"}
    return msgspec.json.encode(body)


def _content(text: str, media_url: str | None) -> dict[str, Any]:
    if media_url is None:
        return {"message_type": "text", "text": text}
    kind = media_type(media_url)
    return {"message_type": kind, kind: {"url": media_url, "caption": text} if text else {"url": media_url}}


def _options(submission: Submission) -> dict[str, str]:
    return {name: value for name, value in (submission.options or {}).items() if name in _OPTIONS}


def media_type(url: str) -> str:
    """The type of message that carries this file, by the ending of its name."""
    _, dot, ending = urlsplit(url).path.rpartition("/")[2].rpartition(".")
    return _MEDIA.get(ending.lower(), _FILE) if dot else _FILE


def _ttl(channel: str, seconds: float) -> int:
    """Seconds for which Vonage tries to hand a message on, cut to what it takes. A carrier may go on for a day or two."""
    return int(min(max(seconds, _SHORTEST_TTL[channel]), _LONGEST_TTL[channel]))
