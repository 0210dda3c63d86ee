"""Signatures of Standard Webhooks, as Supabase Auth writes them."""

import pytest

from jobs.runtime.settings import SettingsError, WebhookSettings, load
from jobs.runtime.standard_webhooks import key_of, secrets_in, sign, verifies

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "A" * 32
RAW = b'{"test": 2432232314}'
AT = 1614265330
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def keys(*secrets: str) -> list[bytes]:
    return [key for key in map(key_of, secrets) if key is not None]


def test_published_example_verifies() -> None:
    assert verifies(keys(SECRET), HEADERS, RAW, now=AT)
    assert not verifies(keys(OTHER), HEADERS, RAW, now=AT)
    assert not verifies(keys(SECRET), HEADERS, RAW + b" ", now=AT)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp"])
def test_id_and_time_are_signed(changed: str) -> None:
    assert not verifies(keys(SECRET), HEADERS | {changed: HEADERS[changed][:-1] + "1"}, RAW, now=AT)
    assert not verifies(keys(SECRET), {name: value for name, value in HEADERS.items() if name != changed}, RAW, now=AT)


@pytest.mark.parametrize(("off", "right"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_tolerance_is_five_minutes_both_ways(off: int, right: bool) -> None:
    assert verifies(keys(SECRET), HEADERS, RAW, now=AT + off) is right


@pytest.mark.parametrize("timestamp", ["", "nan", "1614265330.0", "-1", "9" * 400, "١٦١٤٢٦٥٣٣٠"])
def test_unreadable_time_does_not_verify(timestamp: str) -> None:
    signature = sign(keys(SECRET)[0], RAW, message_id="m", timestamp=timestamp) if timestamp.isascii() else ""
    headers = {"webhook-id": "m", "webhook-timestamp": timestamp, "webhook-signature": signature}

    assert not verifies(keys(SECRET), headers, RAW, now=AT)


@pytest.mark.parametrize("separator", [", ", " ", ","])
@pytest.mark.parametrize("first", [True, False])
def test_any_of_several_signatures_is_enough(separator: str, first: bool) -> None:
    wrong = sign(keys(OTHER)[0], RAW, message_id="another", timestamp=str(AT))
    given = [HEADERS["webhook-signature"], wrong][:: 1 if first else -1]

    assert verifies(keys(OTHER, SECRET), HEADERS | {"webhook-signature": separator.join(given)}, RAW, now=AT)


def test_part_of_a_signature_is_none() -> None:
    for given in ("", "v1,", "v1a,abc", HEADERS["webhook-signature"][:-2], HEADERS["webhook-signature"].upper()):
        assert not verifies(keys(SECRET), HEADERS | {"webhook-signature": given}, RAW, now=AT)


@pytest.mark.parametrize(
    "text",
    [
        f"v1,{SECRET}|v1,{OTHER}",
        f"v1,{SECRET},v1,{OTHER}",
        f"{SECRET}|{OTHER}",
        f"{SECRET}, {OTHER}",
        f" v1,{SECRET} | {OTHER},",
    ],
)
def test_secrets_are_read_as_auth_writes_them(text: str) -> None:
    assert secrets_in(text) == [SECRET, OTHER]


@pytest.mark.parametrize("wrong", ["hunter2", "v1a,whpk_abc:whsk_abc", "v1,whsec_short", f"{SECRET}!", f"{SECRET[:-1]}_"])
def test_wrong_secret_is_named_by_its_place(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINCH_WEBHOOK_SECRETS", "s")
    monkeypatch.setenv("SUPABASE_AUTH_HOOK_SECRETS", f"v1,{OTHER}|{wrong}")

    with pytest.raises(SettingsError, match=r"SUPABASE_AUTH_HOOK_SECRETS: part 2 is no secret") as raised:
        load(WebhookSettings)

    assert wrong not in str(raised.value)
