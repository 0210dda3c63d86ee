"""The name of a Supabase project, by which its database recognizes the processes that may send from it."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

LOOPBACK: Final = "localhost"
"""The name of all projects on this machine: a local Supabase may have another address and port at each start."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def project_host(url: str) -> str:
    """The host of ``SUPABASE_URL`` in lower case, with the port unless it is the scheme's own. ``url`` is http or https.

    Raises ValueError if there is no host in it.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if not host or any(character.isspace() for character in url):
        raise ValueError(f"{url!r} names no host")
    if _is_loopback(host):
        return LOOPBACK
    name = f"[{host}]" if ":" in host else host
    return name if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{name}:{parts.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK or host.endswith(f".{LOOPBACK}")
