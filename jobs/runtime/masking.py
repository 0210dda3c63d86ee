"""One filter for phone numbers and secrets: logs, errors, alerts, screens, and the words that the database keeps.

It cannot know every number. So it hides what may be one: a run of ten digits that is no id is hidden too. Ids that the outbox
writes itself stay readable: UUIDs, batch ids, times, and counts of up to nine digits.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_HIDDEN: Final = "•••"

# What people, and programs, write between the digits of a number, also without seeing it.
_GAP = r"(?:%20|[\s._()/\-\u00ad\u00b7\u200b-\u2015\u202a-\u202e\u2060-\u2069\ufeff]){0,3}"
_PLUS = r"(?:[+\ufe62\uff0b]|%(?:25)?2[Bb]|\\(?:u00|x)2[Bb]|&#(?:43|x2[Bb]);|&plus;)"
# A letter or digit before a number makes it part of a word, unless it ends an escape: \n, \x0a, \u000a, %0a.
_ESCAPED = r"(?<=\\[abfnrtvux])|(?<=%[\dA-Fa-f]{2})|(?<=\\x[\dA-Fa-f]{2})|(?<=\\u[\dA-Fa-f]{4})"
_ALONE = rf"(?:(?<![A-Za-z\d])|{_ESCAPED})(?<!\d\.)(?<!{_HIDDEN})"
_END = rf"(?!(?!e?xt?)[A-Za-z\d]|{_HIDDEN})"  # an extension may follow
_BLANK = r"[ .\-\u00a0\u2009\u2010-\u2015\u202f]"
_BEFORE_NATIONAL = rf"(?:(?<![A-Za-z\d+])|{_ESCAPED})(?<!\d[.-])(?<!{_HIDDEN})"
_KEPT_OR_NUMBER = re.compile(
    r"(?=[\dA-Fa-f+(%&\\\ufe62\uff0b])(?:"  # how any of these begins: most characters need no other check
    r"(?P<kept>\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b"  # a UUID: its last group may be digits only
    r"|(?<!\w)20\d{12}(?=_[a-z])"  # the time in the name of a migration
    r"|\bevt_n?\d{1,19}\b)"  # an event's id
    rf"|{_PLUS}\d{{7,}}"
    # A form has + for blanks. A plus after a digit is a time's offset.
    rf"|(?:(?<!\d)|{_ESCAPED}){_PLUS}(?:{_GAP}\d|\+\d){{7,}}"
    rf"|{_ALONE}0(?:0|11)(?:{_GAP}\d){{8,15}}{_END}"
    rf"|{_ALONE}\d{{10,19}}{_END}"
    # As people write numbers of their own country: (415) 555-0123, 07700 900123, 06 12 34 56 78
    rf"|{_BEFORE_NATIONAL}(?:1{_BLANK}?)?\(?[2-9]\d\d\)?{_BLANK}{{0,2}}[2-9]\d\d{_BLANK}?\d{{4}}{_END}"
    rf"|{_BEFORE_NATIONAL}(?:\(0\) ?|\(?0)\d{{2,5}}\)?(?:{_BLANK}|/){{1,2}}\d{{3,4}}{_BLANK}?\d{{2,6}}{_END}"
    rf"|{_BEFORE_NATIONAL}0\d(?:{_BLANK}\d\d){{4}}{_END})"
)
# Some countries have numbers of seven digits, code and all. Elsewhere so few digits are a count.
_NAMED_NUMBER = re.compile(
    r"(?P<name>\b(?:to|from|recipient|msisdn|phone|sender)\\?[\"']?\s*(?:=>|[:=])\s*\[?\s*\\?[\"']?)"
    r"(?P<digits>\d{7,9})(?!\w|[.:]\d)",
    re.IGNORECASE,
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
    r"|\bsb_secret_[\w-]+|\bsbp_[\w-]{8,}|\bwhsec_[\w+/=-]{6,}"  # Supabase: a secret key, an access token, a hook's secret
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"  # a JWT, such as a legacy service role key, also a part of one
)
_NAMES = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|(?:secret|private|role)[_-]?key|basic[_-]?auth|authorization"
    r"|cookie)s?"
)
_MAY_NAME_SECRET = re.compile(r"(?i)pass|pwd|secret|token|key|auth|cookie")
_NAMED_SECRET = re.compile(
    # A whole header, then a value in quotes, then one without, which may be a list.
    rf"(?i)(?P<header>\b(?:proxy-)?authorization|\b(?:set-)?cookie)(?P<colon>:\s*)(?![\s\"'])[^\r\n\"']{{6,}}"
    rf"|(?P<name>{_NAMES}(?:\\?[\"'])?\s*(?:=>|=|:)\s*(?P<quote>\\?[\"']))(?:(?!(?P=quote)).){{6,}}"
    rf"|(?P<bare>{_NAMES}(?:\\?[\"'])?\s*(?:=>|=|:(?=\s*[^\s\"',;&]*\d))\s*)[^\s\"';&}}\])\\]{{6,}}"
    rf"|(?P<option>--[a-z-]*{_NAMES}\s+)(?!-)[^\s\"']{{6,}}"
)

_NUMBERS = frozenset({"to", "from", "recipient", "msisdn", "phone", "sender"})
_SHORT_NUMBER = re.compile(r"[1-9][0-9]{6,8}")
_LEAST_NUMBER: Final = 10**6
_CODE = re.compile(r"\b(?=\w{4})[^\W\d]*\d\w*")
_QUOTE: Final = 10

_TEXTS = frozenset({"body", "text", "message_body", "raw", "payload", "parameters", "content", "media_url"})
_SECRETS = frozenset({"authorization", "password", "secret", "api_token", "apikey", "secret_key", "dsn", "cookie", "cookies"})


def mask(number: str) -> str:
    """A phone number that can be recognised but not dialled: ``+14155550123`` becomes ``+1415•••0123``.

    The same digits are shown without a plus, as providers write it.
    """
    digits = number.removeprefix("+")
    shown = 4 if len(digits) >= 11 else 2
    return f"{'+' if number.startswith('+') else ''}{digits[:shown]}{_HIDDEN}{digits[-shown:]}"


def mask_url(url: str) -> str:
    """The URL without the user and password in it."""
    return _USERINFO.sub(lambda found: f"{found['scheme'] or found['other']}{_HIDDEN}@", url)


def scrub(text: str) -> str:
    """``text`` with every phone number, password in a URL, token and key in it masked. A masked text stays as it is."""
    text = _SECRET.sub(_HIDDEN, mask_url(text))
    if _MAY_NAME_SECRET.search(text):
        text = _NAMED_SECRET.sub(_named, text)
    text = _NAMED_NUMBER.sub(lambda found: found["name"] + mask(found["digits"]), text)
    return _KEPT_OR_NUMBER.sub(_masked, text)


def without_quotes(words: str, texts: Iterable[str]) -> str:
    """``words`` of a provider without what they quote of the ``texts`` that were sent: a text may be a one-time code.

    Hidden are ten and more characters in a row, and words of four and more with a digit in them.
    """
    joined = "\0".join(" ".join(text.split()) for text in texts)
    kept, at = "", 0
    while at < len(words):
        end = at + _QUOTE
        if end <= len(words) and words[at:end] in joined:
            while end < len(words) and words[at : end + 1] in joined:
                end += 1
            kept, at = kept + _HIDDEN, end
        else:
            kept, at = kept + words[at], at + 1
    return _CODE.sub(lambda found: _HIDDEN if found[0] in joined else found[0], kept)


def scrub_value(value: Any, name: str = "") -> Any:
    """Mask all strings in a value of an event, and whole numbers whose ``name`` says that they are phone numbers.

    Message texts and secrets are dropped by the name of their field.
    """
    if isinstance(value, str):
        return mask(value) if name in _NUMBERS and _SHORT_NUMBER.fullmatch(value) else scrub(value)
    if isinstance(value, Mapping):
        return {_scrub_key(key): scrub_value(item, str(key).lower()) for key, item in value.items() if not _is_private(key)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [scrub_value(item, name.removesuffix("s")) for item in value]
    if type(value) is int and name in _NUMBERS and value >= _LEAST_NUMBER:
        return mask(str(value))
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value if value is None or isinstance(value, (bool, int, float)) else scrub(str(value))


def _named(found: re.Match[str]) -> str:
    if found["header"]:
        return f"{found['header']}{found['colon']}{_HIDDEN}"
    return f"{found['name'] or found['bare'] or found['option']}{_HIDDEN}"


def _masked(found: re.Match[str]) -> str:
    if found["kept"]:
        return found[0]
    sign = "+" if re.match(_PLUS, found[0]) else ""
    digits = "".join(str(int(digit)) for digit in re.sub(rf"{_PLUS}|%20|\D", "", found[0]))
    return mask(sign + digits)


def _scrub_key(key: Any) -> Any:
    return scrub(key) if isinstance(key, str) else key


def _is_private(key: Any) -> bool:
    return isinstance(key, str) and key.lower() in _TEXTS | _SECRETS
