"""The form of values that several groups of settings share. Each check raises ValueError, without the value's text."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from jobs.runtime import phone

Network = IPv4Network | IPv6Network
CONFIG: Final = SettingsConfigDict(env_ignore_empty=True, extra="ignore", case_sensitive=False)

_SENDER = re.compile(r"\+?[1-9]\d{2,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")


def commas(value: Any) -> Any:
    """The parts of a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def networks(value: Any) -> Any:
    """A list of networks."""
    parts = commas(value)
    try:
        return [ip_network(part, strict=False) for part in parts]
    except ValueError as error:
        raise ValueError(f"not a network: {error}") from None


def http_url(value: str) -> SplitResult:
    """The parts of an http or https URL."""
    try:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", value):
            return parts
    except ValueError:
        # The error's text repeats the value, which may hold a password.
        pass
    raise ValueError("must be an http or https URL")


def origin(value: str) -> str:
    """A URL without a path."""
    parts = http_url(value)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be an origin only, without a path")
    return f"{parts.scheme}://{parts.netloc}"


def header_safe(value: SecretStr) -> SecretStr:
    """A key that travels in a header. Copying it may have added a space or a letter beyond ASCII."""
    key = value.get_secret_value()
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("must be letters, digits and signs of ASCII without spaces, as the dashboard shows it")
    return value


def sender(value: str | None) -> str | None:
    """A number, a short code, or an alphanumeric sender."""
    if value is not None and not _SENDER.fullmatch(value):
        raise ValueError("must be a number, a short code, or at most 11 letters and digits with a letter among them")
    if value is not None and (code := phone.sender_zero_code(value)):
        raise ValueError(with_zero(code))
    return value


def callback_url(value: str | None, *, provider: str) -> str | None:
    """A URL that a provider calls."""
    if value is not None:
        http_url(value)
        if len(value) > 2048:
            raise ValueError(f"has more than the 2048 characters that {provider} takes")
    return value


def with_zero(code: str) -> str:
    """Why a number with a trunk zero is refused."""
    return f"has a zero that is dialled inside the country only. Leave out the zero after {code}"
