"""All providers. This is the only module outside a provider's folder that names one."""

from collections.abc import Mapping

from jobs.providers.base import Provider
from jobs.providers.callbacks import CallbackReader
from jobs.providers.sinch.client import SinchClient
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import SinchSettings, WebhookSettings


def names() -> tuple[str, ...]:
    """The providers' names, as the database stores them."""
    return (SinchClient.name,)


def build(settings: SinchSettings, clocks: Clocks | None = None) -> Provider:
    """The account that sends the messages. It notes in ``clocks`` what its answers say of its time. The caller closes it."""
    return SinchClient(
        plan=settings.sinch_service_plan_id,
        token=settings.sinch_api_token.get_secret_value(),
        host=settings.host,
        sender=settings.sinch_from_number,
        callback_url=settings.sinch_callback_url,
        clocks=clocks,
    )


def identity(settings: SinchSettings) -> tuple[str, str]:
    """The name of the provider and of the account, as the database stores them."""
    return SinchClient.name, settings.sinch_service_plan_id


def callback_paths(provider: str) -> tuple[str, str]:
    """Where the webhook app takes callbacks of this provider: reports, and inbound messages. Both take every type."""
    return f"/webhooks/{provider}/delivery", f"/webhooks/{provider}/inbound"


def callback_readers(settings: WebhookSettings) -> Mapping[str, CallbackReader]:
    """The readers of callbacks, by the provider's name."""
    secrets = [secret.get_secret_value() for secret in settings.sinch_webhook_secrets]
    return {"sinch": SinchCallbacks(secrets)}
