"""Which URLs an endpoint may have."""

from ipaddress import ip_address
from typing import Final

import httpx

from jobs.eventing.addresses import why_refused
from jobs.runtime.checks import any_http_url

_LONGEST: Final = 2048


def endpoint_url(text: str, *, allows_private: bool) -> httpx.URL:
    """The URL of an endpoint: https, without a user and a fragment. With ``allows_private`` also http.

    Raises ValueError. Its text says what is wrong and does not repeat the URL, which may hold a token.
    """
    parts = any_http_url(text)
    if "@" in parts.netloc:
        raise ValueError("must have no user and password: requests are signed, so the server can tell who sends them")
    if parts.fragment:
        raise ValueError("must have no fragment (#…): it would not be sent")
    if len(text) > _LONGEST:
        raise ValueError(f"has more than {_LONGEST} characters")
    if parts.scheme != "https" and not allows_private:
        setting = "EVENTS_ALLOW_PRIVATE_NETWORKS=1 in the settings of `outbox run`"
        raise ValueError(f"must begin with https:// ({setting} allows http, for development)")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if not url.raw_host:
        raise ValueError("has a host that is no name and no address")
    if not allows_private and (reason := _why_refused(url.host)):
        raise ValueError(f"leads to {url.host}, which {reason}")
    return url


def _why_refused(host: str) -> str | None:
    """Why a host that is written as an address is refused. Names are looked up when an event is sent."""
    try:
        return why_refused(ip_address(host))
    except ValueError:
        return None
