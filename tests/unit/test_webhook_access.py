"""Which requests may deliver callbacks."""

import base64
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.sinch.reader import SinchCallbacks
from jobs.providers.sinch.signature import sign
from jobs.runtime.settings import WebhookSettings
from webhook.access import Access

RAW = b'{"type":"mo_text"}'


def access(**settings: Any) -> Access:
    return Access(WebhookSettings(_env_file=None, **settings))


def basic(text: str, scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {base64.b64encode(text.encode()).decode()}"}


def signed(secret: str) -> dict[str, str]:
    signature = sign(secret, RAW, nonce="n", timestamp="1").decode()
    return {
        "x-sinch-webhook-signature": signature,
        "x-sinch-webhook-signature-nonce": "n",
        "x-sinch-webhook-signature-timestamp": "1",
    }


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        (basic("sinch:pass:word"), True),
        (basic("sinch:pass:word", "bAsIc"), True),
        (basic("sinch:pass:wor"), False),
        (basic("sinch:pass:word2"), False),
        (basic("sinch:pass:word", "Bearer"), False),
        ({"authorization": "Basic"}, False),
        ({"authorization": "Basic %%%"}, False),
        ({"authorization": "Basic c2luY2g"}, False),
        ({"authorization": "Basic é"}, False),
        ({}, False),
    ],
)
def test_basic_authentication(headers: dict[str, str], admitted: bool) -> None:
    assert access(webhook_basic_auth="sinch:pass:word").admits_credentials(headers) is admitted


@pytest.mark.parametrize(("token", "admitted"), [("one", True), ("two", True), ("three", False), ("", False), ("é", False)])
def test_any_of_several_tokens(token: str, admitted: bool) -> None:
    assert access(webhook_tokens="one,two").admits_credentials({"x-webhook-token": token}) is admitted


@pytest.mark.parametrize("settings", [{"sinch_webhook_secrets": "s"}, {"webhook_tokens": "t"}, {"webhook_basic_auth": "u:p"}])
def test_unconfigured_credentials_admit_no_request(settings: dict[str, str]) -> None:
    headers = {"x-webhook-token": ""} | basic(":")

    assert not access(**settings).admits_credentials(headers)
    assert not access(**settings).admits_credentials({})


def test_anybody_may_be_let_in_on_purpose() -> None:
    assert access(webhook_allow_unauthenticated=True).admits_credentials({})


@pytest.mark.parametrize(
    ("settings", "secrets", "admitted"),
    [
        ({"sinch_webhook_secrets": "old,new"}, ["old", "new"], True),
        ({"sinch_webhook_secrets": "old"}, ["old"], False),
        ({"sinch_webhook_secrets": "old", "webhook_allow_unauthenticated": True}, ["old"], False),
        ({"webhook_tokens": "t"}, [], False),  # it cannot be checked, so it does not verify
        ({"webhook_allow_unauthenticated": True}, [], True),
    ],
)
def test_a_signature_that_is_there_has_to_verify(settings: dict[str, Any], secrets: list[str], admitted: bool) -> None:
    assert access(**settings).admits_signature(SinchCallbacks(secrets), signed("new"), RAW) is admitted


@pytest.mark.parametrize(
    ("networks", "source", "admitted"),
    [
        ("", "203.0.113.9", True),
        ("203.0.113.0/24, 2001:db8::/32", "203.0.113.9", True),
        ("203.0.113.0/24, 2001:db8::/32", "2001:db8::7", True),
        ("203.0.113.0/24", "198.51.100.7", False),
        ("203.0.113.0/24", None, False),
    ],
)
def test_networks_come_in_addition(networks: str, source: str | None, admitted: bool) -> None:
    guarded = access(webhook_tokens="t", webhook_allowed_ips=networks)

    assert guarded.admits_source(None if source is None else ip_address(source)) is admitted
    assert guarded.asks_for_source is bool(networks)
    assert not guarded.admits_credentials({})


@given(st.dictionaries(st.sampled_from(["authorization", "x-webhook-token"]), st.text(st.characters(max_codepoint=255))))
def test_no_header_crashes_and_none_is_guessed(headers: dict[str, str]) -> None:
    guarded = access(webhook_basic_auth="user:a long password", webhook_tokens="a long token")

    assert not guarded.admits_credentials(headers)
