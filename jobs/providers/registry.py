"""All providers. This is the only module outside a provider's folder that names one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from jobs.providers.base import Provider
from jobs.providers.callbacks import CallbackReader
from jobs.providers.inspection import TEST_HEADER, Remarks, TestCallback, new_batch_id
from jobs.providers.sinch import refusals as sinch_refusals
from jobs.providers.sinch.client import SinchClient
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.providers.vonage import callbacks as vonage
from jobs.providers.vonage import refusals as vonage_refusals
from jobs.providers.vonage.reader import VonageCallbacks
from jobs.runtime import environment, settings
from jobs.runtime.accounts import AccountSettings, ProvidersSettings, SinchSettings, VonageSettings
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import SettingsError, WebhookSettings

UNLIMITED_REQUESTS: Final = 1_000_000
"""A minute's requests of a plan that only a limit on messages holds back."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account at one provider, as its settings describe it. ``plan`` is its name in the database.

    ``callback_setting`` names the setting that gives ``callback_url``, and ``sender_setting`` that of ``sender``.
    """

    provider: str
    plan: str
    messages_per_second: float | None
    requests_per_minute: int
    callback_setting: str
    callback_url: str | None
    sender_setting: str
    sender: str | None
    build: Callable[[Clocks], Provider]
    """Make the client, which notes in the clocks what its answers say of the provider's time. The caller closes it."""


def names() -> tuple[str, ...]:
    """The providers' names, as the database stores them."""
    return tuple(_GROUPS)


def has_list(provider: str) -> bool:
    """Whether the provider lists the requests that it took, so that `outbox adopt` can adopt them after a restore."""
    return provider == SinchClient.name


def account(chosen: AccountSettings, *, settle: timedelta | None = None) -> Account:
    """The account of these settings. ``settle`` is the settling time where the provider can prove absence."""
    return _sinch(chosen, settle) if isinstance(chosen, SinchSettings) else _vonage(chosen)


def configured() -> tuple[AccountSettings, ...]:
    """The settings of all configured accounts, in order.

    Raises SettingsError for all settings that are missing or wrong.
    """
    return tuple(chosen().values())


def chosen(plans: Sequence[str] = ()) -> Mapping[int | None, AccountSettings]:
    """The settings of the accounts that ``plans`` names, by their place in the order of all; without names, of all.

    An account that is the only configured one has no place. A name is a provider, or a provider and a plan: ``sinch:plan``. The
    settings of other accounts need not be there. Raises SettingsError for a name that no account has, and as :func:`configured`
    does.
    """
    wanted = settings.load(ProvidersSettings).outbox_providers
    for name in wanted or ():
        if name not in _GROUPS:
            raise SettingsError(f"OUTBOX_PROVIDERS: {name!r} is no provider: {', '.join(_GROUPS)}")
    providers = wanted or _mentioned() or names()[:1]
    limits = [(name, *_provider_and_plan(name)) for name in plans]
    for name, provider, _ in limits:
        if provider not in providers:
            raise SettingsError(f"--plan: {name!r} is no configured account: {', '.join(providers)}")
    served = {
        position if len(providers) > 1 else None: provider
        for position, provider in enumerate(providers)
        if not limits or any(provider == one for _, one, _ in limits)
    }
    loaded = settings.gathered(*(partial(settings.load, _GROUPS[provider]) for provider in served.values()))
    found: dict[int | None, AccountSettings] = dict(zip(served, loaded, strict=True))
    for name, provider, plan in limits:
        (own,) = (account(one).plan for one in found.values() if account(one).provider == provider)
        if plan not in ("", own):
            raise SettingsError(f"--plan: {name!r} is no configured account: {provider}:{own}")
    return found


def _provider_and_plan(name: str) -> tuple[str, str]:
    provider, _, plan = name.partition(":")
    return provider.strip().lower(), plan.strip()


def setting_to_check(provider: str, reason: str, *, is_held: bool = False) -> str | None:
    """The setting that a refusal for ``reason`` is about, None if it is about no setting or none is known.

    ``reason`` is the text that the engine keeps of it, which names the HTTP status. ``is_held``: messages without a sender of
    their own are held, so the refusal is about the default sender or the callback URL.
    """
    prefix = provider.upper()
    if provider not in _STATUS_SETTINGS:
        return None
    if is_held:
        return f"{prefix}_{'CALLBACK_URL' if _CALLBACK.search(reason) else 'FROM_NUMBER'}"
    status = _STATUS.search(reason)
    return None if status is None else _STATUS_SETTINGS[provider].get(int(status[1]))


def callback_paths(provider: str) -> tuple[str, str]:
    """Where the webhook app takes callbacks of this provider: reports, and inbound messages. Both take every type."""
    return f"/webhooks/{provider}/{_REPORTS[provider]}", f"/webhooks/{provider}/inbound"


def paths_in_use(chosen: WebhookSettings) -> tuple[str, ...]:
    """The paths for callbacks of the configured providers: those with an account or a secret in the settings, else all."""
    accounts = _mentioned()
    found = [name for name in names() if name in accounts or callback_secrets(name, chosen)]
    return tuple(path for name in found or names() for path in callback_paths(name))


def callback_readers(chosen: WebhookSettings) -> Mapping[str, CallbackReader]:
    """The readers of callbacks, by the provider's name."""
    return {
        SinchClient.name: SinchCallbacks(callback_secrets(SinchClient.name, chosen)),
        vonage.NAME: VonageCallbacks(callback_secrets(vonage.NAME, chosen)),
    }


def callback_secrets(provider: str, chosen: WebhookSettings) -> Sequence[str]:
    """The secrets, any of which verifies a callback of this provider."""
    secrets = {SinchClient.name: chosen.sinch_webhook_secrets, vonage.NAME: chosen.vonage_signature_secrets}
    return [secret.get_secret_value() for secret in secrets[provider]]


async def inspect(chosen: AccountSettings) -> Remarks:
    """What the provider says of these settings. Asks questions only, each with a deadline. Never raises for its answers."""
    # Imported here, because only `outbox doctor` asks.
    if isinstance(chosen, SinchSettings):
        from jobs.providers.sinch import inspection as sinch

        return await sinch.inspect(chosen)
    from jobs.providers.vonage import inspection

    return await inspection.inspect(chosen)


def test_callback(provider: str, secret: str | None) -> TestCallback:
    """A report on a new batch that no provider made, signed with ``secret`` if there is one."""
    from jobs.providers.sinch import inspection as sinch
    from jobs.providers.vonage import inspection

    batch_id = new_batch_id()
    made = sinch if provider == SinchClient.name else inspection
    raw = made.test_report(batch_id)
    headers = {"content-type": "application/json", TEST_HEADER: "1"}
    return TestCallback(batch_id, raw, headers if secret is None else {**headers, **made.signed(secret, raw)})


_GROUPS: Final[Mapping[str, type[AccountSettings]]] = {SinchClient.name: SinchSettings, vonage.NAME: VonageSettings}
_REPORTS: Final = {SinchClient.name: "delivery", vonage.NAME: "status"}
_STATUS_SETTINGS: Final = {SinchClient.name: sinch_refusals.SETTINGS, vonage.NAME: vonage_refusals.SETTINGS}
_STATUS: Final = re.compile(r"\bHTTP (\d{3})\b")
_CALLBACK: Final = re.compile(r"callback_url|webhook_url", re.IGNORECASE)
_ACCOUNT: Final = {
    SinchClient.name: ("SINCH_SERVICE_PLAN_ID", "SINCH_API_TOKEN"),
    vonage.NAME: ("VONAGE_APPLICATION_ID", "VONAGE_PRIVATE_KEY"),
}
"""The settings that no account can do without."""


def _mentioned() -> list[str]:
    try:
        return [name for name, required in _ACCOUNT.items() if environment.given(required)]
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _sinch(chosen: SinchSettings, settle: timedelta | None) -> Account:
    def build(clocks: Clocks) -> Provider:
        settling: dict[str, Any] = {} if settle is None else {"absence_proof": settle}
        return SinchClient(
            plan=chosen.sinch_service_plan_id,
            token=chosen.sinch_api_token.get_secret_value(),
            host=chosen.host,
            sender=chosen.sinch_from_number,
            callback_url=chosen.sinch_callback_url,
            clocks=clocks,
            **settling,
        )

    return Account(
        provider=SinchClient.name,
        plan=chosen.sinch_service_plan_id,
        messages_per_second=chosen.sinch_messages_per_second,
        requests_per_minute=chosen.sinch_requests_per_minute,
        callback_setting="SINCH_CALLBACK_URL",
        callback_url=chosen.sinch_callback_url,
        sender_setting="SINCH_FROM_NUMBER",
        sender=chosen.sinch_from_number,
        build=build,
    )


def _vonage(chosen: VonageSettings) -> Account:
    def build(clocks: Clocks) -> Provider:
        # Imported here, because a process without Vonage does without the memory and the time that its HTTP client takes.
        from jobs.providers.vonage.client import VonageClient

        secret = chosen.vonage_api_secret
        return VonageClient(
            application=chosen.vonage_application_id,
            private_key=chosen.vonage_private_key.get_secret_value(),
            host=chosen.host,
            api_key=chosen.vonage_api_key if chosen.vonage_reports else None,
            api_secret=secret.get_secret_value() if secret is not None and chosen.vonage_reports else None,
            sender=chosen.vonage_from_number,
            callback_url=chosen.vonage_callback_url,
            clocks=clocks,
        )

    return Account(
        provider=vonage.NAME,
        plan=chosen.vonage_application_id,
        messages_per_second=chosen.vonage_messages_per_second,
        # A request is a message, so the limit on messages is the limit.
        requests_per_minute=UNLIMITED_REQUESTS,
        callback_setting="VONAGE_CALLBACK_URL",
        callback_url=chosen.vonage_callback_url,
        sender_setting="VONAGE_FROM_NUMBER",
        sender=chosen.vonage_from_number,
        build=build,
    )
