"""Which answer a callback gets: each provider, each proof of origin, each combination of settings."""

import base64
from typing import Any

import pytest

from tests.integration.webhook_app import Memory, serving, settings
from tests.unit.callback_samples import ALL, SECRET, SINCH, VONAGE, Samples, encoded

PATHS = {"sinch": "/webhooks/sinch/delivery", "vonage": "/webhooks/vonage/status"}
SECRETS = {"sinch": "sinch_webhook_secrets", "vonage": "vonage_signature_secrets"}
BASIC = {"authorization": "Basic " + base64.b64encode(b"user:pass").decode()}
WRONG = {"authorization": "Basic " + base64.b64encode(b"user:guess").decode()}
TOKEN = {"x-webhook-token": "token"}


def headers_of(samples: Samples, proof: str) -> dict[str, str]:
    raw = encoded(samples.report())
    return {
        "signed": samples.headers(raw),
        "forged": samples.headers(raw, "another secret of thirty-two bytes"),
        "of another body": samples.headers(raw + b" "),
        "unsigned": {},
        "token": TOKEN,
        "wrong token": {"x-webhook-token": "guess"},
        "basic": BASIC,
        "wrong basic": WRONG,
        "forged beside a token": samples.headers(raw, "another secret of thirty-two bytes") | TOKEN,
        "signed beside a wrong token": samples.headers(raw) | {"x-webhook-token": "guess"},
    }[proof]


OPEN = {"webhook_allow_unauthenticated": True}
TOKENS = {"webhook_tokens": "token", "webhook_basic_auth": "user:pass"}
ELSEWHERE = {"webhook_allowed_ips": "203.0.113.0/24"}
ADMITTED, REFUSED, LATER = "committed", 401, 503
"""503 is for Vonage, which repeats the callback; Sinch would not, and gets 401 there."""


@pytest.mark.parametrize("samples", ALL, ids=repr)
@pytest.mark.parametrize(
    ("has_secret", "others", "expected"),
    [
        (
            True,
            {},
            {
                "signed": ADMITTED,
                "forged": REFUSED,
                "of another body": REFUSED,
                "unsigned": LATER,
                "token": LATER,
                "wrong basic": LATER,
            },
        ),
        (
            True,
            TOKENS,
            {
                "signed": ADMITTED,
                "signed beside a wrong token": ADMITTED,
                "forged": REFUSED,
                "forged beside a token": REFUSED,
                "unsigned": LATER,
                "token": ADMITTED,
                "basic": ADMITTED,
                "wrong token": LATER,
                "wrong basic": LATER,
            },
        ),
        (True, OPEN, {"signed": ADMITTED, "forged": REFUSED, "unsigned": ADMITTED}),
        (True, ELSEWHERE, {"signed": REFUSED, "forged": REFUSED, "unsigned": REFUSED}),
        # No secret: a signature cannot be checked, so it proves nothing until one is set.
        (False, TOKENS, {"signed": LATER, "unsigned": REFUSED, "token": ADMITTED, "basic": ADMITTED}),
        (False, OPEN, {"signed": ADMITTED, "unsigned": ADMITTED}),
    ],
    ids=["secret", "secret and others", "secret, open", "secret, elsewhere", "others", "open"],
)
async def test_each_proof_has_its_answer(
    samples: Samples, has_secret: bool, others: dict[str, Any], expected: dict[str, Any]
) -> None:
    # The other provider's secret is always there, and must not matter.
    chosen = {SECRETS[one.name]: SECRET if one is samples else "an unrelated secret of 32 bytes!" for one in ALL}
    if not has_secret:
        del chosen[SECRETS[samples.name]]
    wanted = {
        proof: samples.committed if answer == ADMITTED else REFUSED if answer == LATER and samples is SINCH else answer
        for proof, answer in expected.items()
    }
    memory = Memory()
    async with serving(memory, settings(**chosen, **others)) as client:
        found = {}
        for proof in expected:
            answer = await client.post(
                PATHS[samples.name], content=encoded(samples.report()), headers=headers_of(samples, proof)
            )
            found[proof] = answer.status_code

    assert found == wanted
    assert len(memory.reports) == list(found.values()).count(samples.committed)


async def test_unsigned_callback_comes_again_signed() -> None:
    memory, raw = Memory(), encoded(VONAGE.report())
    async with serving(memory, settings(vonage_signature_secrets=SECRET)) as client:
        first = await client.post(PATHS["vonage"], content=raw)
        second = await client.post(PATHS["vonage"], content=raw, headers=VONAGE.headers(raw))

    assert (first.status_code, second.status_code) == (503, 200)
    assert int(first.headers["retry-after"]) > 0
    assert second.headers["content-length"] == "0"
    assert memory.rejected == []


async def test_unsigned_requests_are_limited_but_never_vonage() -> None:
    raw = encoded(VONAGE.report())
    async with serving(Memory(), settings(vonage_signature_secrets=SECRET)) as client:
        unsigned = [(await client.post(PATHS["vonage"], content=raw)).status_code for _ in range(70)]
        signed = await client.post(PATHS["vonage"], content=raw, headers=VONAGE.headers(raw))

    assert unsigned == [503] * 60 + [429] * 10
    assert signed.status_code == 200


async def test_rejection_names_the_secrets_of_its_provider(capfd: pytest.CaptureFixture[str]) -> None:
    chosen = settings(vonage_signature_secrets=SECRET, sinch_webhook_secrets=SECRET)
    memory = Memory()
    async with serving(memory, chosen) as client:
        raw = encoded(VONAGE.report())
        await client.post(PATHS["vonage"], content=raw, headers=headers_of(VONAGE, "forged"))
        await memory.was_told.wait()

    said = "".join(capfd.readouterr())
    assert "check VONAGE_SIGNATURE_SECRETS" in said
    assert "SINCH_WEBHOOK_SECRETS" not in said


@pytest.mark.parametrize("path", ["/webhooks/vonage/status", "/webhooks/vonage/inbound", "/webhooks/vonage/status/"])
async def test_either_path_takes_every_type(path: str) -> None:
    memory = Memory()
    async with serving(memory, settings(vonage_signature_secrets=SECRET)) as client:
        for callback in (VONAGE.report(), VONAGE.inbound(), VONAGE.report(status="Teleported"), VONAGE.report(status="read")):
            raw = encoded(callback)
            assert (await client.post(path, content=raw, headers=VONAGE.headers(raw))).status_code == 200

    assert (len(memory.reports), len(memory.inbounds), len(memory.kept)) == (1, 1, 1)
