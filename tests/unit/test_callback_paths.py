"""The paths that `outbox webhook` names at its start."""

import pytest

from jobs.providers.registry import paths_in_use
from jobs.runtime import settings
from jobs.runtime.settings import WebhookSettings

SINCH = ("/webhooks/sinch/delivery", "/webhooks/sinch/inbound")
VONAGE = ("/webhooks/vonage/status", "/webhooks/vonage/inbound")


@pytest.mark.parametrize(
    ("environment", "paths"),
    [
        ({"SINCH_WEBHOOK_SECRETS": "s"}, SINCH),
        ({"VONAGE_SIGNATURE_SECRETS": "s"}, VONAGE),
        ({"SINCH_WEBHOOK_SECRETS": "s", "VONAGE_SIGNATURE_SECRETS": "s"}, SINCH + VONAGE),
        ({"WEBHOOK_TOKENS": "t", "SINCH_API_TOKEN": "t"}, SINCH),
        ({"WEBHOOK_TOKENS": "t", "VONAGE_APPLICATION_ID": "a", "SINCH_API_TOKEN": "t"}, SINCH + VONAGE),
        ({"VONAGE_SIGNATURE_SECRETS": "s", "SINCH_API_TOKEN": "t", "WEBHOOK_TOKENS": "t"}, SINCH + VONAGE),
        ({"WEBHOOK_TOKENS": "t"}, SINCH + VONAGE),
    ],
)
def test_paths_are_those_of_configured_providers(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], paths: tuple[str, ...]
) -> None:
    for name in settings.names():
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert paths_in_use(settings.load(WebhookSettings)) == paths
