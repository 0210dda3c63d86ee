"""The form of values that several groups of settings share. Each check raises ValueError, without the value's text."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from jobs.runtime import phone

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Network = IPv4Network | IPv6Network
CONFIG: Final = SettingsConfigDict(env_ignore_empty=True, extra="ignore", case_sensitive=False)

_SHORTEST_RSA_BITS: Final = 2048
_PRIVATE_NAMES: Final = (".localhost", ".test", ".local", ".internal", ".home.arpa")
_SENDER = re.compile(r"\+?[1-9]\d{2,14}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")


class NotSet(ValueError):
    """The setting ``name`` is missing although another one needs it. The text says what to set."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


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
    """The parts of an https URL, or of an http URL whose host is this machine or in a private network."""
    parts = any_http_url(value)
    if parts.scheme == "http" and not is_private(parts.hostname or ""):
        raise ValueError(
            "must begin with https://: over http others could read keys, numbers and texts on the way. http:// is for this "
            "machine and private networks"
        )
    return parts


def any_http_url(value: str) -> SplitResult:
    """The parts of an http or https URL, whatever its host."""
    try:
        parts = urlsplit(value)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", value):
            return parts
    except ValueError:
        # The error's text repeats the value, which may hold a password.
        pass
    raise ValueError("must be an http or https URL")


def is_private(host: str) -> bool:
    """Whether the host is this machine or in a private network: by its address, or by a name that public DNS does not know.

    Such names are those without a dot, as in a network of containers, and those of RFC 6761, RFC 6762 and RFC 8375.
    """
    host = host.rstrip(".").lower()
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_NAMES)
    return not address.is_global and not address.is_multicast and not address.is_unspecified


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


def rsa_key(pem: str) -> "RSAPrivateKey":
    """A private key that signs with RS256 (RFC 7518 §3.3: 2048 bits or more), from PEM text."""
    # Only processes that sign load these.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if "-----BEGIN PUBLIC KEY" in pem or "-----BEGIN RSA PUBLIC KEY" in pem:
        raise ValueError("is a public key. The private key is in the file private.key that the dashboard gave once")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ValueError("has a passphrase. Write it without one: openssl pkey -in private.key -out plain.key") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("cannot be read: it may have been cut short, or changed when it was copied") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA key. The dashboard makes RSA keys: generate a public and private key there")  # noqa: TRY004
    if key.key_size < _SHORTEST_RSA_BITS:
        raise ValueError(f"has {key.key_size} bits, and at least {_SHORTEST_RSA_BITS} are needed")
    return key


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
