"""One filter for phone numbers and secrets: logs, errors, alerts, screens, and the words that the database keeps.

It cannot know every number. So it hides what may be one: a run of ten digits that is no id is hidden too. Ids that the outbox
writes itself stay readable: UUIDs, batch ids, times, and counts of up to nine digits.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_HIDDEN: Final = "•••"

# What people, and programs, write between the digits of a number, also without seeing it.
_GAP = r"[\s.()/\-\u00ad\u200b-\u2015\u202a-\u202e\u2060-\u2069\ufeff]{0,3}"
_PLUS = r"(?:[+\ufe62\uff0b]|%2[Bb]|\\u002[Bb]|&#43;|&plus;)"
_ALONE, _END = r"(?<![A-Za-z\d])(?<!\d\.)", r"(?![A-Za-z_\d])"
_KEPT_OR_NUMBER = re.compile(
    r"(?P<kept>\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b)"  # a UUID: its last group may be digits only
    rf"|{_PLUS}\d{{7,}}"
    rf"|(?<!\d){_PLUS}(?:{_GAP}\d){{7,}}"  # not after a digit: that plus is a time's offset
    rf"|{_ALONE}00(?:{_GAP}\d){{8,15}}{_END}"
    rf"|{_ALONE}\d{{10,15}}{_END}"
    # As people write numbers of their own country: (415) 555-0123, 07700 900123
    rf"|(?<![\w.+-])(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{{1,2}}[2-9]\d\d[ .-]\d{{4}}{_END}"
    rf"|(?<![\w.+-])\(?0\d{{2,5}}\)?[ ./-]{{1,2}}\d{{3,4}}[ .-]?\d{{2,6}}{_END}"
)

_USERINFO = re.compile(
    # What follows the colon is no port: a password, with any sign in it. In paths of the web an @ is usual.
    r"(?P<scheme>\b(?:https?|wss?)://)(?:[^\s/:@\"'<>]*:(?!\d{1,5}(?:[/?#\s]|$))[^\s\"'<>]*@|[^\s/?#\"'<>]*@)"
    r"|(?P<other>\b(?!(?:https?|wss?):)[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z))"
    r"|(?i:\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}"  # Authorization headers
    r"|\bsb_secret_[\w-]+"  # a Supabase secret key
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"  # a JWT, such as a legacy service role key, also a part of one
)
_NAMED_SECRET = re.compile(
    r"(?i)(?P<name>(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|(?:secret|private|role)[_-]?key|authorization|cookie)s?"
    r"(?:\\?[\"'])?\s*(?:=>|=|:\s*\\?[\"']|:(?=\s*[^\s\"',;&]*\d))\s*(?:\\?[\"'])?)"
    r"[^\s\"',;&}\])\\]{6,}"
)

_TEXTS = frozenset({"body", "text", "message_body", "raw", "payload", "parameters", "content", "media_url"})
_SECRETS = frozenset({"authorization", "password", "secret", "api_token", "apikey", "secret_key", "dsn", "cookie", "cookies"})


def mask(number: str) -> str:
    """A phone number that can be recognised but not dialled: ``+14155550123`` becomes ``+1415•••0123``."""
    head, tail = (5, 4) if len(number) >= 12 else (3, 2)
    return f"{number[:head]}{_HIDDEN}{number[-tail:]}"


def mask_url(url: str) -> str:
    """The URL without the user and password in it."""
    return _USERINFO.sub(lambda found: f"{found['scheme'] or found['other']}{_HIDDEN}@", url)


def scrub(text: str) -> str:
    """``text`` with every phone number, password in a URL, token and key in it masked. A masked text stays as it is."""
    text = _NAMED_SECRET.sub(rf"\g<name>{_HIDDEN}", _SECRET.sub(_HIDDEN, mask_url(text)))
    return _KEPT_OR_NUMBER.sub(_masked, text)


def scrub_value(value: Any) -> Any:
    """Mask all strings in a value of an event. Message texts and secrets are dropped by the name of their field."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {_scrub_key(key): scrub_value(item) for key, item in value.items() if not _is_private(key)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [scrub_value(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if value is None or isinstance(value, (bool, int, float)) else scrub(str(value))


def _masked(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    sign = "+" if re.match(_PLUS, found[0]) else ""
    digits = "".join(str(int(digit)) for digit in re.sub(rf"{_PLUS}|\D", "", found[0]))
    return mask(sign + digits)


def _scrub_key(key: Any) -> Any:
    return scrub(key) if isinstance(key, str) else key


def _is_private(key: Any) -> bool:
    return isinstance(key, str) and key.lower() in _TEXTS | _SECRETS
