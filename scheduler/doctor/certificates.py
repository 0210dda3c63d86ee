"""How long the TLS certificate of a server is still valid."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from jobs.examining.findings import Finder, Finding
from jobs.runtime.tls import trust

_SECONDS: Final = 5.0
_SOON_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Refused:
    """A certificate that was shown and does not hold."""

    why: str


async def days_left(host: str, port: int) -> "float | Refused | str":
    """The days that the certificate of a server is still valid, why it is refused, or one line that says why none was shown."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(
                host, port, ssl=trust(trust_env=True), server_hostname=host, ssl_shutdown_timeout=1
            )
    except ssl.SSLCertVerificationError as error:
        return Refused(error.verify_message)
    except (ssl.SSLError, OSError) as error:
        return str(error) or type(error).__name__
    try:
        certificate = writer.get_extra_info("peercert") or {}
        ends = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return (ends - datetime.now(UTC).timestamp()) / 86_400


def judge(left: float | Refused | str, find: Finder, setting: str) -> Finding:
    """``left`` as :func:`days_left` returns it."""
    if isinstance(left, Refused):
        return find.failed(f"the certificate of {setting}: {left.why}", "renew or complete it: providers refuse it")
    if isinstance(left, str):
        return find.failed(
            f"no TLS to the host of {setting}: {left}", f"check the port of {setting}: does your TLS proxy listen there?"
        )
    if left < _SOON_DAYS:
        return find.warning(f"the certificate of {setting} ends in {left:.0f} days", "see why it is not renewed")
    return find.ok(f"the certificate of {setting} is valid for {left:.0f} days")
