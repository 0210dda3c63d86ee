"""Protects each answer and each request: headers for browsers, and checks of where a request comes from."""

import secrets
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from jobs.runtime.checks import Network
from jobs.runtime.sources import Address, is_within, source_of

# No 'self' for scripts: an app that mounts the dashboard may serve files that people uploaded.
_CSP: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {frame_ancestors}"
)
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def new_nonce() -> str:
    """The mark of one answer's scripts and htmx attributes. Markup that was injected cannot carry it."""
    return secrets.token_urlsafe(16)


def protect(headers: MutableHeaders, *, nonce: str, frame_ancestors: str) -> None:
    """Add the headers that every answer carries. A static file keeps its own ``Cache-Control``."""
    headers["content-security-policy"] = _CSP.format(nonce=nonce, frame_ancestors=frame_ancestors)
    headers["x-content-type-options"] = "nosniff"
    headers["referrer-policy"] = "same-origin"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["permissions-policy"] = "camera=(), geolocation=(), microphone=()"
    headers.setdefault("cache-control", "no-store")
    if frame_ancestors == "'none'":
        headers["x-frame-options"] = "DENY"
    # Starlette redirects to a path without its last slash by the scheme and the Host of the request. The one is that of a proxy
    # behind which browsers speak https, the other is the client's word.
    location = urlsplit(headers.get("location", ""))
    if location.netloc:
        headers["location"] = urlunsplit(("", "", f"/{location.path.lstrip('/')}", location.query, ""))


def is_own_page(request: Request) -> bool:
    """Whether a page of this dashboard sent the request, and not another site (cross-site request forgery).

    Browsers send ``Sec-Fetch-Site`` over https and on this machine. Elsewhere ``Origin`` has to name this host.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    host = request.headers.get("host", "")
    return bool(host) and urlsplit(origin).netloc.lower() == host.lower()


def is_known_host(request: Request, allowed: Collection[str]) -> bool:
    """Whether the ``Host`` header is one of the ``allowed`` names. All are, if none are named.

    A dashboard on this machine allows only its own names: another site may let its own name point here (DNS rebinding).
    """
    if not allowed:
        return True
    try:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return name.rstrip(".") in allowed


def port_of(request: Request) -> int | None:
    """The port that the ``Host`` header names, None without one."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").port
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Proxies:
    """The proxies before the dashboard whose headers count."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def source(self, request: Request) -> Address | None:
        """The address that a request came from."""
        peer = None if request.client is None else request.client.host
        return source_of(peer, request.headers.getlist("x-forwarded-for"), self._trusted)

    def sent(self, request: Request) -> bool:
        """Whether a trusted proxy sent the request, which is then believed about the person and the scheme."""
        address = None if request.client is None else source_of(request.client.host, (), ())
        return address is not None and is_within(address, self._trusted)

    def is_https(self, request: Request) -> bool:
        """Whether the browser speaks https, to the dashboard or to a trusted proxy."""
        if request.url.scheme == "https":
            return True
        return self.sent(request) and request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
