"""The providers there are. The only place outside a provider's folder that names one."""

from collections.abc import Mapping

from jobs.providers.base import Provider
from jobs.providers.callbacks import CallbackReader
from jobs.providers.sinch.client import SinchClient
from jobs.providers.sinch.reader import SinchCallbacks
from jobs.runtime.settings import SinchSettings, WebhookSettings


def names() -> tuple[str, ...]:
    """Every provider's, as they are written into the database."""
    return (SinchClient.name,)


def build(settings: SinchSettings) -> Provider:
    """The account that messages are sent through. The caller closes it."""
    return SinchClient(
        plan=settings.sinch_service_plan_id,
        token=settings.sinch_api_token.get_secret_value(),
        host=settings.host,
        sender=settings.sinch_from_number,
        callback_url=settings.sinch_callback_url,
    )


def identity(settings: SinchSettings) -> tuple[str, str]:
    """The provider's name and the account's, as they are written into the database."""
    return SinchClient.name, settings.sinch_service_plan_id


def callback_readers(settings: WebhookSettings) -> Mapping[str, CallbackReader]:
    """Who reads the callbacks that arrive under ``/webhooks/<name>/``, by that name."""
    secrets = [secret.get_secret_value() for secret in settings.sinch_webhook_secrets]
    return {"sinch": SinchCallbacks(secrets)}
