"""Check 6: the callback URL can be reached from outside, and a signed test callback arrives in this database.

The test callback is a report on a batch that no provider made. It waits among the reports of unknown batches, as every report
does that overtakes its batch, until this check deletes it. It names no message, so it changes none.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from jobs.examining.findings import Finder, Finding
from jobs.gateway.errors import GatewayError
from jobs.providers import registry
from jobs.providers.inspection import TestCallback
from jobs.providers.registry import Account
from jobs.runtime import checks
from jobs.runtime.masking import mask_url
from jobs.runtime.settings import WebhookSettings
from jobs.runtime.tls import trust
from scheduler.doctor import certificates
from scheduler.doctor.installation import Installation, NotConnected

CHECK = "callbacks"
_SECONDS: Final = 8.0
_HEALTH: Final = "/healthz"


async def look(installation: Installation) -> Sequence[Finding]:
    # Before the test callback, which counts as one: the facts then tell of others.
    await asyncio.wait([asyncio.ensure_future(_facts(installation))])
    accounts = [registry.account(chosen) for chosen in installation.environment.accounts]
    if not accounts:
        return [Finder(CHECK).skipped("no account is configured, see settings")]
    found = await asyncio.gather(*(_account(account, installation) for account in accounts))
    return [finding for findings in found for finding in findings]


async def _facts(installation: Installation) -> None:
    try:
        await installation.facts()
    except (GatewayError, NotConnected):
        return


async def _account(account: Account, installation: Installation) -> Sequence[Finding]:
    find, setting = Finder(CHECK), account.callback_setting
    if account.callback_url is None:
        return [find.warning(f"{setting} is not set: reports come by polling, minutes later", "docs/production.md, step 5")]
    parts = urlsplit(account.callback_url)
    path = next((path for path in registry.callback_paths(account.provider) if parts.path.rstrip("/").endswith(path)), None)
    if path is None:
        paths = " or ".join(registry.callback_paths(account.provider))
        return [find.failed(f"{setting} has the path {parts.path or '/'}", f"let it end in {paths}")]
    reached = [*await reach(parts, find, setting), *await _certificate(parts, find, setting)]
    async with httpx.AsyncClient(verify=trust(trust_env=True), timeout=_SECONDS, trust_env=False) as http:
        prefix = parts.path.rstrip("/").removesuffix(path)
        health = await _health(http, f"{_origin(parts)}{prefix}{_HEALTH}", find, setting)
        if health is not None:
            return [*reached, health]
        return [*reached, await _round_trip(http, account, parts, installation)]


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def reach(parts: SplitResult, find: Finder, setting: str) -> Sequence[Finding]:
    """A provider calls from the internet. A tunnel or a private network of one's own may be meant."""
    host = parts.hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, _port(parts))
    except OSError:
        return [find.failed(f"the host of {setting} is not in DNS: {host}", f"check {setting}: a tunnel's address changes")]
    if checks.is_private(host) or all(checks.is_private(str(address[4][0])) for address in found):
        return [find.warning(f"the host of {setting} is private: {host}", "providers cannot reach it; good for a simulator")]
    return []


async def _certificate(parts: SplitResult, find: Finder, setting: str) -> Sequence[Finding]:
    if parts.scheme != "https":
        return []
    return [certificates.judge(await certificates.days_left(str(parts.hostname), _port(parts)), find, setting)]


async def _health(http: httpx.AsyncClient, url: str, find: Finder, setting: str) -> Finding | None:
    """None if the webhook app answers. What else answers there takes no callbacks either."""
    asked = f"GET {url} (port {_port(urlsplit(url))})"
    advice = f"{setting} has to lead to `outbox webhook`, which listens on PORT or --port, 8080 if neither is set: does it run?"
    try:
        status = (await http.get(url)).status_code
    except httpx.HTTPError as error:
        return find.failed(f"{asked}: {type(error).__name__} {error}".rstrip(), advice)
    return None if status == 200 else find.failed(f"{asked}: HTTP {status}", advice)


@dataclass(frozen=True, slots=True)
class _Proof:
    """How the test callback proves its origin, in words, and the setting behind it."""

    callback: TestCallback
    headers: dict[str, str]
    words: str
    setting: str


async def _round_trip(http: httpx.AsyncClient, account: Account, parts: SplitResult, installation: Installation) -> Finding:
    find, webhook = Finder(CHECK), installation.environment.webhook
    if webhook is None:
        return find.skipped("no test callback: the settings of the webhook app are not here", "run this where they are")
    proof = _proof(account, parts, webhook)
    callback = proof.callback
    url = f"{_origin(parts)}{parts.path}"
    try:
        status = (await http.post(url, content=callback.raw, headers={**callback.headers, **proof.headers})).status_code
    except httpx.HTTPError as error:
        return find.failed(f"the test callback got no answer: {type(error).__name__}", "is `outbox webhook` overloaded?")
    try:
        arrived = await installation.connection.examination.take_test_report(callback.batch_id)
    except (GatewayError, NotConnected):
        return find.skipped(f"the test callback got HTTP {status}; Supabase does not tell whether it arrived")
    return judge(account, status, arrived, proof.words, proof.setting, is_limited=bool(webhook.webhook_allowed_ips))


def _proof(account: Account, parts: SplitResult, webhook: WebhookSettings) -> _Proof:
    """The first of a signature, the user and password of the URL or of the setting, and a token. Any of them is enough."""
    secrets = registry.callback_secrets(account.provider, webhook)
    callback = registry.test_callback(account.provider, secrets[0] if secrets else None)
    reader = registry.callback_readers(webhook)[account.provider]
    headers: dict[str, str] = {}
    user, at, _ = parts.netloc.rpartition("@")
    if at:
        headers["authorization"] = _basic(unquote(user))
    if secrets:
        return _Proof(callback, headers, "signed", reader.secrets_setting)
    if at:
        return _Proof(callback, headers, "with the user and password of the URL", "WEBHOOK_BASIC_AUTH")
    if webhook.webhook_basic_auth is not None:
        headers["authorization"] = _basic(webhook.webhook_basic_auth.get_secret_value())
        return _Proof(callback, headers, "with user and password", "WEBHOOK_BASIC_AUTH")
    if webhook.webhook_tokens:
        headers["x-webhook-token"] = webhook.webhook_tokens[0].get_secret_value()
        return _Proof(callback, headers, "with a token", "WEBHOOK_TOKENS")
    return _Proof(callback, headers, "unsigned", reader.secrets_setting)


def _basic(user_and_password: str) -> str:
    return f"Basic {base64.b64encode(user_and_password.encode()).decode()}"


def judge(account: Account, status: int, arrived: bool, words: str, setting: str, *, is_limited: bool) -> Finding:
    """``words`` say how the callback proved its origin by ``setting``. ``is_limited``: only some networks may call."""
    find, at = Finder(CHECK), mask_url(account.callback_url or "")
    if 200 <= status < 300 and arrived:
        if words == "unsigned":
            return find.warning(f"a test callback without any proof was recorded at {at}", f"set {setting}")
        return find.ok(f"a test callback, {words}, went through {at} into this database and was removed")
    if 200 <= status < 300:
        return find.failed(
            f"the webhook app at {account.callback_setting} took a test callback, and it is not in this database",
            "let both have the same SUPABASE_URL",
        )
    if status in (401, 503) and not arrived:
        limit = ", or let this machine into WEBHOOK_ALLOWED_IPS" if is_limited else ""
        advice = f"let `outbox webhook` have the {setting} that is set here{limit}"
        if status == 401:
            return find.failed(f"the webhook app refuses the test callback, {words}: HTTP 401", advice)
        return find.failed(
            "the webhook app cannot record the test callback: HTTP 503", "see its log: database.away, schema.unfit"
        )
    if 300 <= status < 400:
        return find.failed(f"{at} redirects: HTTP {status}", f"set {account.callback_setting} to the address it leads to")
    if status in (404, 405):
        return find.failed(f"{at} takes no callbacks: HTTP {status}", f"check the path of {account.callback_setting}")
    return find.failed(f"{at} answers a test callback with HTTP {status}", "see the log of `outbox webhook`")
